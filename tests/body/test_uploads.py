"""Bodies that are sent, over real sockets: every kind, every mode, replays, early answers."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import json
import socket
import threading
import zlib

import brotli
import pytest
from aiohttp import web
from tests.servers.raw import until_all_has_come
from tests.zstandard import zstd

import wherry
from wherry.body.multipart.public_names import MultipartWriter
from wherry.body.payload.memory import Payload, payload_type
from wherry.errors import ClientConnectionError, ClientError, ClientPayloadError


@pytest.fixture
async def echo(web_server):
    """Tells what came: the fields, and the body after aiohttp has undone its coding."""

    async def handler(request):
        body = await request.read()
        return web.json_response(
            {
                "method": request.method,
                "headers": {name.lower(): value for name, value in request.headers.items()},
                "body": body.decode("latin-1"),
            }
        )

    return await web_server(handler)


async def post(session, url, **kwargs):
    async with session.post(url, **kwargs) as response:
        told = await response.json()
    return told["headers"], told["body"].encode("latin-1")


async def pieces(*values, wait=False):
    for value in values:
        if wait:
            await asyncio.sleep(0)
        yield value


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file.bin"
    path.write_bytes(bytes(range(256)) * 5000)
    return path


async def test_bytes_with_a_content_type_in_any_case(session, echo):
    """S001-05, S003-03"""
    data = b"\x00Binary-data\x00\r\n"
    for name in ("content-type", "Content-Type", "CONTENT-TYPE"):
        headers, body = await post(session, echo, data=data, headers={name: "application/x-thing"})
        assert body == data
        assert headers["content-type"] == "application/x-thing"
        assert headers["content-length"] == str(len(data))
    headers, body = await post(session, echo, data=bytearray(data))
    assert headers["content-type"] == "application/octet-stream"
    headers, body = await post(session, echo, data=memoryview(data))
    assert body == data


async def test_json_and_text(session, echo):
    """S001-08, S001-09"""
    headers, body = await post(session, echo, json={"a": "ä"})
    assert headers["content-type"] == "application/json"
    assert json.loads(body) == {"a": "ä"}
    headers, body = await post(session, echo, data="hällo")
    assert headers["content-type"] == "text/plain; charset=utf-8"
    assert body == "hällo".encode()


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_data_that_is_compressed_already_goes_as_it_is(
    session, echo, raw_server, coding, pack
):
    """S001-66, S001-67"""
    data = pack(b"hello world")
    headers, body = await post(session, echo, data=data, headers={"Content-Encoding": coding})
    assert headers["content-encoding"] == coding
    assert headers["content-length"] == str(len(data))
    assert body == b"hello world"  # the server has read it back


async def test_a_form(session, echo):
    headers, body = await post(session, echo, data={"a": "1", "ä": "ö"})
    assert headers["content-type"] == "application/x-www-form-urlencoded"
    assert body == b"a=1&%C3%A4=%C3%B6"


async def test_a_file_is_sent_with_its_size(session, echo, path):
    with path.open("rb") as file:
        headers, body = await post(session, echo, data=file)
    assert headers["content-length"] == str(path.stat().st_size)
    assert "transfer-encoding" not in headers
    assert body == path.read_bytes()


async def test_a_multipart_with_a_file(session, web_server, path):
    async def handler(request):
        form = await request.post()
        return web.json_response(
            [
                request.headers.get("Content-Length"),
                form["name"],
                form["file"].filename,
                len(form["file"].file.read()),
            ]
        )

    url = await web_server(handler)
    with path.open("rb") as file:
        form = wherry.FormData({"name": "värde", "file": file})
        async with session.post(url, data=form) as response:
            length, *found = await response.json()
    assert found == ["värde", "file.bin", 1280000]
    assert int(length) > 1280000


async def test_an_async_generator_is_sent_in_chunks(session, echo):
    headers, body = await post(session, echo, data=pieces(b"abc", b"", b"def", wait=True))
    assert headers["transfer-encoding"] == "chunked"
    assert "content-length" not in headers
    assert body == b"abcdef"


async def test_a_body_in_chunks_though_its_length_is_known(session, echo):
    headers, body = await post(session, echo, data=b"hello", chunked=True)
    assert headers["transfer-encoding"] == "chunked"
    assert body == b"hello"


async def test_an_empty_file(session, echo, tmp_path):
    (tmp_path / "empty").touch()
    with (tmp_path / "empty").open("rb") as file:
        headers, body = await post(session, echo, data=file)
    assert headers["content-length"] == "0"
    assert body == b""


async def test_an_empty_generator(session, echo):
    headers, body = await post(session, echo, data=pieces())
    assert headers["transfer-encoding"] == "chunked"
    assert body == b""


async def test_a_download_is_sent_on(session, echo, web_server):
    async def source(request):
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(100):
            await response.write(b"x" * 10000)
        return response

    async with session.get(await web_server(source)) as download:
        _, body = await post(session, echo, data=download.content)
    assert body == b"x" * 1000000


@pytest.mark.parametrize("compress", [True, "deflate", "gzip"])
@pytest.mark.parametrize("kind", ["bytes", "generator"])
async def test_compress(session, echo, compress, kind):
    data = b"hello world " * 10000
    body = data if kind == "bytes" else pieces(data)
    headers, found = await post(session, echo, data=body, compress=compress)
    assert headers["content-encoding"] == ("deflate" if compress is True else compress)
    assert found == data


@pytest.mark.parametrize(("coding", "undo"), [("br", brotli.decompress), ("zstd", zstd.decompress)])
async def test_compress_with_what_is_installed(session, raw_server, coding, undo):
    seen = asyncio.get_running_loop().create_future()

    async def peer(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        body = b""
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readline()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        seen.set_result((head, body))

    async with session.post(await raw_server(peer), data=b"hello" * 1000, compress=coding):
        pass
    head, body = await seen
    assert f"content-encoding: {coding}".encode() in head.lower()
    assert undo(body) == b"hello" * 1000


async def test_compress_together_with_a_coding_of_ones_own(session, echo):
    with pytest.raises(ValueError, match="Content-Encoding"):
        await session.post(echo, data=b"x", compress=True, headers={"Content-Encoding": "gzip"})


async def test_an_unknown_coding_is_refused_before_anything_is_sent(session):
    with pytest.raises(ValueError, match="lzw"):
        await session.post("http://127.0.0.1:1/", data=b"x", compress="lzw")


class Thing:
    pass


@payload_type(Thing)
class ThingPayload(Payload):
    """As a program's own payload looks that was written for aiohttp."""

    _default_content_type = "application/x-thing"

    def decode(self, encoding="utf-8", errors="strict"):
        return "thing"

    async def write(self, writer):
        await writer.write(b"thi")
        await writer.drain()
        await writer.write(b"ng")


