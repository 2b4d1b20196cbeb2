"""Downloads against hostile servers, users of the machine, cancellation and each other."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import os
import random
import re
import socket
import stat
import threading

import pytest
from tests.servers.raw import read_request, response

import wherry
from wherry.client.download import parallel_ranges, resume_notes
from wherry.client.download.file_names import safe_name, shortened
from wherry.client.download.part_file import Part
from wherry.errors import ClientPayloadError, ClientResponseError

BODY = random.Random(7).randbytes(3_000_000)
SHA = "sha256:" + hashlib.sha256(BODY).hexdigest()
DIRECTORY = resume_notes.DIRECTORY


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file.bin"


@pytest.fixture
async def session():
    async with wherry.ClientSession() as session:
        yield session


class Origin:
    """Serves files with ranges as a server should; what it does wrong is set from outside.

    Attributes:
        files: What each path has; BODY where nothing is said.
        tag: The ETag of all.
        cut: So many bytes of a body, then the end.
        fields: Further fields of each answer.
        ranges: Whether ranges are served.
    """

    def __init__(self):
        self.files = {}
        self.tag = '"x"'
        self.cut = None
        self.fields = ""
        self.ranges = True
        self.seen = []
        self.held = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def __call__(self, reader, writer):
        request = (await read_request(reader)).decode("latin-1")
        self.seen.append(request)
        body = self.files.get(request.split()[1], BODY)
        if isinstance(body, str):
            writer.write(
                response(
                    b"", status="302 Found", fields=f"Location: {body}\r\nConnection: close\r\n"
                )
            )
            return
        fields = f"ETag: {self.tag}\r\n{self.fields}Connection: close\r\n"
        found = re.search(r"\r\nRange: bytes=(\d+)-(\d*)\r\n", request)
        condition = re.search(r"\r\nIf-Range: (.*)\r\n", request)
        if f"If-None-Match: {self.tag}\r\n" in request:
            writer.write(f"HTTP/1.1 304 Not Modified\r\n{fields}\r\n".encode())
            return
        status, first, end = "200 OK", 0, len(body)
        if self.ranges and found and (not condition or condition[1] == self.tag):
            first = int(found[1])
            end = min(end, int(found[2] or end) + 1)
            if first >= len(body):
                writer.write(
                    response(
                        b"",
                        status="416 No",
                        fields=f"Content-Range: bytes */{len(body)}\r\n{fields}",
                    )
                )
                return
            status = "206 Partial Content"
            fields += f"Content-Range: bytes {first}-{end - 1}/{len(body)}\r\n"
        sent = response(body[first:end], status=status, fields=fields)
        head = sent.index(b"\r\n\r\n") + 4
        if self.cut is not None:
            writer.write(sent[: head + self.cut])
            await writer.drain()
            self.held.set()
            await self.go_on.wait()
            return
        writer.write(sent)

    def ranges_asked(self):
        found = [re.search(r"\r\nRange: (.*)\r\n", request) for request in self.seen]
        return [each and each[1] for each in found]


@pytest.fixture
async def origin(raw_server):
    origin = Origin()
    server = await raw_server(origin)
    origin.url = server.url + "/file"
    origin.base = server.url
    return origin


async def broken_off(session, origin, path, at=1_000_000, url=None, **options):
    origin.cut = at
    with pytest.raises(ClientPayloadError):
        await session.download(url or origin.url, path, resume=True, **options)
    origin.cut = None


def kept(path):
    """The files that a download has left beside its own."""
    return sorted(each.suffix for each in path.parent.glob(f"{DIRECTORY}/*"))


def strangers(path):
    """All in the directory but the file and the notes on it."""
    return [each.name for each in path.parent.iterdir() if each.name not in {path.name, DIRECTORY}]


def open_files():
    return len(os.listdir("/proc/self/fd"))


# --- cancellation -----------------------------------------------------------------------------------


@pytest.mark.parametrize("resume", [False, True])
async def test_who_cancels_waits_for_the_thread(session, origin, path, monkeypatch, resume):
    """A thread that writes on after its download would write into the next one's part."""
    writing, may_go_on = threading.Event(), threading.Event()
    real, ended = Part._write, []

    def slow(self, fd, at, data):
        writing.set()
        may_go_on.wait()
        real(self, fd, at, data)
        ended.append(at)

    monkeypatch.setattr(Part, "_write", slow)
    task = asyncio.ensure_future(session.download(origin.url, path, resume=resume))
    await asyncio.to_thread(writing.wait)
    for _ in range(3):  # who cancels may be impatient
        task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert not task.done()
    may_go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [0]
    monkeypatch.setattr(Part, "_write", real)
    result = await session.download(origin.url, path, resume=resume, digest=SHA)
    assert result.size == path.stat().st_size == len(BODY)
    assert (result.resumed_from > 0) is resume


