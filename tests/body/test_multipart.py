"""Multiparts: what is written is read again, by us and by others, and hostile ones are refused in
bounded memory.
"""

from __future__ import annotations

import base64
import email.mime.multipart
import email.mime.text
import gzip
import io
import json
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from requests_toolbelt import MultipartEncoder
from urllib3.filepost import encode_multipart_formdata

from wherry.body.multipart.public_names import (
    BadMultipart,
    BodyPartReader,
    MultipartReader,
    MultipartWriter,
)
from wherry.body.payload.memory import StringPayload, get_payload
from wherry.body.stream.reader import StreamReader
from wherry.errors import ClientPayloadError

from .conftest import Sink


def stream(data: bytes, size: int = 2**16) -> StreamReader:
    reader = StreamReader(2**22)
    for at in range(0, len(data), size):
        reader.feed_data(data[at : at + size])
    reader.feed_eof()
    return reader


def reading(
    data: bytes, *, boundary: str = "AB", size: int = 2**16, subtype: str = "mixed", **options
) -> MultipartReader:
    return MultipartReader(
        {"Content-Type": f'multipart/{subtype}; boundary="{boundary}"'},
        stream(data, size),
        **options,
    )


async def written(writer) -> bytes:
    sink = Sink()
    await writer.write(sink)
    assert writer.size in {None, len(sink.data)}
    return sink.data


async def all_parts(reader) -> list:
    found = []
    async for part in reader:
        if isinstance(part, MultipartReader):
            found.append(await all_parts(part))
        else:
            found.append(await part.read(decode=True))
    return found


tricky = st.lists(
    st.sampled_from([b"\r", b"\n", b"-", b"--", b"AB", b"\r\n--A", b"\r\n--ABC", b"x", b" "]),
    max_size=15,
).map(b"".join)


@settings(deadline=None)
@given(
    parts=st.lists(st.one_of(st.binary(max_size=100), tricky), max_size=4), size=st.integers(1, 200)
)
async def test_what_was_written_is_read_again(parts, size):
    writer = MultipartWriter("mixed", "ABD")
    for part in parts:
        writer.append(part)
    data = await written(writer)
    assert await all_parts(reading(data, boundary="ABD", size=size)) == parts
    assert await writer.as_bytes() == data


@settings(deadline=None, max_examples=50)
@given(part=tricky, size=st.integers(1, 50), chunk=st.integers(1, 30))
async def test_a_part_is_streamed_by_pieces_of_any_size(part, size, chunk):
    data = b"--ABX\r\n\r\n" + part + b"\r\n--ABX--"
    body = await reading(data, boundary="ABX", size=size).next()
    pieces = []
    while piece := await body.read_chunk(chunk):
        assert len(piece) <= chunk
        pieces.append(piece)
    assert b"".join(pieces) == part
    assert body.at_eof()


nested = st.recursive(
    st.binary(max_size=30), lambda inner: st.lists(inner, min_size=1, max_size=3), max_leaves=8
)


@settings(deadline=None)
@given(tree=st.lists(nested, min_size=1, max_size=3), size=st.integers(1, 300))
async def test_multiparts_nest(tree, size):
    # One boundary begins like the other.
    def build(parts, boundary):
        writer = MultipartWriter("mixed", boundary)
        for part in parts:
            writer.append(build(part, boundary + "x") if isinstance(part, list) else part)
        return writer

    assert await all_parts(reading(await written(build(tree, "AB")), size=size)) == tree


