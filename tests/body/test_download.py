"""Downloads to a file: whole or not at all, resumed where the server agrees."""

from __future__ import annotations

import gzip
import hashlib
import json

import pytest
from aiohttp import web

import wherry
from wherry.errors import ClientPayloadError, ClientResponseError

BODY = bytes(range(256)) * 20000


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file.bin"


@pytest.fixture
async def file_server(web_server, tmp_path):
    """Serves BODY with ranges, validators and all; notes the requests."""
    source = tmp_path / "source" / "served.bin"
    source.parent.mkdir()
    source.write_bytes(BODY)
    seen = []

    async def handler(request):
        seen.append(request.headers)
        return web.FileResponse(source)

    url = await web_server(handler)
    return url, seen, source


def leave_part(path, size, validator):
    path.with_name(path.name + ".part").write_bytes(BODY[:size])
    path.with_name(path.name + ".part.json").write_text(json.dumps({"validator": validator}))


def names(path):
    return sorted(file.name for file in path.parent.iterdir() if file.is_file())


async def test_a_response_is_downloaded(session, file_server, path):
    url, _, _ = file_server
    told = []
    async with session.get(url) as response:
        result = await response.download(path, progress=lambda *now: told.append(now))
    assert path.read_bytes() == BODY
    assert result == (path, len(BODY), 0)
    assert told[-1] == (len(BODY), len(BODY))
    assert [size for size, _ in told] == sorted(size for size, _ in told)
    assert names(path) == ["file.bin"]


async def test_a_file_that_is_there_is_replaced(session, file_server, path):
    path.write_bytes(b"old")
    await session.download(file_server[0], path)
    assert path.read_bytes() == BODY


async def test_a_body_that_was_read_is_written(session, file_server, path):
    async with session.get(file_server[0]) as response:
        await response.read()
        await response.download(path)
    assert path.read_bytes() == BODY


async def test_an_encoded_body_is_written_decoded(session, answer, path):
    data = gzip.compress(b"hello" * 1000)
    url = await answer(
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b"
        % (len(data), data)
    )
    await session.download(url, path)
    assert path.read_bytes() == b"hello" * 1000


async def test_an_empty_body_is_an_empty_file(session, answer, path):
    await session.download(await answer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), path)
    assert path.read_bytes() == b""