async def test_a_registered_payload(session, echo):
    headers, body = await post(session, echo, data=Thing())
    assert body == b"thing"
    assert headers["content-type"] == "application/x-thing"
    assert headers["transfer-encoding"] == "chunked"


async def test_a_file_is_closed_with_the_response(session, echo, path):
    file = path.open("rb")
    async with session.post(echo, data=file) as response:
        await response.read()
    assert file.closed
    file = path.open("rb")
    with pytest.raises(ClientError):
        await session.post("http://127.0.0.1:1/", data=file)
    assert file.closed


@pytest.mark.parametrize("url", [None, "http://127.0.0.1:1/"], ids=["answered", "unreachable"])
@pytest.mark.parametrize("form", [False, True], ids=["file", "form"])
@pytest.mark.parametrize("size", [10, 2_000_000])
async def test_an_open_file_that_was_given_away_is_closed(
    session, raw_server, tmp_path, url, form, size
):
    async def peer(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    path = tmp_path / "file"
    path.write_bytes(bytes(size))
    file = path.open("rb")
    try:
        async with session.post(
            url or await raw_server(peer), data={"f": file} if form else file
        ) as response:
            assert await response.text() == "ok"
    except ClientError:
        assert url is not None
    assert file.closed


async def test_a_closed_file_is_told_by_its_name(session, echo, path):
    file = path.open("rb")
    file.close()
    with pytest.raises(ClientError, match="closed file"):
        await session.post(echo, data=file)


async def test_a_promise_for_a_body_of_unknown_length_is_kept(session, echo):
    headers, body = await post(
        session, echo, data=pieces(b"abc", b"de"), headers={"Content-Length": "5"}
    )
    assert headers["content-length"] == "5"
    assert "transfer-encoding" not in headers
    assert body == b"abcde"
    for wrong in ("4", "6"):
        with pytest.raises(ClientError, match="Content-Length promised"):
            await session.post(echo, data=pieces(b"abc", b"de"), headers={"Content-Length": wrong})
    with pytest.raises(ValueError, match="Content-Length is 4"):
        await session.post(echo, data=b"abcde", headers={"Content-Length": "4"})


# --- replays --------------------------------------------------------------------------------------


@pytest.fixture
async def redirecting(web_server):
    async def handler(request):
        body = await request.read()
        if request.path == "/from":
            raise web.HTTPTemporaryRedirect("/to")
        return web.Response(body=body)

    return (await web_server(handler)) / "from"


def a_writer(file):
    writer = MultipartWriter("mixed", "AB")
    writer.append(b"x" * 10)
    return writer


BODIES = {
    "bytes": lambda file: b"hello",
    "text": lambda file: "hello",
    "bytesio": lambda file: io.BytesIO(b"hello"),
    "file": lambda file: file,
    "form": lambda file: {"a": "b"},
    "multipart": lambda file: wherry.FormData({"f": file}),
    "writer": a_writer,
}


@pytest.mark.parametrize("kind", list(BODIES))
async def test_a_redirect_replays_the_body(session, redirecting, path, kind):
    with path.open("rb") as file:
        async with session.post(redirecting, data=BODIES[kind](file)) as response:
            assert response.history[0].status == 307
            found = await response.read()
    if kind == "file":
        assert found == path.read_bytes()
    elif kind == "multipart":
        assert path.read_bytes() in found
    elif kind == "writer":
        assert b"x" * 10 in found
    else:
        assert found == (b"a=b" if kind == "form" else b"hello")


async def test_a_redirect_of_a_consumed_body_says_so(session, redirecting):
    with pytest.raises(
        ClientPayloadError, match=r"^Cannot follow redirect with a consumed request body"
    ):
        await session.post(redirecting, data=pieces(b"a"))


async def test_a_redirect_that_drops_the_body_needs_no_replay(session, web_server):
    async def handler(request):
        body = await request.read()
        if request.method == "POST":
            raise web.HTTPSeeOther("/")
        return web.Response(text=f"{request.method} {body!r}")

    async with session.post(await web_server(handler), data=pieces(b"a")) as response:
        assert await response.text() == "GET b''"


# --- the promised length --------------------------------------------------------------------------


class Liar(Payload):
    _size = 5

    def decode(self, encoding="utf-8", errors="strict"):
        return self._value

    async def write(self, writer):
        await writer.write(self._value)


@pytest.mark.parametrize("value", [b"four", b"sixsix"])
async def test_a_body_that_is_not_as_long_as_it_promised_fails(session, echo, value):
    with pytest.raises(ClientError, match="Content-Length promised"):
        await session.post(echo, data=Liar(value))


async def test_a_file_that_shrinks_while_it_is_sent_fails_and_costs_the_connection(
    session, raw_server, tmp_path
):
    path = tmp_path / "file"
    path.write_bytes(bytes(2**22))
    ended = asyncio.get_running_loop().create_future()

    async def peer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        path.write_bytes(b"")
        got = 0
        while data := await reader.read(2**16):
            got += len(data)
        ended.set_result(got)

    class Waiting(wherry.ProgressPayload):
        async def write(self, writer):
            while path.stat().st_size:
                await asyncio.sleep(0)
            await super().write(writer)

    with path.open("rb") as file:
        body = Waiting(file, lambda sent, total: None)
        assert body.size == 2**22
        with pytest.raises(
            ClientError, match=f"ended {2**22} bytes before the {2**22} that its Content-Length"
        ):
            await session.post(await raw_server(peer), data=body)
    assert await ended == 0


async def test_a_failing_body_is_an_error_with_its_cause(session, echo):
    async def broken():
        yield b"x"
        raise ZeroDivisionError("in the generator")

    with pytest.raises(ClientConnectionError) as caught:
        await session.post(echo, data=broken())
    causes = []
    exc = caught.value
    while exc is not None:
        causes.append(type(exc))
        exc = exc.__cause__
    assert ZeroDivisionError in causes


# --- Expect: 100-continue, and answers that come early --------------------------------------------


async def test_expect100(session, raw_server):
    order = []

    async def peer(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"expect: 100-continue" in head.lower()
        order.append("head")
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        order.append(await reader.readexactly(5))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()

    for own in ({"expect100": True}, {"headers": {"Expect": "100-Continue"}}):
        async with session.post(await raw_server(peer), data=b"hello", **own) as response:
            assert await response.text() == "ok"
    assert order == ["head", b"hello"] * 2


@pytest.mark.parametrize("value", ["", "tea"])
async def test_another_expectation_is_sent_as_it_is(session, raw_server, value):
    heads = []

    async def peer(reader, writer):
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n"))
        assert await reader.readexactly(5) == b"hello"
        writer.write(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")

    async with session.post(
        await raw_server(peer), data=b"hello", headers={"Expect": value}
    ) as response:
        assert response.status == 417
    assert f"Expect: {value}" in heads[0]


async def test_expect100_of_aiohttp(session, echo, path):
    with path.open("rb") as file:
        _, body = await post(session, echo, data=file, expect100=True)
    assert body == path.read_bytes()


@pytest.mark.parametrize("status", [b"417 Expectation Failed", b"413 Content Too Large", b"200 OK"])
async def test_a_final_answer_instead_of_100_stops_the_upload(session, raw_server, status):
    got = asyncio.get_running_loop().create_future()

    async def peer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"
        )
        await writer.drain()
        got.set_result(await reader.read())

    began = []

    async def body():
        began.append(True)
        yield b"x"

    async with session.post(await raw_server(peer), data=body(), expect100=True) as response:
        assert response.status == int(status[:3])
        assert await response.text() == "no"
    assert await got == b""
    assert not began


async def test_a_server_that_knows_no_100_gets_the_body_after_a_while(
    session, raw_server, monkeypatch
):
    monkeypatch.setattr("wherry.client.sending.upload.CONTINUE_SECONDS", 0.05)

    async def peer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        body = await reader.readexactly(5)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + body)
        await writer.drain()

    async with session.post(await raw_server(peer), data=b"hello", expect100=True) as response:
        assert await response.read() == b"hello"


async def test_an_early_answer_is_read_while_the_upload_goes_on(session, raw_server):
    read_on = asyncio.Event()
    received = asyncio.get_running_loop().create_future()

    async def peer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nearly\r\n")
        await writer.drain()
        await read_on.wait()
        received.set_result(len(await reader.readexactly(2**20)))
        writer.write(b"4\r\nlate\r\n0\r\n\r\n")
        await writer.drain()

    class Megabyte(Liar):
        _size = 2**20

    async with session.post(await raw_server(peer), data=Megabyte(bytes(2**20))) as response:
        assert await response.content.readany() == b"early"
        read_on.set()
        assert await response.content.read() == b"late"
    assert await received == 2**20


@pytest.mark.parametrize("rude", [True, False])
async def test_a_refusal_in_mid_upload_is_the_answer_not_a_broken_pipe(session, raw_server, rude):
    async def peer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(1000)
        writer.write(
            b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"
        )
        await writer.drain()
        if not rude:
            while await reader.read(2**16):
                pass

    async def endless():
        for _ in range(500):
            yield bytes(2**16)
            await asyncio.sleep(0)

    async with session.post(await raw_server(peer), data=endless()) as response:
        assert response.status == 413
        assert await response.text() == "no"


@pytest.mark.parametrize("kind", ["bytes", "file", "generator"])
async def test_a_refusal_is_read_though_the_server_closed_at_once(session, tmp_path, kind):
    """The answer is there, and the connection reset, before the client has read anything."""
    listener = socket.create_server(("127.0.0.1", 0))

    closed = threading.Event()

    def serve():
        connection, _ = listener.accept()
        with connection:
            connection.recv(100)
            connection.sendall(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno")
            until_all_has_come(connection)
        closed.set()

    async def burst():
        yield b"x"
        closed.wait()  # the loop stands still meanwhile
        while True:
            yield bytes(2**16)

    path = tmp_path / "large"
    path.write_bytes(bytes(2**24))
    bodies = {"bytes": lambda: bytes(2**24), "file": lambda: path.open("rb"), "generator": burst}
    thread = threading.Thread(target=serve)
    thread.start()
    with listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        async with session.post(url, data=bodies[kind]()) as response:
            assert (response.status, await response.text()) == (413, "no")
        thread.join()


async def test_the_connection_of_a_stopped_upload_is_not_used_again(session, raw_server):
    peers = []

    async def peer(reader, writer):
        peers.append(writer)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 400 Bad\r\nContent-Length: 2\r\n\r\nno")
        await writer.drain()
        while await reader.read(2**16):
            pass

    never = asyncio.Event()

    async def body():
        yield b"x"
        await never.wait()

    url = await raw_server(peer)
    for _ in range(2):
        async with session.post(url, data=body()) as response:
            assert await response.text() == "no"
    assert len(peers) == 2


# --- progress -------------------------------------------------------------------------------------


async def test_traces_tell_of_each_piece(echo):
    sent = []

    async def on_chunk(session, context, params):
        sent.append(params.chunk)

    trace = wherry.TraceConfig()
    trace.on_request_chunk_sent.append(on_chunk)
    async with wherry.ClientSession(trace_configs=[trace]) as session:
        await post(session, echo, data=pieces(b"ab", b"cd"))
        await post(session, echo, data=b"ef")
    assert b"".join(sent) == b"abcdef"


async def test_a_tracker_follows_an_upload(session, echo, redirecting, path):
    from wherry.body.payload.body_writer import UploadTracker

    tracker = UploadTracker()
    with path.open("rb") as file:
        await post(session, echo, data=file, upload_tracker=tracker)
    await tracker.upload_complete
    assert tracker.bytes_written == path.stat().st_size
    assert tracker.attempts == 1

    tracker = UploadTracker()
    async with session.post(redirecting, data=b"hello", upload_tracker=tracker) as response:
        await response.read()
    await tracker.upload_complete
    assert (tracker.attempts, tracker.bytes_written) == (2, 5)
    with pytest.raises(RuntimeError, match="one request"):
        await session.post(echo, data=b"x", upload_tracker=tracker)


async def test_a_tracker_gets_what_stopped_the_upload(session, echo):
    from wherry.body.payload.body_writer import UploadTracker

    tracker = UploadTracker()
    with pytest.raises(ClientError):
        await session.post(echo, data=Liar(b"four"), upload_tracker=tracker)
    with pytest.raises(ClientError):
        await tracker.upload_complete


async def test_progress_of_a_form(session, echo, path):
    told = []
    with path.open("rb") as file:
        form = wherry.FormData({"file": file, "a": "b"})
        body = wherry.ProgressPayload(form, lambda *now: told.append(now))
        headers, _ = await post(session, echo, data=body)
    total = int(headers["content-length"])
    assert told[0] == (0, total)
    assert told[-1] == (total, total)
    assert len(told) > 4


async def test_what_was_sent_is_told_by_the_old_names_too(session, raw_server):
    async def pieces():
        yield b"hello"
        yield b"world"

    ok = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

    async def script(reader, writer):
        for _ in range(2):
            head = await reader.readuntil(b"\r\n\r\n")
            await (reader.readuntil(b"0\r\n\r\n") if b"chunked" in head else reader.readexactly(10))
            writer.write(ok)
        await reader.read()

    server = await raw_server(script)
    for data in (pieces(), b"helloworld"):
        async with session.post(server, data=data) as reply:
            with pytest.warns(DeprecationWarning, match="upload_complete"):
                await reply.upload_complete
            with pytest.warns(DeprecationWarning, match="output_size"):
                assert reply.output_size == 10
            with pytest.warns(DeprecationWarning, match="upload_complete"):
                assert reply.upload_complete is reply.upload_complete
    await session.close()  # the server's script ends with its connection


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("ftp://a.test/", {}),
        ("/relative", {}),
        ("http://a.test/", {"data": b"x", "json": 1}),
        ("http://a.test/", {"json": object()}),
        ("http://a.test/", {"ssl": object()}),
        ("http://a.test/", {"proxy": "http://[nonsense"}),
    ],
)
async def test_a_tracker_is_told_of_a_call_that_became_no_request(session, url, options):
    tracker = wherry.UploadTracker()
    with pytest.raises((ValueError, TypeError, ClientError)):
        await session.post(url, upload_tracker=tracker, **options)
    assert tracker.attempts == 0
    assert isinstance(tracker.upload_complete.exception(), wherry.UploadAbortedError)
    with pytest.raises(RuntimeError, match="one request"):
        await session.post("http://a.test/", upload_tracker=tracker)