async def test_a_nested_multipart_may_be_left_unread():
    inner = MultipartWriter("mixed")
    inner.append(b"1")
    inner.append(b"2")
    writer = MultipartWriter("mixed", "AB")
    writer.append(inner)
    writer.append(b"3")
    reader = reading(await written(writer))
    first = await reader.next()
    assert isinstance(first, MultipartReader)
    assert await (await first.next()).read() == b"1"
    assert await (await reader.next()).read() == b"3"
    assert await reader.next() is None
    assert reader.at_eof()


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("transfer", ["", "base64", "quoted-printable"])
@settings(deadline=None, max_examples=20)
@given(
    part=st.one_of(
        st.binary(max_size=300),
        st.builds(lambda b, n: b * n, st.binary(min_size=1, max_size=9), st.integers(1, 30000)),
    )
)
async def test_part_codings(coding, transfer, part):
    writer = MultipartWriter("mixed", "AB")
    headers = {"Content-Encoding": coding}
    if transfer:
        headers["Content-Transfer-Encoding"] = transfer
    writer.append(part, headers)
    data = await written(writer)
    assert await all_parts(reading(data)) == [part]
    raw = await (await reading(data).next()).read()
    body = await reading(data).next()
    assert body.decode(raw) == part
    assert b"".join([piece async for piece in body.decode_iter(raw)]) == part


@pytest.mark.parametrize("packed", [zlib.compress(b"hello"), zlib.compress(b"hello")[2:-4]])
async def test_deflate_with_and_without_its_wrapping(packed):
    data = b"--AB\r\nContent-Encoding: deflate\r\n\r\n" + packed + b"\r\n--AB--\r\n"
    assert await all_parts(reading(data)) == [b"hello"]


async def test_a_coding_cut_short_in_a_part_is_an_error():
    data = (
        b"--AB\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(b"hello")[:-4] + b"\r\n--AB--\r\n"
    )
    with pytest.raises(ClientPayloadError):
        await all_parts(reading(data))


async def test_base64_comes_in_whole_quartets():
    plain = bytes(range(256)) * 40
    text = base64.encodebytes(plain).replace(b"\n", b"\r\n")
    body = await reading(
        b"--AB\r\nContent-Transfer-Encoding: base64\r\n\r\n" + text + b"\r\n--AB--", size=1000
    ).next()
    found = b""
    while piece := await body.read_chunk(101):
        found += base64.b64decode(piece)
    assert found == plain


@pytest.mark.parametrize("field", ["Content-Encoding: lzw", "Content-Transfer-Encoding: uuencode"])
async def test_an_unknown_coding_is_an_error(field):
    data = b"--AB\r\n" + field.encode() + b"\r\n\r\nx\r\n--AB--"
    with pytest.raises(RuntimeError, match="unknown content"):
        await all_parts(reading(data))
    writer = MultipartWriter()
    name, _, value = field.partition(": ")
    with pytest.raises(RuntimeError, match="unknown content"):
        writer.append("x", {name: value})


async def test_preamble_and_epilogue_are_passed_over():
    data = b"A message\r\nin --AB parts\r\n--AB \t\r\n\r\n1\r\n--AB\r\n\r\n2\r\n--AB-- \r\nthe end\r\n--AB\r\n\r\n3"
    for size in (1, 3, 1000):
        assert await all_parts(reading(data, size=size)) == [b"1", b"2"]


async def test_no_parts_at_all():
    assert await all_parts(reading(b"--AB--")) == []
    assert await all_parts(reading(await written(MultipartWriter("mixed", "AB")))) == []


async def test_a_part_without_a_body_or_an_empty_line_before_it():
    assert await all_parts(reading(b"--AB\r\n\r\n\r\n--AB\r\nA: b\r\n\r\n--AB\r\n\r\n--AB--")) == [
        b"",
        b"",
        b"",
    ]


async def test_folded_fields_and_bare_line_feeds_in_heads():
    data = b"--AB\nContent-Type: text/plain;\r\n charset=latin-1\r\nX-A:1\nX-A: 2\r\n\r\n\xe4\r\n--AB--"
    body = await reading(data).next()
    assert body.headers["content-type"] == "text/plain; charset=latin-1"
    assert body.headers.getall("X-A") == ["1", "2"]
    assert await body.text() == "ä"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no boundary at all",
        b"--AB",
        b"--AB\r\n",
        b"--AB\r\nA: b\r\n",
        b"--AB\r\n\r\n",
        b"--AB\r\n\r\nbody",
        b"--AB\r\n\r\nbody\r\n--A",
        b"--AB\r\n\r\nbody\r\n--AB",
        b"--AB\r\n\r\nbody\r\n--AB-",
        b"--AB\r\n\r\nbody\r\n--ABC--",
    ],
)
@pytest.mark.parametrize("size", [1, 1000])
async def test_a_multipart_cut_short_is_an_error(data, size):
    with pytest.raises(BadMultipart, match="ended before"):
        await all_parts(reading(data, size=size))
    with pytest.raises(ValueError):
        await reading(data, size=size).release()


