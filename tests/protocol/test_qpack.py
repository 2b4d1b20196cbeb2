"""QPACK against RFC 9204 and against another implementation (ls-qpack)."""

from __future__ import annotations

import pylsqpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.protocol.faults import ConnectionFault, StreamFault
from wherry.protocol.heads import FieldBlock, RequestHead
from wherry.protocol.http2.hpack import encode_integer
from wherry.protocol.http3.frames import ErrorCode
from wherry.protocol.http3.headers import FieldReader, request_frame, trailers_frame
from wherry.protocol.http3.qpack import (
    SECTION_PREFIX,
    STATIC_FIELDS,
    DecoderStream,
    EncoderStream,
    QpackError,
    QpackStreamError,
    SectionTooLarge,
    TooManyFields,
    decode,
    encode_fields,
    encode_shared,
)
from wherry.protocol.limits import DEFAULT_LIMITS, Limits

names = st.sampled_from(sorted({name for name, _ in STATIC_FIELDS})) | st.binary(
    min_size=1, max_size=20
).map(bytes.lower)
values = st.sampled_from(sorted({value for _, value in STATIC_FIELDS})) | st.binary(max_size=300)
field_lists = st.lists(
    st.tuples(names, values) | st.sampled_from(STATIC_FIELDS), min_size=1, max_size=12
)


def theirs(block: bytes) -> tuple[tuple[bytes, bytes], ...]:
    return tuple(pylsqpack.Decoder(0, 0).feed_header(0, block)[1])


@pytest.mark.parametrize("index", range(99))
def test_the_static_table_is_that_of_the_rfc(index: int) -> None:
    """RFC 9204 appendix A."""
    block = SECTION_PREFIX + encode_integer(index, 0x3F, 0xC0)
    assert decode(block) == theirs(block) == (STATIC_FIELDS[index],)


@given(field_lists)
def test_what_we_encode_others_read(fields: list[tuple[bytes, bytes]]) -> None:
    block = SECTION_PREFIX + encode_fields(fields)
    assert decode(block) == theirs(block) == tuple(fields)


@given(field_lists)
def test_what_others_encode_we_read(fields: list[tuple[bytes, bytes]]) -> None:
    """With the Huffman code, which their encoder uses wherever it is shorter."""
    encoder = pylsqpack.Encoder()
    encoder.apply_settings(0, 0)
    instructions, block = encoder.encode(0, fields)
    assert decode(block) == tuple(fields)
    EncoderStream().receive(instructions)


@given(st.binary(max_size=40))
def test_a_malformed_block_is_refused_as_others_refuse_it(data: bytes) -> None:
    for block in (data, SECTION_PREFIX + data):
        try:
            ours = decode(block)
        except QpackError:
            continue
        # What we take, others take, and as the same; they only want a field at least.
        assert not ours or theirs(block) == ours


@pytest.mark.parametrize(
    ("block", "match"),
    [
        (b"", "ends inside"),
        (b"\x00", "ends inside"),
        (b"\x01\x00", "needs entries"),
        (b"\x00\x80", "base is negative"),
        (b"\x00\x00\x80", "dynamic table"),
        (b"\x00\x00\x40\x00", "dynamic table"),
        (b"\x00\x00\x10", "after the base"),
        (b"\x00\x00\x00\x00", "after the base"),
        (b"\x00\x00\xff\x24", "no entry 99"),
        (b"\x00\x00\x51\x05ab", "inside a string"),
        (b"\x00\x00\x27", "ends inside"),
        (b"\x00\x00\xff" + b"\x80" * 8 + b"\x7f", "too long"),
        (b"\x00\x00\xff" + b"\xff" * 10, "too long"),
        (b"\x00\x00\x51\x81\x00", "EOS"),
    ],
)
def test_what_a_server_must_not_send(block: bytes, match: str) -> None:
    with pytest.raises(QpackError, match=match):
        decode(block)


def test_a_section_has_limits_by_size_and_by_number() -> None:
    block = SECTION_PREFIX + encode_fields([(b"a", b"b")] * 3)
    assert len(decode(block, 34 * 3, 3)) == 3
    with pytest.raises(SectionTooLarge):
        decode(block, 34 * 3 - 1)
    with pytest.raises(TooManyFields):
        decode(block, 1000, 2)


@pytest.mark.parametrize("data", [b"\x3f\x01", b"\x21", b"\xc0\x00", b"\x41a\x00", b"\x00"])
def test_a_table_that_was_not_given_cannot_be_written_to(data: bytes) -> None:
    """RFC 9204 4.3: inserts, duplicates, and a capacity above ours."""
    EncoderStream().receive(b"\x20\x20")
    with pytest.raises(QpackStreamError):
        EncoderStream().receive(data)


def test_the_decoder_stream_may_give_streams_up_and_no_more() -> None:
    """RFC 9204 4.4."""
    stream = DecoderStream()
    for octet in b"\x40\x7f\x80\x01\x44":
        stream.receive(bytes([octet]))
    for data in (b"\x84", b"\x01", b"\x00", b"\x7f" + b"\xff" * 10):
        with pytest.raises(QpackStreamError):
            DecoderStream().receive(data)