async def test_a_tracker_is_told_that_the_session_is_closed(session):
    await session.close()
    tracker = wherry.UploadTracker()
    with pytest.raises(RuntimeError, match="closed"):
        await session.post("http://a.test/", data=b"x", upload_tracker=tracker)
    assert isinstance(tracker.upload_complete.exception(), wherry.UploadAbortedError)


async def test_a_tracker_counts_what_middlewares_send(session, echo):
    sent = 0

    async def several(request, handler):
        response = wherry.ClientResponse.from_parts(request, 204, "No Content", ())
        for _ in range(sent):
            response = await handler(request)
            await response.read()
        return response

    for sent in (0, 1, 3):
        tracker = wherry.UploadTracker()
        async with session.post(
            echo, data=b"12345", upload_tracker=tracker, middlewares=(several,)
        ):
            pass
        assert tracker.attempts == sent
        if sent:
            assert (tracker.bytes_written, await tracker.upload_complete) == (5, None)
        else:
            assert isinstance(tracker.upload_complete.exception(), wherry.UploadAbortedError)


async def test_a_tracker_and_the_request_fail_with_one_error(session, echo):
    async def broken():
        yield b"a"
        raise ZeroDivisionError

    tracker = wherry.UploadTracker()
    with pytest.raises(ClientConnectionError) as caught:
        await session.post(echo, data=broken(), upload_tracker=tracker)
    assert tracker.upload_complete.exception() is caught.value