@pytest.mark.parametrize(
    "options", [{}, {"resume": True}, {"connections": 3}, {"resume": True, "connections": 3}]
)
async def test_cancelled_downloads_leave_no_files_open_and_no_parts(
    session, origin, path, monkeypatch, options
):
    """Cancelled after any number of the loop's turns."""
    monkeypatch.setattr(parallel_ranges, "SLICE", 400_000)
    await session.download(origin.url, path)
    path.unlink()
    before, tasks = open_files(), len(asyncio.all_tasks())
    finished = 0
    for turns in range(60):
        task = asyncio.ensure_future(session.download(origin.url, path, **options))
        for _ in range(turns * turns // 4):
            await asyncio.sleep(0)
        task.cancel()
        try:
            await task
            finished += 1
        except asyncio.CancelledError:
            pass
        assert strangers(path) == []
        assert all(suffix in {".part", ".json"} for suffix in kept(path))
        if path.exists():
            assert path.read_bytes() == BODY
    await session.download(origin.url, path, digest=SHA, **options)
    await session.close()
    # The server's ends close in their own time.
    while len(asyncio.all_tasks()) > tasks:
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert open_files() <= before + 1


async def test_a_download_that_is_thrown_away_closes_its_file(session, origin, path):
    """As a loop does that is closed in the midst of it: nothing can be awaited any more."""
    origin.cut = 2_500_000
    origin.go_on.clear()
    before = open_files()
    coroutine = session.download(origin.url, path, resume=True)
    task = asyncio.ensure_future(coroutine)
    await origin.held.wait()
    while not list(path.parent.glob(f"{DIRECTORY}/*.part")):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    origin.go_on.set()
    assert not list(path.parent.glob(f"{DIRECTORY}/*.lock"))
    assert open_files() <= before + 4  # the two ends of a connection, and the loop's own


# --- two at once ------------------------------------------------------------------------------------


@pytest.mark.parametrize("connections", [1, 3])
async def test_two_downloads_of_one_file_are_kept_apart(session, origin, path, connections):
    origin.cut = 1_000_000
    origin.go_on.clear()
    first = asyncio.ensure_future(session.download(origin.url, path, resume=True))
    await origin.held.wait()
    for name in (path, path.parent / "." / path.name, path.parent / DIRECTORY / ".." / path.name):
        with pytest.raises(FileExistsError, match="another download is making this file"):
            await session.download(origin.url, name, resume=True, connections=connections)
    assert len(origin.seen) == 1
    origin.go_on.set()
    with pytest.raises(ClientPayloadError):
        await first
    origin.cut = None
    result = await session.download(
        origin.url, path, resume=True, digest=SHA, connections=connections
    )
    assert result.resumed_from == 1_000_000


async def test_many_downloads_of_one_file_at_once_make_it_once(session, origin, path):
    results = await asyncio.gather(
        *(session.download(origin.url, path, resume=True, digest=SHA) for _ in range(8)),
        return_exceptions=True,
    )
    assert path.read_bytes() == BODY
    assert all(isinstance(each, FileExistsError | wherry.DownloadResult) for each in results)
    assert any(isinstance(each, wherry.DownloadResult) for each in results)
    assert strangers(path) == []


async def test_a_lock_ends_with_its_process(session, origin, path):
    """A process that was killed leaves its files; they lock nobody out, and its part is gone on with."""
    await broken_off(session, origin, path)
    for note in path.parent.glob(f"{DIRECTORY}/*.json"):
        note.with_suffix(".lock").touch()
    assert (
        await session.download(origin.url, path, resume=True, digest=SHA)
    ).resumed_from == 1_000_000


async def test_a_process_that_is_killed_loses_little(session, origin, path, monkeypatch):
    """What came is noted on the way, and what was written after the last note is cut off."""
    monkeypatch.setattr("wherry.client.download.part_file.NOTE_AFTER", 1_000_000)
    origin.cut = 2_500_000
    monkeypatch.setattr("wherry.client.download.part_file.KeptPart.abandon", Part.close)
    with pytest.raises(ClientPayloadError):
        await session.download(origin.url, path, resume=True)
    monkeypatch.undo()
    origin.cut = None
    result = await session.download(origin.url, path, resume=True, digest=SHA)
    assert 1_000_000 <= result.resumed_from <= 2_500_000


# --- whose bytes they are ---------------------------------------------------------------------------


async def test_a_server_that_serves_parts_plants_nothing(session, origin, path, tmp_path):
    """Names of parts cannot be chosen by a peer."""
    planted = b"#!/bin/evil\n" + bytes(1000)
    (tmp_path / "tool.part").write_bytes(planted)
    (tmp_path / "tool.part.json").write_text('{"validator": "\\"x\\""}')
    names = [each.name for each in tmp_path.glob("*")]
    await session.download(origin.url, tmp_path / "tool", resume=True, digest=SHA)
    assert origin.ranges_asked() == [None]
    assert (tmp_path / "tool.part").read_bytes() == planted
    assert all(not name.startswith(".") for name in names)
    for name in (f"{DIRECTORY}", ".hidden", f"../{DIRECTORY}/x.part", f"{DIRECTORY}\\x.part"):
        assert not safe_name(name).startswith(".")


async def test_a_part_belongs_to_its_url(session, origin, path):
    """Another URL's file may have the same ETag."""
    origin.files = {"/other": BODY[::-1], "/file?a=2": BODY[::-1]}
    for other in ("/other", "/file?a=2"):
        await broken_off(session, origin, path)
        result = await session.download(origin.base + other, path, resume=True)
        assert result.resumed_from == 0
        assert path.read_bytes() == BODY[::-1]
        path.unlink()
    await broken_off(session, origin, path, params={"a": "1"})
    result = await session.download(origin.url, path, resume=True, params={"a": "2"})
    assert path.read_bytes() == BODY[::-1]


async def test_a_part_belongs_to_where_redirects_led(session, origin, path):
    origin.files = {"/file": "/mirror1?signed=1", "/mirror2?signed=2": BODY[::-1]}
    await broken_off(session, origin, path)
    # Signed anew, it is the same file.
    origin.files["/file"] = "/mirror1?signed=2"
    await broken_off(session, origin, path, 500_000)
    assert origin.ranges_asked()[-1] == "bytes=1000000-"
    origin.files["/file"] = "/mirror2?signed=2"
    assert (await session.download(origin.url, path, resume=True)).resumed_from == 0
    assert path.read_bytes() == BODY[::-1]


@pytest.mark.parametrize("change", ["overwritten", "shorter", "longer"])
async def test_a_part_that_was_changed_meanwhile(session, origin, path, change):
    await broken_off(session, origin, path)
    (part,) = path.parent.glob(f"{DIRECTORY}/*.part")
    with part.open("r+b") as file:
        if change == "overwritten":
            file.seek(5000)
            file.write(b"?")
        elif change == "shorter":
            file.truncate(999_999)
        else:
            file.seek(0, 2)
            file.write(b"????")
    result = await session.download(origin.url, path, resume=True, digest=SHA)
    assert result.resumed_from == (1_000_000 if change == "longer" else 0)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"wherry_download": 1}', "[" * 200_000, "\xff", "size"]
)
async def test_broken_notes_do_no_harm(session, origin, path, text):
    await broken_off(session, origin, path)
    (note,) = path.parent.glob(f"{DIRECTORY}/*.json")
    if text == "size":
        text = note.read_text().replace('"size": 1000000', '"size": -1')
    note.write_bytes(text.encode("latin-1"))
    assert (await session.download(origin.url, path, resume=True, digest=SHA)).resumed_from == 0