@pytest.mark.parametrize(
    "head", [b"no colon", b"na me: x", b": x", b" folded: first", b"a" * 9000 + b": x"]
)
async def test_a_malformed_head_is_an_error(head):
    with pytest.raises(BadMultipart, match="header field"):
        await reading(b"--AB\r\n" + head + b"\r\n\r\nx\r\n--AB--").next()


async def test_limits_on_heads():
    many = b"".join(b"X-%d: 1\r\n" % n for n in range(20))
    data = b"--AB\r\n" + many + b"\r\nx\r\n--AB--"
    with pytest.raises(BadMultipart, match="more than 19"):
        await reading(data, max_headers=19).next()
    assert len((await reading(data, max_headers=20).next()).headers) == 20
    with pytest.raises(BadMultipart, match="longer than 5"):
        await reading(data, max_field_size=5).next()
    folded = b"--AB\r\nA: b\r\n" + b" more\r\n" * 10 + b"\r\nx\r\n--AB--"
    with pytest.raises(BadMultipart, match="longer than 20"):
        await reading(folded, max_field_size=20).next()


async def test_a_limit_on_a_part():
    class TooLarge(Exception):
        pass

    data = b"--AB\r\n\r\n" + bytes(100) + b"\r\n--AB--"
    body = await reading(data, client_max_size=99, max_size_error_cls=TooLarge).next()
    with pytest.raises(TooLarge):
        await body.read()
    body = await reading(data, client_max_size=100).next()
    assert await body.read() == bytes(100)


@pytest.mark.parametrize(
    ("content_type", "match"),
    [
        ("text/plain", "multipart"),
        ("multipart/mixed", "boundary missed"),
        ('multipart/mixed; boundary=""', "boundary missed"),
        ("multipart/mixed; boundary=" + "x" * 71, "too long"),
    ],
)
def test_a_type_without_a_usable_boundary(content_type, match):
    with pytest.raises(ValueError, match=match):
        MultipartReader({"Content-Type": content_type}, stream(b""))


async def test_the_longest_boundary():
    boundary = "x" * 70
    writer = MultipartWriter("mixed", boundary)
    writer.append(b"1")
    assert await all_parts(reading(await written(writer), boundary=boundary, size=7)) == [b"1"]


@pytest.mark.parametrize("boundary", ["", "x" * 71, "a\r\nb", "ä", "a ", "a\0"])
def test_a_bad_boundary_is_refused(boundary):
    with pytest.raises(ValueError, match="boundary"):
        MultipartWriter("mixed", boundary)


async def test_a_boundary_that_must_be_quoted():
    writer = MultipartWriter("mixed", 'gc0pJq0M:08"j\\U534 c0p')
    assert writer.content_type == 'multipart/mixed; boundary="gc0pJq0M:08\\"j\\\\U534 c0p"'
    writer.append(b"1")
    reader = MultipartReader({"Content-Type": writer.content_type}, stream(await written(writer)))
    assert await all_parts(reader) == [b"1"]


async def test_what_a_part_tells():
    writer = MultipartWriter("form-data", "AB")
    part = get_payload(b"{}", content_type="application/json")
    part.set_content_disposition("form-data", name="näme", filename="x y.json")
    writer.append_payload(part)
    body = await reading(await written(writer), subtype="form-data").next()
    assert body.name == "näme"
    assert body.filename == "x%20y.json"
    assert await body.json() == {}
    assert await body.read() == b""
    assert await body.next() is None


