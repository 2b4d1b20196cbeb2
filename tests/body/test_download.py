"""Downloads to a file: whole or not at all, resumed where the server agrees."""

from __future__ import annotations

import gzip
import hashlib
import re

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


@pytest.fixture
async def script(raw_server):
    """Starts a server that gives one answer to each request, the last one to all that follow.

    A number in an answer's place gives so much of BODY, and breaks off.
    """

    async def start(*answers):
        seen = []

        async def peer(reader, writer):
            seen.append((await reader.readuntil(b"\r\n\r\n")).decode("latin-1"))
            answer = answers[min(len(seen), len(answers)) - 1]
            writer.write(
                whole('ETag: "x"')[: 0 - len(BODY)] + BODY[:answer]
                if isinstance(answer, int)
                else answer
            )

        return await raw_server(peer), seen

    return start


def answering(status, body, *fields):
    lines = "".join(f"{field}\r\n" for field in (*fields, f"Content-Length: {len(body)}"))
    return f"HTTP/1.1 {status}\r\n{lines}Connection: close\r\n\r\n".encode() + body


def whole(*fields):
    return answering("200 OK", BODY, *fields)


def slice_of(first, last, *fields, total=5_120_000):
    """A 206 of BODY, which the same file gives."""
    told = f"Content-Range: bytes {first}-{last}/{total}"
    return answering(
        "206 Partial Content", BODY[first : last + 1], told, *(fields or ('ETag: "x"',))
    )


async def broken_off(session, url, path, **options):
    """The first try, of which the server cuts the answer."""
    with pytest.raises(ClientPayloadError):
        await session.download(url, path, resume=True, **options)


def asked_range(request):
    found = re.search(r"\r\nRange: (.*)\r\n", request)
    return found and found[1]


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
    assert names(path) == ["file.bin"]
    kept = [each.suffix for each in path.parent.glob(".wherry-downloads/*")]
    assert sorted(kept) == ([".json", ".part"] if resume else [])


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


async def test_a_download_is_resumed_where_it_broke_off(session, script, path):
    url, seen = await script(1000, slice_of(1000, len(BODY) - 1))
    await broken_off(session, url, path)
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
    assert "Range: bytes=1000-\r\n" in seen[1]
    assert 'If-Range: "x"\r\n' in seen[1]
    assert "Accept-Encoding: identity\r\n" in seen[1]
    assert told[-1] == (len(BODY), len(BODY))
    assert names(path) == ["file.bin"]


OTHER = BODY[::-1]
RANGED = "Content-Range: bytes 1000-5119999/5120000"


@pytest.mark.parametrize(
    "came",
    [
        answering("206 Partial Content", OTHER[1000:], RANGED, 'ETag: "y"'),
        answering("206 Partial Content", OTHER[1000:], RANGED, 'ETag: W/"x"'),
        answering("206 Partial Content", OTHER[1000:], RANGED),
        answering("206 Partial Content", OTHER[1000:], RANGED, 'ETag: "x"', "Content-Encoding: br"),
        slice_of(1001, len(BODY) - 1),
        slice_of(500, 900),
        slice_of(0, 0),
        slice_of(1000, len(BODY) - 1, total=len(BODY) + 1),
        answering("206 Partial Content", OTHER[:1001], "Content-Range: bytes 1000-1999/5120000", 'ETag: "x"'),
        answering("206 Partial Content", b"hello", "Content-Range: nonsense", 'ETag: "x"'),
        answering("206 Partial Content", b"hello", "Content-Range: bytes */1005", 'ETag: "x"'),
        answering("206 Partial Content", b"hello", "Content-Range: bytes 1000-999/1005", 'ETag: "x"'),
        answering("206 Partial Content", b"hello", f"Content-Range: bytes 1000-1004/{'9' * 5000}", 'ETag: "x"'),
        answering("206 Partial Content", b"hello", "Content-Range: bytes 1000-\u00b9004/1005", 'ETag: "x"'),
        answering("206 Partial Content", b"hello", 'ETag: "x"'),
        answering("200 OK", OTHER[1000:], RANGED, 'ETag: "x"'),
        answering("200 OK", b"hello", "Content-Range: bytes 0-4/5120000", 'ETag: "x"'),
        answering("304 Not Modified", b""),
        answering("416 Range Not Satisfiable", b"", "Content-Range: bytes */5"),
        answering("416 Range Not Satisfiable", b"", "Content-Range: bytes */*"),
        answering("416 Range Not Satisfiable", b"", "Content-Range: bytes */1000"),
        answering("416 Range Not Satisfiable", b""),
    ],
)  # fmt: skip
async def test_what_does_not_go_on_with_the_part_is_not_put_behind_it(session, script, path, came):
    """The whole is asked for instead, and the wrong answer is an error at no time."""
    url, seen = await script(1000, came, whole('ETag: "y"'))
    await broken_off(session, url, path)
    result = await session.download(url, path, resume=True)
    assert path.read_bytes() == BODY
    assert result == (path, len(BODY), 0)
    assert [asked_range(request) for request in seen] == [None, "bytes=1000-", None]