async def test_notes_name_no_url(session, origin, path):
    """It may have a token in it."""
    await broken_off(session, origin, path, url=origin.url + "?token=s3cret")
    (note,) = path.parent.glob(f"{DIRECTORY}/*.json")
    assert "s3cret" not in note.read_text()
    assert "127.0.0.1" not in note.read_text()


async def test_what_the_user_has_under_a_parts_name_stays(session, origin, path):
    part = resume_notes.Notes(path).part
    part.parent.mkdir(0o700)
    part.write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="not made by a download"):
        await session.download(origin.url, path, resume=True)
    assert part.read_bytes() == b"mine"


@pytest.mark.parametrize("which", ["part", "hard link", "note", "directory", "pipe", "open to all"])
async def test_nothing_is_followed(session, origin, path, tmp_path_factory, which):
    """A file of the user's that a part, a note or their directory leads to is not written."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    victim = elsewhere / "victim"
    victim.write_bytes(b"precious")
    part = resume_notes.Notes(path).part
    if which in {"directory", "open to all"}:
        if which == "directory":
            part.parent.symlink_to(elsewhere)
        else:
            part.parent.mkdir()
            part.parent.chmod(0o777)
        with pytest.raises(PermissionError, match="nobody else may write to"):
            await session.download(origin.url, path, resume=True)
    else:
        await broken_off(session, origin, path)
        target = part.with_suffix(".json") if which == "note" else part
        target.unlink()
        if which == "hard link":
            target.hardlink_to(victim)
        elif which == "pipe":
            os.mkfifo(target)
        else:
            target.symlink_to(victim)
        with pytest.raises(OSError, match=r"symbolic|not made by a download|[Nn]o such device"):
            await session.download(origin.url, path, resume=True)
    assert victim.read_bytes() == b"precious"
    assert [each.name for each in elsewhere.iterdir()] == ["victim"]


async def test_notes_and_parts_are_nobody_elses_to_read(session, origin, path):
    await broken_off(session, origin, path)
    assert stat.S_IMODE((path.parent / DIRECTORY).stat().st_mode) == 0o700
    (note,) = path.parent.glob(f"{DIRECTORY}/*.json")
    assert stat.S_IMODE(note.stat().st_mode) == 0o600


@pytest.mark.parametrize("resume", [False, True])
async def test_a_file_keeps_its_mode_when_it_is_replaced(session, origin, path, resume):
    path.write_bytes(b"old")
    path.chmod(0o600)
    await session.download(origin.url, path, resume=resume)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes() == BODY


# --- what broke off, and what is there --------------------------------------------------------------


@pytest.mark.parametrize("connections", [1, 2])
async def test_a_connection_that_always_breaks_brings_it_home_in_the_end(
    session, origin, path, connections
):
    """Head, data and FIN in one packet: each try goes on from the last one."""
    tries = 0
    origin.cut = 100_000
    while True:
        tries += 1
        try:
            result = await session.download(origin.url, path, resume=True, digest=SHA)
            break
        except ClientPayloadError:
            assert tries < 31
    assert tries == 30
    assert result == (path, len(BODY), 2_900_000)


@pytest.mark.parametrize("fields", ["", "Date: Tue, 15 Nov 1994 12:45:26 GMT\r\n"])
async def test_a_date_within_the_second_is_not_gone_on_with(session, origin, path, fields):
    """RFC 9110 8.8.2.2: the file may have changed in that very second, and kept its date."""
    origin.tag = "none"
    origin.fields = f"Last-Modified: Tue, 15 Nov 1994 12:45:26 GMT\r\n{fields}"
    await broken_off(session, origin, path)
    assert kept(path) == []
    await session.download(origin.url, path, resume=True, digest=SHA)
    assert origin.ranges_asked() == [None, None]


@pytest.mark.parametrize("connections", [1, 3])
async def test_what_is_stored_encoded_is_gone_on_with_and_decoded(
    session, origin, path, monkeypatch, connections
):
    """The offsets are those of the encoded bytes, the digest is the file's."""
    monkeypatch.setattr(parallel_ranges, "SLICE", 400_000)
    text = b"".join(b"line %d\n" % number for number in range(500_000))
    origin.files = {"/file": gzip.compress(text, 1)}
    origin.fields = "Content-Encoding: gzip\r\n"
    size = len(origin.files["/file"])
    await broken_off(session, origin, path, 300_000)
    digest = "sha256:" + hashlib.sha256(text).hexdigest()
    told = []
    result = await session.download(
        origin.url, path, resume=True, connections=connections, digest=digest,
        progress=lambda *now: told.append(now),
    )  # fmt: skip
    assert result == (path, len(text), 300_000)
    assert path.read_bytes() == text
    assert told[-1] == (size, size)
    # It is not fetched again.
    seen = len(origin.seen)
    assert (await session.download(origin.url, path, resume=True)).resumed_from == len(text)
    assert len(origin.seen) == seen + 1
    raw = path.with_name("raw")
    await session.download(origin.url, raw, resume=True, auto_decompress=False)
    assert raw.read_bytes() == origin.files["/file"]