async def test_text_json_form_and_lines():
    writer = MultipartWriter("mixed", "AB")
    writer.append("zeile eins\r\nzwei\n")
    writer.append_json({"a": 1})
    writer.append_form([("a", "ä"), ("b", "")])
    writer.append_form({"c": "d"})
    writer.append("")
    reader = reading(await written(writer), size=3)
    body = await reader.next()
    assert [await body.readline() for _ in range(3)] == [b"zeile eins\r\n", b"zwei\n", b""]
    assert body.at_eof()
    assert await (await reader.next()).json() == {"a": 1}
    assert await (await reader.next()).form() == [("a", "ä"), ("b", "")]
    assert await (await reader.next()).form() == [("c", "d")]
    assert await (await reader.next()).json() is None
    assert await reader.next() is None


async def test_a_form_tells_its_charset():
    data = (
        b'--AB\r\nContent-Disposition: form-data; name="_charset_"\r\n\r\niso-8859-1\r\n'
        b'--AB\r\nContent-Disposition: form-data; name="a"\r\n\r\n\xe4\r\n--AB--'
    )
    body = await reading(data, subtype="form-data").next()
    assert await body.text() == "ä"
    assert body.get_charset("utf-8") == "iso-8859-1"


async def test_a_part_becomes_a_body():
    writer = MultipartWriter("mixed", "AB")
    writer.append(b"x" * 100000, {"Content-Encoding": "gzip"})
    body = await reading(await written(writer)).next()
    payload = get_payload(body)
    sink = Sink()
    await payload.write(sink)
    assert sink.data == b"x" * 100000
    assert not payload.replayable
    with pytest.raises(ClientPayloadError, match="consumed"):
        await payload.write(sink)
    with pytest.raises(TypeError):
        await payload.as_bytes()


def test_the_fields_that_a_forms_part_must_not_have():
    for name in ("Content-Encoding", "Content-Transfer-Encoding", "Content-Length"):
        with pytest.raises(ValueError, match=name):
            MultipartWriter("form-data").append(b"x", {name: "1"})


async def test_a_writer_knows_its_parts():
    writer = MultipartWriter("mixed", "AB")
    with writer as entered:
        first = entered.append("x")
    assert first.headers["Content-Length"] == "1"
    assert list(writer) == [(first, None, None)]
    assert len(writer) == 1
    assert bool(MultipartWriter())
    assert writer.boundary == "AB"
    assert "x" in writer.decode()
    with pytest.raises(TypeError, match="Cannot create payload"):
        writer.append(object())


async def test_a_writer_can_be_replayed_as_far_as_its_parts_can():
    writer = MultipartWriter("mixed", "AB")
    writer.append(io.BytesIO(b"12"))
    assert await written(writer) == await written(writer)
    assert writer.replayable

    async def pieces():
        yield b"3"

    writer.append(pieces())
    assert writer.size is None
    assert await written(writer)
    assert not writer.replayable
    with pytest.raises(ClientPayloadError, match="consumed"):
        writer.rewind()


async def test_closing_a_writer_closes_its_files(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"x")
    file = path.open("rb")
    writer = MultipartWriter("mixed")
    writer.append(file)
    await writer.close()
    assert file.closed
    assert not writer.replayable


async def test_a_large_part_is_never_held():
    import tracemalloc

    async def pieces():
        yield b"--AB\r\n\r\n"
        for _ in range(1024):
            yield bytes(2**16)
        yield b"\r\n--AB--"

    source = pieces()

    class Source:
        async def read(self, size):
            return await anext(source, b"")

    reader = MultipartReader({"Content-Type": "multipart/mixed; boundary=AB"}, Source())
    body = await reader.next()
    tracemalloc.start()
    try:
        size = 0
        async for piece in body:
            size += len(piece)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size == 2**26
    assert peak < 2**20


# Without backslashes, which urllib3 does not escape.
names = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\\"), min_size=1, max_size=20
)


@settings(deadline=None)
@given(
    fields=st.lists(
        st.tuples(names, st.one_of(st.binary(max_size=100), tricky), names), min_size=1, max_size=4
    )
)
async def test_what_urllib3_writes_is_read(fields):
    data, content_type = encode_multipart_formdata(
        [(name, (filename, value, "application/octet-stream")) for name, value, filename in fields],
        boundary="ABX",
    )
    reader = MultipartReader({"Content-Type": content_type}, stream(data))
    found = [(part.name, await part.read(), part.filename) async for part in reader]
    # A quote is written as %22 there, and the root of a path is taken off here.
    assert found == [
        (name.replace('"', "%22").lstrip("/"), value, filename.replace('"', "%22").lstrip("/"))
        for name, value, filename in fields
    ]


