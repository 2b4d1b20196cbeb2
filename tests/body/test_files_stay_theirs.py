# ruff: noqa: SIM115  (files that are closed in the midst of it)
"""A body that is a file sends that file's bytes, whatever the program does with the file and others
meanwhile.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import gzip
import io
import os
import tempfile
import threading

import pytest
from tests.servers.raw import RawServer

import wherry
from wherry.body.payload import files
from wherry.body.payload.memory import get_payload

OURS = b"ours " * 400_000
THEIRS = b"THEM!" * 400_000


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "ours.bin"
    path.write_bytes(OURS)
    return path


@pytest.fixture
def opened_after(tmp_path):
    """Takes the numbers of descriptors that were just closed for another file."""
    other = tmp_path / "theirs.bin"
    other.write_bytes(THEIRS)
    with contextlib.ExitStack() as stack:

        def take():
            for _ in range(8):
                stack.enter_context(other.open("rb"))

        yield take


def named(path):
    file = tempfile.NamedTemporaryFile()
    file.write(OURS)
    file.seek(0)
    return file


KINDS = {
    "bytes": lambda path: path.open("rb"),
    "unbuffered": lambda path: path.open("rb", buffering=0),
    "random": lambda path: path.open("rb+"),
    "text": lambda path: path.open(),
    "recoded": lambda path: path.open(encoding="utf-16-le", errors="replace"),
    "named": named,
    "codecs": lambda path: codecs.open(str(path), encoding="ascii"),
}
WRAPPINGS = {
    "plain": lambda file: file,
    "progress": lambda file: wherry.ProgressPayload(file, lambda *_: None),
    "form": lambda file: wherry.FormData({"name": file}),
    "compressed part": lambda file: encoded_part(file, "Content-Encoding", "gzip"),
    "base64 part": lambda file: encoded_part(file, "Content-Transfer-Encoding", "base64"),
}


def encoded_part(file, name, value):
    writer = wherry.MultipartWriter("mixed")
    writer.append(file, {name: value})
    return writer


def payload_for(data):
    return data() if isinstance(data, wherry.FormData) else get_payload(data)


class Interrupting:
    """A writer that does something after the first piece of a file."""

    def __init__(self, act):
        self.act = act
        self.data = bytearray()

    async def write(self, chunk):
        self.data += chunk
        if len(chunk) > 1000 and self.act is not None:
            act, self.act = self.act, None
            act()


@pytest.mark.filterwarnings("ignore:codecs.open:DeprecationWarning")
@pytest.mark.parametrize("system", ["all", "no page cache", "no pread", "no more descriptors"])
@pytest.mark.parametrize("wrapping", ["plain", "progress", "form"])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_file_that_is_closed_meanwhile_is_not_mistaken(
    path, opened_after, monkeypatch, kind, wrapping, system
):
    """The server answers early, and the program closes its file and opens another."""
    file = KINDS[kind](path)
    payload = payload_for(WRAPPINGS[wrapping](file))
    if system == "no page cache":
        monkeypatch.setattr(files, "_preadv", None)
    elif system == "no pread":
        monkeypatch.delattr(os, "pread")  # Windows
    elif system == "no more descriptors":
        monkeypatch.setattr(os, "dup", lambda _: os.open("/no such directory/x", os.O_RDONLY))

    def act():
        file.close()
        opened_after()

    sink = Interrupting(act)
    try:
        await payload.write(sink)
    except (ValueError, wherry.ClientError):
        assert system in {"no pread", "no more descriptors"} or kind in {"recoded", "codecs"}
    else:
        if kind != "recoded":
            assert OURS in sink.data
    assert sink.act is None
    assert b"THEM!" not in sink.data
    assert b"THEM!" not in bytes(sink.data).decode("utf-16-le", "ignore").encode(
        "utf-16-le", "ignore"
    )


@pytest.mark.parametrize("wrapping", ["compressed part", "base64 part"])
async def test_nor_in_parts_that_are_encoded(path, opened_after, wrapping):
    texts = []
    for interrupted in (False, True):
        file = path.open("rb")
        body = WRAPPINGS[wrapping](file)

        def act(file=file):
            file.close()
            opened_after()

        sink = Interrupting(act if interrupted else None)
        await body.write(sink)
        texts.append(bytes(sink.data).replace(body.boundary.encode(), b""))
        file.close()
    assert texts[0] == texts[1]


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("form", [False, True])
async def test_an_early_answer_and_a_file_that_is_closed_then(
    path, opened_after, tls, form, server_tls, client_tls
):
    """The rest of the upload is of the file that was given."""
    answered = asyncio.Event()
    go_on = asyncio.Event()
    received = bytearray()

    async def script(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        await writer.drain()
        answered.set()
        await go_on.wait()
        while len(received) < len(OURS):
            received.extend(await reader.read(2**16))
        writer.write(b"ok")

    server = await RawServer(script).start(server_tls if tls else None)
    try:
        async with wherry.ClientSession() as session:
            file = path.open("rb")
            options = {"ssl": client_tls} if tls else {}
            response = await session.post(
                server.url, data={"file": file} if form else file, **options
            )
            await answered.wait()
            file.close()
            opened_after()
            go_on.set()
            assert await response.read() == b"ok"
        assert OURS[:-1000] in bytes(received)  # a form has some more before it
        assert b"THEM!" not in received
    finally:
        await server.stop()


@pytest.mark.parametrize("kind", ["gzip", "spooled", "bytes", "text", "no pread"])
async def test_two_bodies_of_one_file_at_once_are_both_whole(tmp_path, path, monkeypatch, kind):
    """A file has one position, and each of them needs its own."""
    if kind == "gzip":
        packed = tmp_path / "x.gz"
        packed.write_bytes(gzip.compress(OURS, 1))
        file = gzip.open(packed)
    elif kind == "spooled":
        file = tempfile.SpooledTemporaryFile()
        file.write(OURS)
        file.seek(0)
    elif kind == "text":
        file = path.open(encoding="latin-1")
    else:
        file = path.open("rb")
        if kind == "no pread":
            monkeypatch.delattr(os, "pread")
    sinks = [Interrupting(None) for _ in range(3)]
    with file:
        bodies = [get_payload(file) for _ in sinks]
        await asyncio.gather(*(body.write(sink) for body, sink in zip(bodies, sinks, strict=True)))
    assert [bytes(sink.data) == OURS for sink in sinks] == [True] * 3


async def test_a_cancelled_upload_leaves_no_descriptor(path, monkeypatch):
    """Not even where a thread is reading from it just then."""
    monkeypatch.setattr(files, "_preadv", None)
    reading, may_end = threading.Event(), threading.Event()
    real = os.pread

    def slow(*args):
        reading.set()
        may_end.wait()
        return real(*args)

    before = set(os.listdir("/proc/self/fd"))
    with path.open("rb") as file:
        body = get_payload(file)
        monkeypatch.setattr(os, "pread", slow)
        task = asyncio.ensure_future(body.write(Interrupting(None)))
        await asyncio.to_thread(reading.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        may_end.set()
        await asyncio.get_running_loop().shutdown_default_executor()
    assert set(os.listdir("/proc/self/fd")) <= before


@pytest.mark.parametrize("mode", ["rb", "r"])
async def test_a_pipe_whose_writer_waits_holds_nobody_when_it_is_closed(mode):
    """A buffered file lets nobody close it while a thread reads: that thread closes it then."""
    ours, into = os.pipe()
    file = os.fdopen(ours, mode)
    payload = get_payload(file)
    writing = asyncio.ensure_future(payload.write(Interrupting(None)))
    while not payload._access or payload._access._lock.acquire(blocking=False):
        if payload._access:
            payload._access._lock.release()
        await asyncio.sleep(0)
    writing.cancel()
    await asyncio.wait([writing])
    await payload.close()  # would wait for ever, and the loop with it
    assert not file.closed
    os.close(into)
    await asyncio.get_running_loop().shutdown_default_executor()
    assert file.closed


@pytest.mark.parametrize("system", ["all", "no page cache"])
async def test_a_file_that_becomes_shorter_is_an_error(path, monkeypatch, system):
    """A chunked body would end as if it were whole."""
    if system == "no page cache":
        monkeypatch.setattr(files, "_preadv", None)
    with path.open("rb") as file:
        sink = Interrupting(lambda: os.truncate(path, 10))
        with pytest.raises(wherry.ClientPayloadError, match=r"shorter than the 2000000 bytes"):
            await get_payload(file).write(sink)
    assert OURS.startswith(sink.data)


async def test_what_can_be_read_once_is_read_from_its_own_pipe():
    """An unbuffered pipe that is closed meanwhile."""
    ours, into = os.pipe()
    file = os.fdopen(ours, "rb", buffering=0)
    os.write(into, b"x" * 2000)
    others = []

    def act():
        file.close()
        reader, writer = os.pipe()
        os.write(writer, b"THEM!")
        others.extend((reader, writer))
        os.write(into, b"y")
        os.close(into)

    sink = Interrupting(act)
    try:
        await get_payload(file).write(sink)
        assert sink.data == b"x" * 2000 + b"y"
    finally:
        for descriptor in others:
            os.close(descriptor)


async def test_what_a_file_grows_by_is_not_sent_where_no_system_reads_by_position(
    path, monkeypatch
):
    monkeypatch.delattr(os, "pread")
    with path.open("rb") as file:
        body = get_payload(file)
        assert body.size == len(OURS)

        def grow():
            with path.open("ab") as more:
                more.write(THEIRS)

        sink = Interrupting(grow)
        await body.write(sink)
    assert sink.data == OURS


async def test_a_closed_file_says_so(path):
    file = path.open("rb")
    body = get_payload(file)
    file.close()
    with pytest.raises(wherry.ClientPayloadError, match="keep it open until the response is read"):
        await body.write(Interrupting(None))


# --- buffers that the program uses again ----------------------------------------------------------


class Slow(RawServer):
    """Reads a little at a time, and keeps what came behind the head."""

    def __init__(self, answers_first: bool) -> None:
        super().__init__(self._script_of)
        self.answers_first = answers_first
        self.body = bytearray()
        self.go_on = asyncio.Event()

    async def _script_of(self, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if self.answers_first:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            await self.go_on.wait()
        while len(self.body) < size and (piece := await reader.read(20_000)):
            self.body += piece
            await asyncio.sleep(0)
        if not self.answers_first:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize("size", [30_000, 60_000, 200_000])
async def test_a_generator_may_read_into_one_buffer_again_and_again(size):
    whole = b"".join(b"%07d\n" % number for number in range(1_000_000))

    async def pieces():
        buffer = bytearray(size)
        file = io.BytesIO(whole)
        while count := file.readinto(buffer):
            yield memoryview(buffer)[:count]

    server = await Slow(answers_first=False).start()
    headers = {"Content-Length": str(len(whole))}
    async with (
        wherry.ClientSession() as session,
        session.post(server.url, data=pieces(), headers=headers) as response,
    ):
        assert response.status == 200
    await server.stop()
    assert bytes(server.body) == whole


@pytest.mark.parametrize("kind", [lambda buffer: buffer, memoryview])
async def test_a_buffer_may_be_used_again_after_an_early_answer(kind):
    """As a file may be closed: of what is sent after that nothing is of another upload."""
    buffer = bytearray(b"O" * 8_000_000)
    server = await Slow(answers_first=True).start()
    async with wherry.ClientSession() as session:
        async with session.post(server.url, data=kind(buffer)) as response:
            assert response.status == 200
        buffer[:] = b"T" * len(buffer)
        server.go_on.set()
        await server.until(lambda server: server.lost == 1)
    await server.stop()
    assert server.body.strip(b"O") == b""