@pytest.mark.parametrize("resume", [True, False])
async def test_a_body_cut_short_leaves_no_file(session, answer, path, resume):
    url = await answer(b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: 10\r\n\r\nhello')
    path.write_bytes(b"old")
    with pytest.raises(ClientPayloadError):
        await session.download(url, path, resume=resume)
    assert path.read_bytes() == b"old"
    assert names(path) == (
        ["file.bin", "file.bin.part", "file.bin.part.json"] if resume else ["file.bin"]
    )


async def test_a_bad_status_is_raised_and_nothing_written(session, answer, path):
    url = await answer(b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nhello")
    for resume in (True, False):
        with pytest.raises(ClientResponseError, match="404"):
            await session.download(url, path, resume=resume)
    assert names(path) == []


async def test_a_digest_is_checked(session, file_server, path):
    url, _, _ = file_server
    await session.download(url, path, digest="sha256:" + hashlib.sha256(BODY).hexdigest())
    await session.download(url, path, digest="MD5:" + hashlib.md5(BODY).hexdigest().upper())
    path.unlink()
    with pytest.raises(ClientPayloadError, match="sha256 digest"):
        await session.download(url, path, digest="sha256:" + "0" * 64)
    with pytest.raises(ClientPayloadError, match="sha256 digest"):
        await session.download(url, path, digest="sha256:" + "0" * 64, resume=True)
    assert names(path) == []
    for wrong in ("sha256", "sha256:xy", "sha256:00", "nothing:00"):
        with pytest.raises(ValueError):
            await session.download(url, path, digest=wrong)


async def test_a_download_is_resumed_where_it_broke_off(session, file_server, path):
    url, seen, source = file_server
    await session.download(url, path, resume=True)
    tag = wherry_etag(source)
    path.unlink()
    leave_part(path, 1000, tag)
    told = []
    result = await session.download(
        url,
        path,
        resume=True,
        digest="sha256:" + hashlib.sha256(BODY).hexdigest(),
        progress=lambda *now: told.append(now),
    )
    assert result == (path, len(BODY), 1000)
    assert path.read_bytes() == BODY
    assert seen[-1]["Range"] == "bytes=1000-"
    assert seen[-1]["If-Range"] == tag
    assert seen[-1]["Accept-Encoding"] == "identity"
    assert told[-1] == (len(BODY), len(BODY))
    assert names(path) == ["file.bin"]


def wherry_etag(source):
    stat = source.stat()
    return f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"'


async def test_a_changed_file_is_downloaded_anew(session, file_server, path):
    url, seen, _ = file_server
    leave_part(path, 1000, '"another"')
    result = await session.download(url, path, resume=True)
    # This server takes no entity tag in If-Range, and answers with a part of the new file.
    assert [request.get("Range") for request in seen] == ["bytes=1000-", None]
    assert result.resumed_from == 0
    assert path.read_bytes() == BODY


async def test_a_part_without_notes_is_downloaded_anew(session, file_server, path):
    url, seen, _ = file_server
    path.with_name("file.bin.part").write_bytes(b"something")
    await session.download(url, path, resume=True)
    assert "Range" not in seen[-1]
    assert path.read_bytes() == BODY


@pytest.mark.parametrize("notes", ["", "[]", "{}", '{"validator": 1}'])
async def test_broken_notes_do_no_harm(session, file_server, path, notes):
    leave_part(path, 1000, "x")
    path.with_name("file.bin.part.json").write_text(notes)
    await session.download(file_server[0], path, resume=True)
    assert path.read_bytes() == BODY


async def test_a_part_that_is_the_whole_is_finished(session, answer, path):
    leave_part(path, 1000, '"x"')
    url = await answer(
        b"HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */1000\r\nContent-Length: 0\r\n\r\n"
    )
    result = await session.download(url, path, resume=True)
    assert result == (path, 1000, 1000)
    assert path.read_bytes() == BODY[:1000]
    assert names(path) == ["file.bin"]


async def test_a_part_larger_than_the_file_is_downloaded_anew(session, raw_server, path):
    leave_part(path, 1000, '"x"')

    async def peer(reader, writer):
        while head := await reader.readuntil(b"\r\n\r\n"):
            if b"range: bytes" in head.lower():
                writer.write(
                    b"HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */5\r\nContent-Length: 0\r\n\r\n"
                )
            else:
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
                )
                return

    await session.download(await raw_server(peer), path, resume=True)
    assert path.read_bytes() == b"hello"


@pytest.mark.parametrize(
    "came",
    [b"bytes 999-1004/1005", b"bytes */1005", b"nonsense", b"", b"bytes 1000-1004/" + b"9" * 5000],
)
async def test_a_range_that_was_not_asked_for_is_an_error(session, answer, path, came):
    leave_part(path, 1000, '"x"')
    url = await answer(
        b"HTTP/1.1 206 Partial\r\nContent-Range: %b\r\nContent-Length: 5\r\n\r\nhello" % came
    )
    with pytest.raises(ClientPayloadError, match="Content-Range"):
        await session.download(url, path, resume=True)
    assert path.with_name("file.bin.part").read_bytes() == BODY[:1000]


async def test_a_range_shorter_than_the_rest_is_an_error(session, answer, path):
    leave_part(path, 1000, '"x"')
    url = await answer(
        b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 1000-1004/2000\r\nContent-Length: 5\r\n\r\nhello"
    )
    with pytest.raises(ClientPayloadError, match="1005 bytes came, 2000"):
        await session.download(url, path, resume=True)
    assert not path.exists()


@pytest.mark.parametrize("status", ["304 Not Modified", "302 Found", "206 Partial Content"])
@pytest.mark.parametrize("resume", [True, False])
async def test_what_is_not_the_file_does_not_replace_it(session, answer, path, status, resume):
    path.write_bytes(b"old")
    url = await answer(
        f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nContent-Range: bytes 0-1/9\r\n\r\n".encode()
    )
    with pytest.raises(ClientResponseError, match="not the file"):
        await session.download(url, path, resume=resume, allow_redirects=False)
    assert path.read_bytes() == b"old"
    assert names(path) == ["file.bin"]


async def test_a_range_that_was_asked_for_is_a_file(session, answer, path):
    url = await answer(
        b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-1/9\r\nContent-Length: 2\r\n\r\nhi"
    )
    assert (await session.download(url, path, headers={"Range": "bytes=0-1"})).size == 2


async def test_a_weak_validator_is_not_resumed_by(session, answer, path):
    url = await answer(b'HTTP/1.1 200 OK\r\nETag: W/"x"\r\nContent-Length: 10\r\n\r\nhello')
    with pytest.raises(ClientPayloadError):
        await session.download(url, path, resume=True)
    assert names(path) == ["file.bin.part"]


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ('attachment; filename="report.txt"', "report.txt"),
        ('attachment; filename="../../etc/passwd"', "passwd"),
        ('attachment; filename="C:\\\\x\\\\evil.exe"', "evil.exe"),
        ('attachment; filename=".."', "served"),
        ("attachment", "served"),
        ("attachment; filename*=UTF-8''invoice%E2%80%AEfdp.exe", "invoice_fdp.exe"),
        (f'attachment; filename="{"a" * 300}.tar"', f"{'a' * 188}.tar"),
    ],
)
async def test_into_a_directory_the_response_names_the_file(session, answer, tmp_path, field, name):
    url = await answer(
        f"HTTP/1.1 200 OK\r\nContent-Disposition: {field}\r\nContent-Length: 2\r\n\r\nhi".encode()
    )
    async with session.get(url / "served") as response:
        result = await response.download(tmp_path)
    assert result.path == tmp_path / name
    assert result.path.read_bytes() == b"hi"


async def test_a_directory_that_is_not_there_is_an_error(session, file_server, tmp_path):
    with pytest.raises(FileNotFoundError):
        await session.download(file_server[0], tmp_path / "none" / "x")


async def test_a_limit_on_the_body_holds_for_downloads(file_server, path):
    async with wherry.ClientSession(max_body_size=100000) as session:
        with pytest.raises(ClientPayloadError, match="max_body_size"):
            await session.download(file_server[0], path)
    assert names(path) == []


async def test_a_cancelled_download_leaves_nothing_but_what_can_be_resumed(
    session, raw_server, path
):
    import asyncio

    sent = asyncio.Event()

    async def peer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: 5000000\r\n\r\n' + bytes(3000000)
        )
        await writer.drain()
        sent.set()
        await reader.read()

    url = await raw_server(peer)
    for resume in (False, True):
        sent.clear()
        task = asyncio.ensure_future(session.download(url, path, resume=resume))
        await sent.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert [name for name in names(path) if not resume] == []