async def test_what_is_cut_short_in_its_coding_is_no_file(session, origin, path):
    origin.files = {"/file": gzip.compress(BODY)[:-5]}
    origin.fields = "Content-Encoding: gzip\r\n"
    with pytest.raises(ClientPayloadError, match="content-encoding"):
        await session.download(origin.url, path, resume=True)
    assert not path.exists()
    assert kept(path) == []


@pytest.mark.parametrize("encoded", [False, True])
@pytest.mark.parametrize("of_session", [False, True])
async def test_a_limit_holds_for_the_whole_file(origin, path, encoded, of_session):
    """Not for each body of it."""
    if encoded:
        origin.files = {"/file": gzip.compress(bytes(10_000_000))}
        origin.fields = "Content-Encoding: gzip\r\n"
    options = {"max_body_size": 2_000_000}
    async with wherry.ClientSession(**(options if of_session else {})) as session:
        if not encoded:
            await broken_off(session, origin, path)
        for _ in range(2):
            with pytest.raises(ClientPayloadError, match="max_body_size"):
                await session.download(
                    origin.url, path, resume=True, **({} if of_session else options)
                )
    assert not path.exists()


async def test_a_session_that_raises_for_each_status(origin, path):
    async with wherry.ClientSession(raise_for_status=True) as session:
        await broken_off(session, origin, path)
        (note,) = path.parent.glob(f"{DIRECTORY}/*.json")
        origin.files = {"/file": BODY[:1_000_000]}
        note.write_text(note.read_text().replace('"total": 3000000', '"total": null'))
        assert await session.download(origin.url, path, resume=True) == (path, 1_000_000, 1_000_000)
        with pytest.raises(ClientResponseError, match="this is not the file"):
            origin.files = {"/file": "/else"}
            await session.download(origin.url, path, resume=True, allow_redirects=False)


