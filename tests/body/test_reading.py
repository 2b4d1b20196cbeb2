"""What comes back, over real sockets: text, JSON, codings, limits, pieces, and bodies that are not
whole.
"""

from __future__ import annotations

import asyncio
import codecs
import gzip
import importlib
import json
import os
import zlib

import brotli
import charset_normalizer
import psutil
import pytest
from aiohttp import web
from tests.left_out import needs
from tests.zstandard import zstd

import wherry
from wherry.body.multipart.public_names import MultipartReader
from wherry.errors import ClientConnectionError, ClientPayloadError, ContentTypeError


def response(body: bytes, *fields: str, length: bool = True) -> bytes:
    lines = [
        "HTTP/1.1 200 OK",
        *fields,
        *([f"Content-Length: {len(body)}"] if length else []),
        "",
        "",
    ]
    return "\r\n".join(lines).encode("latin-1") + body


# --- text -----------------------------------------------------------------------------------------


async def test_utf8_is_tried_where_nothing_is_said(session, answer):
    """S001-141"""
    async with session.get(
        await answer(response("grün".encode(), "Content-Type: text/plain"))
    ) as got:
        assert await got.text() == "grün"
        assert got.get_encoding() == "utf-8"
    async with session.get(
        await answer(response("grün".encode("latin-1"), "Content-Type: text/plain"))
    ) as got:
        with pytest.raises(UnicodeDecodeError):
            await got.text()
        assert await got.text(errors="replace") == "gr\ufffdn"
        assert await got.text(errors="ignore") == "grn"


async def test_an_encoding_may_be_said(session, answer):
    """S001-142"""
    body = "“grün”".encode("windows-1252")
    async with session.get(
        await answer(response(body, "Content-Type: text/plain; charset=utf-8"))
    ) as got:
        assert await got.text("windows-1252") == "“grün”"
        assert await got.text(encoding="windows-1252") == "“grün”"


@pytest.mark.parametrize(
    "field", ["charset=windows-1252", 'Charset="Windows-1252"', "x=y; charset=cp1252"]
)
async def test_the_field_names_the_charset(session, answer, field):
    body = "“grün”".encode("windows-1252")
    async with session.get(
        await answer(response(body, f"Content-Type: text/plain; {field}"))
    ) as got:
        assert await got.text() == "“grün”"


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
)
async def test_a_byte_order_mark_tells_the_encoding(session, answer, mark, encoding):
    async with session.get(
        await answer(response(mark + "grün".encode(encoding), "Content-Type: text/plain"))
    ) as got:
        assert await got.text() == "grün"


@pytest.mark.parametrize("name", ["nonsense", "base64", "rot13", "", "utf-8\x00", "x" * 500])
async def test_an_unknown_charset_falls_back(session, answer, name):
    body = response(
        "grün".encode(), f"Content-Type: text/plain; charset={name}".replace("\x00", "")
    )
    async with session.get(await answer(body)) as got:
        assert await got.text() == "grün"


async def test_a_resolver_is_asked_when_nothing_names_the_charset(answer):
    """S001-143, S001-144"""
    asked = []

    def resolver(got, body):
        asked.append((got.status, body))
        return "windows-1252"

    body = "“grün”".encode("windows-1252")
    async with wherry.ClientSession(fallback_charset_resolver=resolver) as session:
        async with session.get(await answer(response(body, "Content-Type: text/plain"))) as got:
            assert await got.text() == "“grün”"
            assert got.get_encoding() == "windows-1252"
        assert asked[0] == (200, body)
        asked.clear()
        async with session.get(
            await answer(response(body, "Content-Type: text/plain; charset=cp1252"))
        ) as got:
            assert await got.text() == "“grün”"
        async with session.get(
            await answer(response(b"{}", "Content-Type: application/json"))
        ) as got:
            await got.text()
        assert asked == []


TEXT = (
    "Der schnelle braune Fuchs springt über den faulen Hund, während die Möwen über dem Fluß "
    "kreisen. " * 5
)