@settings(deadline=None)
@given(
    fields=st.lists(
        st.tuples(st.from_regex("[a-z]{1,9}", fullmatch=True), st.binary(max_size=100)),
        min_size=1,
        max_size=4,
    )
)
async def test_what_toolbelt_writes_is_read(fields):
    encoder = MultipartEncoder([(name, ("file", value, "text/plain")) for name, value in fields])
    reader = MultipartReader({"Content-Type": encoder.content_type}, stream(encoder.read()))
    assert [(part.name, await part.read()) async for part in reader] == fields


async def test_what_email_writes_is_read():
    message = email.mime.multipart.MIMEMultipart()
    message.attach(email.mime.text.MIMEText("häl=lo " * 30, "plain", "utf-8"))
    inner = email.mime.multipart.MIMEMultipart()
    inner.attach(email.mime.text.MIMEText("x", "plain", "us-ascii"))
    message.attach(inner)
    data = message.as_bytes().replace(b"\n", b"\r\n")
    head, _, body = data.partition(b"\r\n\r\n")
    content_type = next(
        line for line in head.split(b"\r\n") if line.startswith(b"Content-Type")
    ).split(b": ")[1]
    reader = MultipartReader({"Content-Type": content_type.decode()}, stream(body))
    first = await reader.next()
    assert await first.text() == "häl=lo " * 30
    second = await reader.next()
    assert await all_parts(second) == [b"x"]


async def test_a_part_is_read_from_a_stream_of_ones_own():
    body = BodyPartReader(b"--AB", {"Content-Type": "text/plain"}, stream(b"hello\r\n--AB--"))
    assert await body.read() == b"hello"


@pytest.mark.parametrize("value", [b"a\0b", b"a\rb", b"a\x1bb", b"a\r\n \x7fb"])
async def test_control_characters_in_a_part_s_head_are_an_error(value):
    with pytest.raises(BadMultipart, match="control character"):
        await reading(b"--AB\r\nX: " + value + b"\r\n\r\nx\r\n--AB--").next()


@pytest.mark.parametrize(
    ("field", "api"),
    [
        (b"Content-Encoding: nope", RuntimeError),
        (b"Content-Transfer-Encoding: nope", RuntimeError),
        (b"Content-Type: multipart/mixed", ValueError),
        (b"Content-Type: multipart/mixed; boundary=" + b"x" * 71, ValueError),
    ],
)
async def test_what_a_peer_does_wrong_is_a_client_error(field, api):
    reader = reading(b"--AB\r\n" + field + b"\r\n\r\nx\r\n--AB--")
    with pytest.raises(ClientPayloadError) as caught:
        await (await reader.next()).read(decode=True)
    assert isinstance(caught.value, api)


@pytest.mark.parametrize("charset", [b"nope", b"\xff", b"base64", b""])
async def test_an_unknown_charset_of_a_part_falls_back(charset):
    part = await reading(
        b"--AB\r\nContent-Type: text/plain; charset=" + charset + b"\r\n\r\n\xc3\xa4\r\n--AB--"
    ).next()
    assert await part.text() == "ä"


@pytest.mark.parametrize("size", [0, -1])
async def test_a_chunk_of_no_size_is_refused(size):
    part = await reading(b"--AB\r\n\r\nx\r\n--AB--").next()
    with pytest.raises(ValueError, match="at least one byte"):
        await part.read_chunk(size)
    assert await part.read_chunk(1) == b"x"


def test_json_part_headers():
    writer = MultipartWriter("related", "AB")
    part = writer.append_json({"a": 1}, {"Content-ID": "1"})
    assert json.loads(part.at_hand) == {"a": 1}
    assert part.headers["Content-ID"] == "1"
    writer.append(StringPayload("x"), {"X": "y"})
    assert b"X: y\r\n" in writer.at_hand