class TestFinished:
    async def test_it_is_asked_for_changes_only(self, session, origin, path):
        told = []
        await session.download(origin.url, path, resume=True)
        result = await session.download(
            origin.url, path, resume=True, progress=lambda *now: told.append(now)
        )
        assert result == (path, len(BODY), len(BODY))
        assert 'If-None-Match: "x"' in origin.seen[1]
        assert told == [(len(BODY), len(BODY))]
        assert kept(path) == [".json"]

    async def test_a_server_that_sends_it_all_the_same_is_not_heard_out(
        self, session, origin, path
    ):
        await session.download(origin.url, path, resume=True)
        inode = path.stat().st_ino
        origin.tag = '"x"  '  # which its If-None-Match does not meet
        assert (await session.download(origin.url, path, resume=True)).resumed_from == len(BODY)
        assert path.stat().st_ino == inode

    async def test_another_one_takes_its_place(self, session, origin, path):
        await session.download(origin.url, path, resume=True)
        origin.tag, origin.files = '"y"', {"/file": BODY[::-1]}
        assert (await session.download(origin.url, path, resume=True)).resumed_from == 0
        assert path.read_bytes() == BODY[::-1]

    async def test_it_stays_while_another_one_breaks_off(self, session, origin, path):
        await session.download(origin.url, path, resume=True)
        origin.tag, origin.files = '"y"', {"/file": BODY[::-1]}
        await broken_off(session, origin, path)
        assert path.read_bytes() == BODY
        result = await session.download(origin.url, path, resume=True)
        assert result.resumed_from == 1_000_000
        assert path.read_bytes() == BODY[::-1]

    @pytest.mark.parametrize("change", ["content", "time", "gone", "link"])
    async def test_one_that_the_user_has_changed_is_fetched_again(
        self, session, origin, path, change
    ):
        await session.download(origin.url, path, resume=True)
        if change == "content":
            path.write_bytes(b"mine")
        elif change == "time":
            os.utime(path, (1, 1))
        else:
            os.replace(path, path.with_name("moved"))
            if change == "link":
                path.symlink_to("moved")
        await session.download(origin.url, path, resume=True)
        assert "If-None-Match" not in origin.seen[-1]
        assert path.read_bytes() == BODY
        assert not path.is_symlink()

    async def test_one_that_has_the_digest_needs_no_request(self, session, origin, path):
        path.write_bytes(BODY)
        assert await session.download(origin.url, path, resume=True, digest=SHA) == (
            path,
            len(BODY),
            len(BODY),
        )
        assert origin.seen == []

    async def test_one_without_a_validator_is_fetched_again_and_replaced(
        self, session, origin, path
    ):
        origin.tag = "none"
        for _ in range(2):
            await session.download(origin.url, path, resume=True, replace=False)
        assert len(origin.seen) == 2

    async def test_what_no_download_has_made_is_not_replaced_unless_told(
        self, session, origin, path
    ):
        for link in (False, True):
            path.symlink_to("/nowhere") if link else path.write_bytes(b"mine")
            for options in ({"resume": True}, {}, {"connections": 3}):
                with pytest.raises(FileExistsError):
                    await session.download(origin.url, path, replace=False, **options)
            path.unlink()
        assert origin.seen == []