@pytest.mark.parametrize(
    "resolver",
    [
        lambda got, body: importlib.import_module("chardetng_py").detect(body),
        lambda got, body: charset_normalizer.from_bytes(body).best().encoding,
    ],
    ids=["chardetng_py", "charset-normalizer"],
)
async def test_resolvers_of_the_documentation(request, answer, resolver):
    """S001-145, S001-146"""
    if "chardetng_py" in request.node.name:
        needs("chardetng_py")
    body = TEXT.encode("windows-1252")
    url = await answer(response(body, "Content-Type: text/plain"))
    async with (
        wherry.ClientSession(fallback_charset_resolver=resolver) as session,
        session.get(url) as got,
    ):
        assert await got.text() == TEXT


# --- JSON -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/json; charset=utf-8",
        "APPLICATION/JSON",
        "application/problem+json",
        "application/vnd.x+json; a=b",
    ],
)
async def test_json_and_its_kin_are_taken(session, answer, content_type):
    """S001-68"""
    async with session.get(
        await answer(response('{"a": "ä"}'.encode(), f"Content-Type: {content_type}"))
    ) as got:
        assert await got.json() == {"a": "ä"}
        assert await got.json() == {"a": "ä"}


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "text/html; charset=utf-8",
        "application/jsonp",
        "text/json",
        "application/json+xml",
    ],
)
async def test_other_types_are_refused_and_the_body_stays(session, answer, content_type):
    """S001-69"""
    async with session.get(
        await answer(response(b'{"a": 1}', f"Content-Type: {content_type}"))
    ) as got:
        with pytest.raises(ContentTypeError) as caught:
            await got.json()
        assert content_type.partition(";")[0] in caught.value.message
        assert caught.value.status == 200
        assert caught.value.headers["Content-Type"] == content_type
        assert caught.value.request_info.real_url == got.real_url
        assert await got.text() == '{"a": 1}'
        # S001-72
        assert await got.json(content_type=None) == {"a": 1}


@pytest.mark.parametrize("content_type", ["garbage", "", ";charset=utf-8", "a/b/c"])
async def test_what_is_no_media_type_is_octets(session, answer, content_type):
    async with session.get(await answer(response(b"x", f"Content-Type: {content_type}"))) as got:
        assert got.content_type == "application/octet-stream"
        with pytest.raises(ContentTypeError):
            await got.json()


async def test_a_type_of_ones_own_is_matched_strictly(session, answer):
    """S001-70, S001-71"""
    async with session.get(await answer(response(b"[1]", "Content-Type: text/x-thing"))) as got:
        assert await got.json(content_type="text/x-thing") == [1]
        with pytest.raises(ContentTypeError):
            await got.json(content_type="text/y-thing")
    async with session.get(await answer(response(b"[1]", "Content-Type: text/x+thing"))) as got:
        with pytest.raises(ContentTypeError):
            await got.json(content_type="text/thing")


@pytest.mark.parametrize("body", [b"", b"  \r\n"])
async def test_an_empty_body_gives_none(session, answer, body):
    async with session.get(await answer(response(body, "Content-Type: application/json"))) as got:
        assert await got.json() is None


async def test_loads_and_encoding_of_ones_own(session, answer):
    body = '{"a": "ä"}'.encode("utf-16")
    async with session.get(await answer(response(body, "Content-Type: application/json"))) as got:
        assert await got.json(encoding="utf-16", loads=lambda text: text.upper()) == '{"A": "Ä"}'
    async with session.get(
        await answer(response(b"nonsense", "Content-Type: application/json"))
    ) as got:
        with pytest.raises(json.JSONDecodeError):
            await got.json()


# --- codings --------------------------------------------------------------------------------------

PACK = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstd.compress,
    "gzip, br": lambda body: brotli.compress(gzip.compress(body)),
    "identity": bytes,
}