@pytest.mark.parametrize("length", ["-1", "+5", "1_0", "0x5", "\uff15", ""])
async def test_a_length_that_is_none_is_an_error(length):
    data = f"--AB\r\nContent-Length: {length}\r\n\r\nhello\r\n--AB--".encode()
    with pytest.raises(BadMultipart, match="Content-Length"):
        await reading(data).next()


@pytest.mark.parametrize("length", [4, 6, 10**30])
async def test_a_part_of_another_length_than_it_says_is_an_error(length):
    data = b"--AB\r\nContent-Length: %d\r\n\r\nhello\r\n--AB--" % length
    with pytest.raises(BadMultipart, match="5 bytes"):
        await all_parts(reading(data))
    # RFC 7578 4.8: in a form the field means nothing.
    assert await all_parts(reading(data, subtype="form-data")) == [b"hello"]


@pytest.mark.parametrize("size", [5, 6, 7, 2**16])
@pytest.mark.parametrize("encoding", [None, "base64"])
async def test_a_part_knows_its_end_with_its_last_piece(size, encoding):
    field = f"Content-Transfer-Encoding: {encoding}\r\n".encode() if encoding else b""
    data = (
        b"".join([b"--AB\r\n" + field + b"\r\n" + body + b"\r\n" for body in (b"chunkchu", b"two")])
        + b"--AB--\r\n"
    )
    reader = reading(data)
    found = []
    while (part := await reader.next()) is not None:
        found.append(b"")
        while not part.at_eof():
            piece = await part.read_chunk(size)
            assert piece
            found[-1] += piece
        assert await part.read_chunk(size) == b""
    assert found == [b"chunkchu", b"two"]


@pytest.mark.parametrize("size", range(4, 20))
@pytest.mark.parametrize("pieces", [1, 7, 2**16])
@pytest.mark.parametrize("between", [b"\r\n", b"\r\r\n", b"\n", b" ", b"\r\n" * 10])
async def test_line_ends_inside_quartets_make_no_piece_undecodable(size, pieces, between):
    """RFC 2045 6.8: what is not of the alphabet is ignored."""
    coded = base64.b64encode(b"Time to Relax!")
    for at in range(1, len(coded)):
        sent = between.join((coded[:at], coded[at : at + 9], coded[at + 9 :]))
        data = b"--AB\r\nContent-Transfer-Encoding: base64\r\n\r\n" + sent + b"\r\n--AB--"
        part = await reading(data, size=pieces).next()
        found = b""
        while not part.at_eof():
            piece = await part.read_chunk(size)
            assert len(piece) <= size + 64
            found += part.decode(piece)
        assert found == b"Time to Relax!"


@pytest.mark.parametrize("end", [b"", b"\r"])
@pytest.mark.parametrize("size", [1, 3, 2**16])
async def test_a_boundary_at_the_very_end_ends_its_part_alone(end, size):
    """RFC 2046 5.1.1: the part is whole, the multipart is not."""
    reader = reading(b"--AB\r\n\r\nHello\r\n--AB" + end, size=size)
    part = await reader.next()
    assert await part.read() == b"Hello"
    assert part.at_eof()
    with pytest.raises(BadMultipart, match="ended before its last boundary"):
        await reader.next()


@pytest.mark.parametrize("end", [b"\r\n--A", b"\r\n--", b"\r\n--ABC", b"\r\n--AB-", b"AB"])
async def test_what_is_no_whole_boundary_at_the_end_is_none(end):
    part = await reading(b"--AB\r\n\r\nHello" + end).next()
    with pytest.raises(BadMultipart, match="ended before its last boundary"):
        await part.read()


def test_a_part_for_its_fields_alone():
    part = BodyPartReader(b"--AB", {"Content-Disposition": "attachment; filename=a.html"}, None)
    assert part.filename == "a.html"


async def test_a_part_of_another_length_than_it_says_is_known_at_its_end():
    part = await reading(b"--AB\r\nContent-Length: 4\r\n\r\nlong!\r\n--AB--").next()
    assert await part.read_chunk() == b"long!"
    assert not part.at_eof()
    with pytest.raises(BadMultipart, match="Content-Length"):
        await part.read_chunk()