async def test_a_file_that_appears_meanwhile_is_not_replaced(session, origin, path):
    origin.cut = 1_000_000
    origin.go_on.clear()
    origin.files = {"/file": BODY[:1_000_000]}
    task = asyncio.ensure_future(session.download(origin.url, path, replace=False))
    await origin.held.wait()
    path.write_bytes(b"mine")
    origin.go_on.set()
    with pytest.raises(FileExistsError):
        await task
    assert path.read_bytes() == b"mine"
    assert strangers(path) == []


# --- where it goes ----------------------------------------------------------------------------------


async def test_a_name_that_the_server_chose_replaces_nothing(session, origin, tmp_path):
    (tmp_path / "report.tar.gz").write_bytes(b"mine")
    (tmp_path / "report-2.tar.gz").symlink_to("/nowhere")
    origin.fields = 'Content-Disposition: attachment; filename="report.tar.gz"\r\n'
    made = []
    for way in range(3):
        if way == 2:
            made.append((await session.download(origin.url, tmp_path)).path.name)
            continue
        async with session.get(origin.url) as response:
            made.append((await response.download(tmp_path)).path.name)
    assert made == ["report-3.tar.gz", "report-4.tar.gz", "report-5.tar.gz"]
    assert (tmp_path / "report.tar.gz").read_bytes() == b"mine"
    assert len(list(tmp_path.iterdir())) == 5


async def test_many_at_once_into_a_directory_have_names_of_their_own(session, origin, tmp_path):
    results = await asyncio.gather(*(session.download(origin.url, tmp_path) for _ in range(6)))
    assert len({result.path for result in results}) == 6
    assert all(result.path.read_bytes() == BODY for result in results)


async def test_a_file_system_without_hard_links(session, origin, tmp_path, monkeypatch):
    def unsupported(*_, **__):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", unsupported)
    (tmp_path / "file").write_bytes(b"mine")
    result = await session.download(origin.url, tmp_path)
    assert result.path.name == "file-2"
    assert result.path.read_bytes() == BODY


@pytest.mark.parametrize("options", [{"resume": True}, {"connections": 2}])
async def test_a_directory_is_an_error_at_once(session, origin, tmp_path, options):
    for path in (tmp_path, str(tmp_path) + "/"):
        with pytest.raises(IsADirectoryError):
            await session.download(origin.url, path, **options)
    assert origin.seen == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options", [{}, {"resume": True}, {"connections": 2}])
async def test_where_no_file_can_be_is_an_error_at_once(session, origin, tmp_path, options):
    (tmp_path / "file").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "socket"))
    listener.close()
    for path, error in (
        (tmp_path / "none" / "x", FileNotFoundError),
        (tmp_path / "file" / "x", NotADirectoryError),
        (tmp_path / "pipe", FileExistsError),
        (tmp_path / "socket", FileExistsError),
        ("/dev/null", FileExistsError),
        (tmp_path / ("x" * 300), OSError),
    ):
        with pytest.raises(error):
            await session.download(origin.url, path, **options)
    assert origin.seen == []
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@pytest.mark.parametrize("name", ["ж" * 120 + ".txt", "x" * 255])
@pytest.mark.parametrize("options", [{}, {"resume": True}, {"connections": 2}])
async def test_names_as_long_as_can_be(session, origin, tmp_path, name, options):
    """What is added for the part does not make them too long."""
    path = tmp_path / name
    await session.download(origin.url, path, **options)
    assert path.read_bytes() == BODY


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("ж" * 150 + ".txt", "ж" * 94 + ".txt"),
        ("\N{PILE OF POO}" * 100, "\N{PILE OF POO}" * 50),
        ("a" * 300 + ".tar", "a" * 188 + ".tar"),
        ("a." + "b" * 300, "a." + "b" * 198),
    ],
)
def test_names_are_cut_by_bytes(text, name):
    assert shortened(text) == name
    assert len(name.encode()) <= 200


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("con", "_con"),
        ("NUL.txt", "_NUL.txt"),
        ("com1", "_com1"),
        ("console", "console"),
        ('a<b>"c|d?e*', "a_b__c_d_e_"),
    ],
)
def test_names_that_windows_takes_for_devices(text, name):
    assert safe_name(text, windows=True) == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (". . hidden", "hidden"),
        ("\u00a0.\u2003. x. .", "x"),
        (". . .", ""),
        ("a .b", "a .b"),
        ("gpj\u061c.exe", "gpj_.exe"),
        ("\u200b.x", "_.x"),
        ("a\u2028b\ufeff", "a_b_"),
    ],
)
def test_names_that_hide_or_deceive(text, name):
    assert safe_name(text, windows=False) == name