@pytest.mark.parametrize("coding", list(PACK))
@pytest.mark.parametrize("size", [10, 3000000])
async def test_codings_are_undone(session, answer, coding, size):
    body = (b"%d," * 10 % tuple(range(10)) * (size // 20 + 1))[:size]
    url = await answer(response(PACK[coding](body), f"Content-Encoding: {coding}"))
    async with session.get(url) as got:
        assert await got.read() == body
        assert await got.read() == body
        assert got.headers["Content-Encoding"] == coding


async def test_what_is_asked_for(session, web_server):
    async def handler(request):
        return web.Response(text=request.headers["Accept-Encoding"])

    async with session.get(await web_server(handler)) as got:
        assert await got.text() == "gzip, deflate, br, zstd"


async def test_decoding_can_be_left_out(answer):
    packed = gzip.compress(b"hello")
    url = await answer(response(packed, "Content-Encoding: gzip"))
    async with wherry.ClientSession(auto_decompress=False) as session, session.get(url) as got:
        assert await got.read() == packed
    async with wherry.ClientSession() as session:
        async with session.get(url, auto_decompress=False) as got:
            assert await got.read() == packed
        async with session.get(url) as got:
            assert await got.read() == b"hello"


async def test_an_answer_without_a_body_needs_no_coding(session, answer):
    async with session.head(
        await answer(response(b"", "Content-Encoding: gzip", length=False))
    ) as got:
        assert await got.read() == b""
    async with session.get(await answer(response(b"", "Content-Encoding: gzip"))) as got:
        assert await got.read() == b""


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
@pytest.mark.parametrize("how", ["read", "chunked", "lines"])
async def test_a_coding_cut_short_in_good_framing_is_an_error(session, answer, coding, how):
    packed = PACK[coding](os.urandom(5000) + b"\n")
    async with session.get(
        await answer(response(packed[:-20], f"Content-Encoding: {coding}"))
    ) as got:
        with pytest.raises(ClientPayloadError, match="ended before its content-encoding"):
            if how == "read":
                await got.read()
            else:
                async for _ in got.content.iter_chunked(100) if how == "chunked" else got.content:
                    pass


async def test_nonsense_in_a_coding_is_an_error(session, answer):
    async with session.get(await answer(response(b"nonsense", "Content-Encoding: gzip"))) as got:
        with pytest.raises(ClientPayloadError, match="gzip"):
            await got.read()


@pytest.fixture(scope="module")
def gigabyte():
    return gzip.compress(bytes(2**26)) * 16


async def test_a_bomb_of_a_gigabyte_read_in_pieces(session, answer, gigabyte):
    process = psutil.Process()
    async with session.get(await answer(response(gigabyte, "Content-Encoding: gzip"))) as got:
        total = peak = 0
        before = process.memory_info().rss
        async for piece in got.content.iter_chunked(65536):
            total += len(piece)
            if not total % 2**26:
                peak = max(peak, process.memory_info().rss)
    assert total == 2**30
    assert peak - before < 8 * 2**20


async def test_a_limit_on_the_body_stops_a_bomb(answer, gigabyte):
    url = await answer(response(gigabyte, "Content-Encoding: gzip"))
    process = psutil.Process()
    async with wherry.ClientSession(max_body_size=2**20) as session:
        async with session.get(url) as got:
            before = process.memory_info().rss
            with pytest.raises(ClientPayloadError, match="max_body_size=1048576"):
                await got.read()
            assert process.memory_info().rss - before < 16 * 2**20
        async with session.get(url, max_body_size=2**20 + 1) as got:
            with pytest.raises(ClientPayloadError, match="max_body_size=1048577"):
                async for _ in got.content.iter_any():
                    pass


async def test_a_limit_on_a_plain_body(answer):
    url = await answer(response(bytes(1000)))
    async with wherry.ClientSession() as session:
        async with session.get(url, max_body_size=1000) as got:
            assert await got.read() == bytes(1000)
        async with session.get(url, max_body_size=999) as got:
            with pytest.raises(ClientPayloadError, match="max_body_size"):
                await got.read()


# --- reading --------------------------------------------------------------------------------------


async def test_every_way_of_reading(session, answer):
    body = b"one\ntwo\nthree"
    url = await answer(response(body))
    async with session.get(url) as got:
        assert [line async for line in got.content] == [b"one\n", b"two\n", b"three"]
        assert got.content.at_eof()
        assert got.content.total_bytes == len(body)
    async with session.get(url) as got:
        assert [piece async for piece in got.content.iter_chunked(5)] == [
            b"one\nt",
            b"wo\nth",
            b"ree",
        ]
    async with session.get(url) as got:
        assert b"".join([piece async for piece in got.content.iter_any()]) == body
    async with session.get(url) as got:
        assert await got.content.readexactly(4) == b"one\n"
        assert await got.content.readuntil(b"o\n") == b"two\n"
        with pytest.raises(asyncio.IncompleteReadError):
            await got.content.readexactly(6)


async def test_http_chunks_are_told(session, answer):
    url = await answer(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 5\r\n\r\n"
    )
    async with session.get(url) as got:
        assert [piece async for piece in got.content.iter_chunks()] == [
            (b"abc", True),
            (b"de", True),
        ]
        assert got.trailers == {"X-Sum": "5"}


async def test_reading_after_the_release_is_an_error_but_of_what_was_read(session, answer):
    url = await answer(response(b"hello"))
    async with session.get(url) as got:
        assert await got.read() == b"hello"
    async with session.get(url) as unread:
        pass
    with pytest.raises(ClientConnectionError):
        await unread.read()
    with pytest.raises(ClientConnectionError):
        await unread.content.read()


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhello",
    ],
)
@pytest.mark.parametrize("how", ["read", "chunked", "any"])
async def test_a_body_that_ends_early_is_never_passed_off_as_whole(session, answer, data, how):
    async with session.get(await answer(data)) as got:
        with pytest.raises(ClientPayloadError):
            if how == "read":
                await got.read()
            else:
                async for _ in (
                    got.content.iter_chunked(3) if how == "chunked" else got.content.iter_any()
                ):
                    pass