def test_secrets_are_marked_never_to_be_indexed() -> None:
    """RFC 9204 7.1.3: the bit N, with a name of the static table and without."""
    assert encode_fields([(b"authorization", b"x")])[0] & 0x20
    assert encode_fields([(b"proxy-authorization", b"x")])[0] & 0x10
    assert not encode_fields([(b"user-agent", b"x")])[0] & 0x20


# --- heads ----------------------------------------------------------------------------------------


def section(*fields: tuple[bytes, bytes]) -> bytes:
    return SECTION_PREFIX + encode_fields(fields)


def test_a_requests_head_is_written_whole() -> None:
    shared = FieldBlock((("User-Agent", "x"), ("Connection", "close"), ("Cookie", "a=b; c=d")))
    head = RequestHead(
        "POST", "https", "a.test:8", "/p?q", shared, [("X-Own", " v ")], content_length=3
    )
    encoded = request_frame(head)
    assert encoded[0] == 1
    assert theirs(encoded[2:]) == (
        (b":method", b"POST"),
        (b":scheme", b"https"),
        (b":authority", b"a.test:8"),
        (b":path", b"/p?q"),
        (b"user-agent", b"x"),
        (b"cookie", b"a=b"),
        (b"cookie", b"c=d"),
        (b"x-own", b"v"),
        (b"content-length", b"3"),
    )
    assert request_frame(head) is encoded
    assert encode_shared(shared) is encode_shared(shared)


@pytest.mark.parametrize(
    ("target", "path"),
    [("*", b"*"), ("/", b"/"), ("http://a.test", b"/"), ("http://a.test?x", b"/?x"), ("", b"")],
)
def test_the_path_is_in_origin_form(target: str, path: bytes) -> None:
    encoded = request_frame(RequestHead("OPTIONS", "https", "a.test", target))
    assert dict(theirs(encoded[2:]))[b":path"] == path


def test_connect_has_an_authority_alone() -> None:
    """RFC 9114 4.4."""
    encoded = request_frame(RequestHead("CONNECT", "https", "a.test", "b.test:443"))
    assert theirs(encoded[2:]) == ((b":method", b"CONNECT"), (b":authority", b"b.test:443"))


def test_trailers_have_no_pseudo_fields() -> None:
    assert theirs(trailers_frame([("X-Sum", "1")])[2:]) == ((b"x-sum", b"1"),)


def test_a_responses_head_is_read_once_for_equal_blocks() -> None:
    reader = FieldReader()
    block = section((b":status", b"200"), (b"content-length", b"5"), (b"x", b"y"))
    first = reader.header_section(block, DEFAULT_LIMITS)
    assert (first.head.status, first.length, first.head.version) == (200, 5, (3, 0))
    assert reader.header_section(block, DEFAULT_LIMITS).head is first.head
    assert reader.header_section(block, Limits(max_headers=5)).head is not first.head
    with pytest.raises(StreamFault, match="more than 1 header fields"):
        reader.header_section(block, Limits(max_headers=1))


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ((), "does not begin with :status"),
        (((b"x", b"y"),), "does not begin with :status"),
        (((b":status", b"2000"),), ":status is"),
        (((b":status", b"101"),), "101"),
        (((b":status", b"200"), (b":status", b"200")), "named"),
        (((b":status", b"200"), (b"X", b"y")), "named"),
        (((b":status", b"200"), (b"", b"y")), "named"),
        (((b":status", b"200"), (b"connection", b"close")), "does not have"),
        (((b":status", b"200"), (b"te", b"gzip")), "does not have"),
        (((b":status", b"200"), (b"x", b"a\nb")), "has the value"),
        (((b":status", b"200"), (b"x", b" a")), "has the value"),
        (((b":status", b"200"), (b"x", b"a" * 9000)), "more than 8190"),
        (((b":status", b"200"), (b"content-length", b"-1")), "content-length"),
        (
            ((b":status", b"200"), (b"content-length", b"1"), (b"content-length", b"2")),
            "content-length",
        ),
    ],
)
def test_a_malformed_response(fields: tuple[tuple[bytes, bytes], ...], match: str) -> None:
    """RFC 9114 4.1.2: a stream error of type H3_MESSAGE_ERROR."""
    with pytest.raises(StreamFault, match=match) as caught:
        FieldReader().header_section(section(*fields), DEFAULT_LIMITS)
    assert caught.value.code == ErrorCode.MESSAGE_ERROR


def test_trailers_of_a_response() -> None:
    assert FieldReader.trailer_section(section((b"x", b"y")), DEFAULT_LIMITS) == ((b"x", b"y"),)
    with pytest.raises(StreamFault):
        FieldReader.trailer_section(section((b":status", b"200")), DEFAULT_LIMITS)


def test_a_block_that_cannot_be_decoded_ends_the_connection() -> None:
    with pytest.raises(ConnectionFault) as caught:
        FieldReader().header_section(b"\x01\x00", DEFAULT_LIMITS)
    assert caught.value.code == ErrorCode.QPACK_DECOMPRESSION_FAILED