@pytest.mark.parametrize("coded", [False, True])
async def test_what_replaces_a_private_file_is_private_from_its_first_byte(
    session, raw_server, path, monkeypatch, coded
):
    path.write_bytes(b"")
    path.chmod(0o600)
    modes = []
    inner = os.open

    def watched(name, flags, mode=0o777, **options):
        fd = inner(name, flags, mode, **options)
        if flags & os.O_CREAT:
            modes.append(stat.S_IMODE(os.fstat(fd).st_mode))
        return fd

    monkeypatch.setattr(os, "open", watched)
    field = "Content-Encoding: gzip\r\n" if coded else ""
    server = await raw_server([response(gzip.compress(BODY) if coded else BODY, fields=field)])
    await session.download(server.url, path, resume=coded)
    assert path.read_bytes() == BODY
    assert modes
    assert set(modes) == {0o600}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


# --- several connections ----------------------------------------------------------------------------


@pytest.fixture
def small_slices(monkeypatch):
    monkeypatch.setattr(parallel_ranges, "SLICE", 400_000)


@pytest.mark.usefixtures("small_slices")
class TestConnections:
    async def test_each_slice_is_asked_for_once(self, session, origin, path):
        told = []
        result = await session.download(
            origin.url, path, connections=4, digest=SHA, progress=lambda *now: told.append(now)
        )
        assert result == (path, len(BODY), 0)
        expected = [f"bytes={first}-{first + 399_999}" for first in range(0, 2_800_000, 400_000)]
        assert sorted(origin.ranges_asked()) == sorted([*expected, "bytes=2800000-2999999"])
        assert all('If-Range: "x"' in request for request in origin.seen[1:])
        assert told[-1] == (len(BODY), len(BODY))
        assert [size for size, _ in told] == sorted(size for size, _ in told)
        assert strangers(path) == []

    @pytest.mark.parametrize("body", [b"", b"x", BODY[:400_000], BODY[:400_001]])
    async def test_files_of_any_size(self, session, origin, path, body):
        origin.files = {"/file": body}
        assert await session.download(origin.url, path, connections=4) == (path, len(body), 0)
        assert path.read_bytes() == body

    async def test_a_server_without_ranges(self, session, origin, path):
        origin.ranges = False
        await session.download(origin.url, path, connections=4, digest=SHA)
        assert len(origin.seen) == 1

    @pytest.mark.parametrize("tag", ["none", 'W/"x"'])
    async def test_a_server_without_a_strong_validator(self, session, origin, path, tag):
        origin.tag = tag
        await session.download(origin.url, path, connections=4, digest=SHA)
        assert origin.ranges_asked() == ["bytes=0-399999", None]

    @pytest.mark.parametrize("how", ["another file", "other ranges", "too much"])
    async def test_a_server_that_changes_its_mind(self, session, origin, raw_server, path, how):
        """The file changes under way: nothing of the old one is in the new."""
        new, turns = BODY[::-1], 0

        async def script(reader, writer):
            nonlocal turns
            turns += 1
            if turns > 3:
                origin.tag, origin.files = '"y"', {"/file": new}
            if turns == 4 and how != "another file":
                await read_request(reader)
                if how == "other ranges":
                    writer.write(
                        b'HTTP/1.1 206 P\r\nETag: "x"\r\nContent-Range: bytes 0-4/3000000\r\n'
                        b"Connection: close\r\nContent-Length: 5\r\n\r\nhello"
                    )
                else:
                    writer.write(
                        b'HTTP/1.1 206 P\r\nETag: "x"\r\nContent-Range: bytes 400000-400004/3000000\r\n'
                        b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nhello!\r\n0\r\n\r\n"
                    )
                return
            await origin(reader, writer)

        server = await raw_server(script)
        result = await session.download(server.url + "/file", path, connections=3)
        assert path.read_bytes() == new
        assert result.size == len(new)

    async def test_a_cancellation_in_the_turn_of_a_refusal_is_not_lost(
        self, session, origin, raw_server, path, monkeypatch
    ):
        """Up to Python 3.12 a group of tasks forgets it, and the whole file was fetched."""
        refused = 0
        inner = parallel_ranges._Fetch._slice

        async def cancelled_when_refused(self, first, end):
            nonlocal refused
            try:
                return await inner(self, first, end)
            except parallel_ranges._Refused:
                refused += 1
                task.cancel()
                raise

        async def script(reader, writer):
            origin.ranges = not origin.seen
            await origin(reader, writer)

        monkeypatch.setattr(parallel_ranges._Fetch, "_slice", cancelled_when_refused)
        server = await raw_server(script)
        task = asyncio.ensure_future(session.download(server.url + "/file", path, connections=3))
        with pytest.raises(asyncio.CancelledError):
            await task
        assert refused
        assert not path.exists()
        assert strangers(path) == []

    async def test_a_server_that_takes_one_connection_only(self, session, origin, raw_server, path):
        under_way = 0

        async def script(reader, writer):
            nonlocal under_way
            if under_way:
                await read_request(reader)
                writer.write(response(b"busy", status="503 Busy", fields="Connection: close\r\n"))
                return
            under_way += 1
            try:
                await origin(reader, writer)
                await writer.drain()
            finally:
                under_way -= 1

        server = await raw_server(script)
        await session.download(server.url + "/file", path, connections=4, digest=SHA)

    @pytest.mark.parametrize("resume", [False, True])
    async def test_slices_that_break_off_are_gone_on_with(self, session, origin, path, resume):
        origin.cut = 150_000
        await session.download(origin.url, path, connections=3, digest=SHA, resume=resume)

    async def test_a_server_that_fails_for_good(self, session, origin, raw_server, path):
        async def script(reader, writer):
            if len(origin.seen) < 3:
                await origin(reader, writer)
                return
            await read_request(reader)
            writer.write(response(b"", status="500 Broken", fields="Connection: close\r\n"))

        server = await raw_server(script)
        for resume in (False, True):
            origin.seen.clear()
            with pytest.raises(ClientResponseError, match="500"):
                await session.download(server.url + "/file", path, connections=3, resume=resume)
            assert strangers(path) == []
        assert kept(path) == [".json", ".part"]
        # What there is without gaps is gone on with, by one connection as well.
        origin.seen.clear()
        server = await raw_server(script)
        del server
        with pytest.raises(ClientResponseError):
            origin.seen[:] = ["", "", ""]
            await session.download(f"{(await raw_server(script)).url}/file", path, resume=True)

    async def test_what_broke_off_goes_on(self, session, origin, raw_server, path):
        broken = True

        async def script(reader, writer):
            if broken and len(origin.seen) >= 4:
                await read_request(reader)
                writer.write(response(b"", status="500 Broken", fields="Connection: close\r\n"))
                return
            await origin(reader, writer)

        server = await raw_server(script)
        with pytest.raises(ClientResponseError, match="500"):
            await session.download(server.url + "/file", path, connections=3, resume=True)
        broken = False
        result = await session.download(server.url + "/file", path, resume=True, digest=SHA)
        assert result.resumed_from == 1_600_000

    async def test_a_number_that_is_none_is_refused(self, session, origin, path):
        for wrong in (-1, 0, "4", None, float("nan")):
            with pytest.raises((ValueError, TypeError)):
                await session.download(origin.url, path, connections=wrong)


async def test_what_was_not_there_is_not_told_as_resumed(session, path, raw_server):
    """A server that begins each range five bytes before what was asked: nothing was there at the
    beginning all the same.
    """
    body = random.Random(9).randbytes(10_000_000)

    async def serve(reader, writer):
        request = (await read_request(reader)).decode("latin-1")
        first, last = re.search(r"\r\nRange: bytes=(\d+)-(\d*)\r\n", request).groups()
        start, end = max(int(first) - 5, 0), min(int(last or len(body)) + 1, len(body))
        place = f'ETag: "x"\r\nContent-Range: bytes {start}-{end - 1}/{len(body)}\r\n'
        writer.write(
            response(
                body[start:end],
                status="206 Partial Content",
                fields=place + "Connection: close\r\n",
            )
        )

    server = await raw_server(serve)
    assert await session.download(server.url + "/file", path, connections=4) == (path, len(body), 0)
    assert path.read_bytes() == body