async def test_a_slow_reader_stops_the_peer(raw_server):
    sent = 0

    async def peer(reader, writer):
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % 2**28)
        while sent < 2**28:
            writer.write(bytes(2**16))
            await writer.drain()
            sent += 2**16

    async with (
        wherry.ClientSession(read_bufsize=2**16) as session,
        session.get(await raw_server(peer)) as got,
    ):
        stalled = 0
        before = -1
        while stalled < 20:
            await asyncio.sleep(0.005)
            stalled = stalled + 1 if sent == before else 0
            before = sent
        # What the sockets hold, and no more.
        assert sent < 2**25
        assert got.content._size < 2**20
        assert len(await got.content.readexactly(2**25)) == 2**25


async def test_a_multipart_response(session, answer):
    body = (
        b"--AB\r\nContent-Type: application/json\r\n\r\n[1]\r\n--AB\r\n\r\n"
        + b"x" * 100000
        + b"\r\n--AB--\r\n"
    )
    async with session.get(
        await answer(response(body, "Content-Type: multipart/mixed; boundary=AB"))
    ) as got:
        reader = MultipartReader.from_response(got)
        first = await reader.next()
        assert await first.json() == [1]
        second = await reader.next()
        assert await second.read() == b"x" * 100000
        assert await reader.next() is None
        assert reader.at_eof()
        assert got.closed


async def test_a_multipart_response_cut_short(session, answer):
    body = b"--AB\r\n\r\nhello"
    async with session.get(
        await answer(response(body, "Content-Type: multipart/mixed; boundary=AB"))
    ) as got:
        with pytest.raises(ClientPayloadError, match="ended before"):
            async for part in MultipartReader.from_response(got):
                await part.read()


async def test_a_multipart_posted_to_aiohttp_comes_back_through_its_writer(session, web_server):
    async def handler(request):
        writer = web.StreamResponse(headers={"Content-Type": request.headers["Content-Type"]})
        await writer.prepare(request)
        async for piece in request.content.iter_chunked(7):
            await writer.write(piece)
        return writer

    form = wherry.FormData(quote_fields=False)
    form.add_field("ä", "ö" * 1000)
    form.add_field("file", b"\0\r\n--" * 1000, filename="näme")
    async with session.post(await web_server(handler), data=form) as got:
        found = [
            (part.name, part.filename, await part.read())
            async for part in MultipartReader.from_response(got)
        ]
    assert found == [("ä", None, "ö".encode() * 1000), ("file", "näme", b"\0\r\n--" * 1000)]