async def test_a_tracker_tells_what_broke_an_upload_after_its_answer(session, raw_server):
    async def answer_first(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n")
        await reader.read()

    answered = asyncio.Event()

    async def broken():
        yield b"a"
        await answered.wait()
        raise ZeroDivisionError

    tracker = wherry.UploadTracker()
    async with session.post(
        await raw_server(answer_first), data=broken(), upload_tracker=tracker
    ) as response:
        assert response.status == 200
        answered.set()
        with pytest.raises(ClientConnectionError):
            await tracker.upload_complete


@pytest.mark.parametrize(("method", "status"), [("close", 302), ("_close", 302), ("_close", 200)])
async def test_a_body_whose_class_has_an_end_of_its_own_is_ended(
    session, web_server, method, status
):
    closed = []

    def end(self):
        closed.append(self)

    async def end_later(self):
        closed.append(self)

    kind = type("Ending", (wherry.BytesPayload,), {method: end_later if method == "close" else end})

    async def elsewhere(request):
        return web.Response(status=status, headers={"Location": "/"})

    body = kind(b"x")
    with pytest.raises(wherry.TooManyRedirects) if status == 302 else contextlib.nullcontext():
        async with session.put(await web_server(elsewhere), data=body) as response:
            await response.read()
    assert body in closed


@pytest.mark.parametrize("answered", [False, True])
@pytest.mark.parametrize(
    ("broken", "raised"),
    [
        (asyncio.CancelledError(), ClientConnectionError),
        (ConnectionResetError("the source"), ClientConnectionError),
        (TimeoutError("the source"), TimeoutError),
        (OSError(5, "the disk"), wherry.ClientOSError),
        (LookupError("nothing there"), ClientConnectionError),
    ],
)
async def test_a_body_whose_source_breaks_ends_its_request(
    session, raw_server, broken, raised, answered
):
    """At once, be it before or in the answer; a body that awaits what was cancelled is broken
    too.
    """

    async def peer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        if answered:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na")
        await reader.read()

    go_on = asyncio.Event()

    async def pieces():
        yield b"a"
        if answered:
            await go_on.wait()
        raise broken

    async with asyncio.timeout(20):
        with pytest.raises(raised) as caught:
            async with session.post(await raw_server(peer), data=pieces()) as response:
                go_on.set()
                await response.read()
    if isinstance(broken, OSError) and broken.errno:
        assert caught.value.errno == broken.errno