async def test_a_whole_answer_takes_the_place_of_the_part(session, script, path):
    url, seen = await script(1000, answering("200 OK", OTHER, 'ETag: "y"'))
    await broken_off(session, url, path)
    assert await session.download(url, path, resume=True) == (path, len(OTHER), 0)
    assert path.read_bytes() == OTHER
    assert len(seen) == 2


async def test_a_range_that_begins_earlier_cuts_the_part_back(session, script, path):
    url, seen = await script(1000, slice_of(512, len(BODY) - 1))
    await broken_off(session, url, path)
    assert await session.download(url, path, resume=True) == (path, len(BODY), 512)
    assert path.read_bytes() == BODY
    assert len(seen) == 2


async def test_a_range_shorter_than_the_rest_is_gone_on_with(session, script, path):
    url, seen = await script(
        1000, slice_of(1000, 1004), slice_of(1005, 300_000), slice_of(300_001, len(BODY) - 1)
    )
    await broken_off(session, url, path)
    assert await session.download(url, path, resume=True) == (path, len(BODY), 1000)
    assert path.read_bytes() == BODY
    assert [asked_range(request) for request in seen[1:]] == [
        "bytes=1000-",
        "bytes=1005-",
        "bytes=300001-",
    ]


async def test_a_range_that_is_shorter_than_it_says_is_gone_on_with(session, script, path):
    short = answering("206 Partial Content", BODY[1000:1005], RANGED, 'ETag: "x"')
    url, seen = await script(1000, short, slice_of(1005, len(BODY) - 1))
    await broken_off(session, url, path)
    assert (await session.download(url, path, resume=True)).resumed_from == 1000
    assert path.read_bytes() == BODY
    assert asked_range(seen[2]) == "bytes=1005-"


async def test_a_server_that_sends_nothing_more_is_an_error_and_the_part_stays(
    session, script, path
):
    nothing = answering("206 Partial Content", b"", RANGED, 'ETag: "x"')
    url, seen = await script(1000, nothing, nothing, slice_of(1000, len(BODY) - 1))
    await broken_off(session, url, path)
    for _ in range(2):
        with pytest.raises(ClientPayloadError, match="no more than 1000 bytes of 5120000"):
            await session.download(url, path, resume=True)
    assert (await session.download(url, path, resume=True)).resumed_from == 1000
    assert len(seen) == 4


async def test_a_part_that_is_the_whole_is_finished(session, script, path):
    url, _ = await script(
        1000,
        answering(
            "206 Partial Content",
            BODY[1000:],
            f"Content-Range: bytes 1000-{len(BODY) - 1}/*",
            'ETag: "x"',
        ),
        answering("416 Range Not Satisfiable", b"", f"Content-Range: bytes */{len(BODY)}"),
    )
    await broken_off(session, url, path)
    assert await session.download(url, path, resume=True) == (path, len(BODY), 1000)
    assert path.read_bytes() == BODY
    assert names(path) == ["file.bin"]


async def test_an_error_of_the_server_leaves_the_part(session, script, path):
    url, _ = await script(
        1000,
        answering("503 Service Unavailable", b"later"),
        answering("302 Found", b""),
        answering("204 No Content", b""),
        slice_of(1000, len(BODY) - 1),
    )
    await broken_off(session, url, path)
    for status in (503, 302, 204):
        with pytest.raises(ClientResponseError) as caught:
            await session.download(url, path, resume=True, allow_redirects=False)
        assert caught.value.status == status
    assert (await session.download(url, path, resume=True)).resumed_from == 1000
    assert path.read_bytes() == BODY


async def test_a_plain_request_that_gets_a_part_is_an_error(session, script, path):
    """And the part of before stays, for the server may come to its senses."""
    url, _ = await script(1000, slice_of(500, 900), slice_of(0, 99), slice_of(1000, len(BODY) - 1))
    await broken_off(session, url, path)
    with pytest.raises(ClientResponseError, match="not the file"):
        await session.download(url, path, resume=True)
    assert (await session.download(url, path, resume=True)).resumed_from == 1000
    assert path.read_bytes() == BODY


async def test_more_than_was_announced_is_an_error_and_is_not_kept(session, script, path):
    """In chunks, where the length does not show it beforehand."""
    excess = (
        b'HTTP/1.1 206 Partial\r\nETag: "x"\r\nContent-Range: bytes 1000-1004/5120000\r\n'
        b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n6\r\nstrang\r\n0\r\n\r\n"
    )
    url, seen = await script(1000, excess, slice_of(1000, len(BODY) - 1))
    await broken_off(session, url, path)
    with pytest.raises(ClientPayloadError, match="more bytes than"):
        await session.download(url, path, resume=True)
    assert (await session.download(url, path, resume=True)).resumed_from == 1000
    assert path.read_bytes() == BODY
    assert asked_range(seen[2]) == "bytes=1000-"


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
    assert not list(path.parent.iterdir())


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
