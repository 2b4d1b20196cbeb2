"""HPACK against RFC 7541's examples and against another implementation."""

from __future__ import annotations

from typing import Any

import hpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherry.protocol.heads import FieldBlock
from wherry.protocol.http2.hpack import (
    MOST_PASSED_OVER,
    HeaderDecoder,
    HeaderEncoder,
    HeaderListFlood,
    HeaderListTooLarge,
    HpackError,
    TooManyFields,
    encode_integer,
    encode_string,
    lower_fields,
)
from wherry.protocol.http2.hpack_tables import HuffmanError, decode_huffman, decode_in_python

Fields = list[tuple[bytes, bytes]]
names = st.sampled_from([b"a", b"cookie", b"x-long-name", b":status", b"authorization", b"etag"])
values = st.sampled_from(
    [b"", b"1", b"200", b"x" * 40, b"GET", b"Sat, 21 Nov 2026 05:00:00 GMT"]
) | st.binary(max_size=60)
field_lists = st.lists(st.tuples(names, values), max_size=12)
octets = st.lists(
    st.sampled_from(
        [0x00, 0x0F, 0x1F, 0x3F, 0x40, 0x7F, 0x80, 0xBE, 0xFF, 0x61, 0x01, 0x82, 0x20, 0x3E]
    )
)


def test_the_rfcs_example_with_eviction_decodes() -> None:
    """RFC 7541 C.6: three responses, Huffman-coded, through a table of 256 bytes."""
    decoder = HeaderDecoder(max_table_size=256)
    blocks = (
        "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
        "4883640effc1c0bf",
        (
            "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672"
            "c1ab270fb5291f9587316065c003ed4ee5b1063d5007"
        ),
    )
    lists = [decoder.decode(bytes.fromhex(block)) for block in blocks]
    assert lists[0] == (
        (b":status", b"302"),
        (b"cache-control", b"private"),
        (b"date", b"Mon, 21 Oct 2013 20:13:21 GMT"),
        (b"location", b"https://www.example.com"),
    )
    assert lists[1][0] == (b":status", b"307")
    assert lists[2][4:] == (
        (b"content-encoding", b"gzip"),
        (b"set-cookie", b"foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"),
    )


@given(st.lists(field_lists, max_size=6), st.booleans())
def test_what_another_encoder_makes_is_read_as_it_was_meant(
    lists: list[Fields], huffman: bool
) -> None:
    encoder, decoder = hpack.Encoder(), HeaderDecoder()
    for fields in lists:
        assert list(decoder.decode(encoder.encode(fields, huffman=huffman))) == fields


@settings(max_examples=400)
@given(st.lists(octets.map(bytes) | st.binary(max_size=40), min_size=1, max_size=4))
def test_any_bytes_mean_what_another_decoder_says(blocks: list[bytes]) -> None:
    """Both give the same fields, or both refuse; where ours alone refuses, the block is one the RFC
    lets us refuse.
    """
    ours, theirs = HeaderDecoder(), hpack.Decoder()
    for block in blocks:
        try:
            expected = [tuple(field) for field in theirs.decode(block, raw=True)]
        except Exception:
            with pytest.raises((HpackError, HeaderListTooLarge)):
                ours.decode(block)
            return
        assert list(ours.decode(block)) == expected


@given(st.binary(max_size=300))
def test_huffman_strings_come_back(data: bytes) -> None:
    coded = hpack.Encoder().huffman_coder.encode(data)
    assert decode_in_python(coded) == decode_huffman(coded) == data


@given(st.binary(max_size=80))
def test_both_huffman_decoders_agree_on_anything(data: bytes) -> None:
    def outcome(decode: object) -> bytes | None:
        try:
            return decode(data)  # type: ignore[operator,no-any-return]
        except HuffmanError:
            return None

    assert outcome(decode_in_python) == outcome(decode_huffman)


@pytest.mark.parametrize(
    ("block", "words"),
    [
        (b"\x80", "index 0"),
        (b"\xbe", "not in the table"),
        (b"\x7e\x00", "not in the table"),
        (b"\x88\x20", "after a field"),
        (b"\x3f\xe2\x1f", "more than the 4096"),
        (b"\xff\x80\x80\x80\x80\x80\x80\x01", "too long"),
        (b"\xff\xff", "inside a field"),
        (b"\x40\x05ab", "inside a string"),
        (b"\x40\x01a\x81\x18", "start of EOS"),
        (b"\x40\x01a\x82\x1f\xff", "start of EOS"),
        (b"\x40\x01a\x84\xff\xff\xff\xff", "EOS"),
    ],
)
def test_malformed_blocks_are_refused(block: bytes, words: str) -> None:
    with pytest.raises(HpackError, match=words):
        HeaderDecoder().decode(block)


def test_a_long_list_is_counted_to_its_end_so_that_the_table_stays_right() -> None:
    decoder = HeaderDecoder(max_list_size=200)
    with pytest.raises(HeaderListTooLarge, match="more than 200"):
        decoder.decode(b"\x88" * 4 + b"\x40\x01a\x01b" + b"\x88" * 3)
    assert decoder.decode(b"\xbe") == ((b"a", b"b"),)


def test_a_bomb_of_references_takes_no_memory() -> None:
    decoder = HeaderDecoder(max_list_size=65536)
    decoder.decode(b"\x40\x01a" + encode_string(b"x" * 4000))
    with pytest.raises(HeaderListFlood):
        decoder.decode(b"\xbe" * 16000)


@given(st.lists(field_lists, min_size=1, max_size=4), st.booleans(), st.integers(0, 5))
def test_a_list_past_its_limit_changes_the_table_as_the_whole_list_does(
    lists: list[Fields], huffman: bool, limit: int
) -> None:
    """RFC 9113 10.5.1: what is too large for us must be decoded all the same."""
    encoder, whole, limited = hpack.Encoder(), HeaderDecoder(), HeaderDecoder()
    for fields in lists:
        block = encoder.encode(fields, huffman=huffman)
        expected = whole.decode(block)
        if len(fields) > limit:
            with pytest.raises(TooManyFields):
                limited.decode(block, max_fields=limit)
        else:
            assert limited.decode(block, max_fields=limit) == expected
        assert limited._table == whole._table
        assert limited._size == whole._size


@given(octets, st.integers(0, 3))
def test_what_is_malformed_past_the_limit_is_malformed(block: list[int], limit: int) -> None:
    """Nothing but the code of strings that are thrown away is left unchecked."""
    data = bytes(block)
    try:
        fields = HeaderDecoder().decode(data)
    except HpackError as exc:
        kinds: tuple[type[Exception], ...] = (HpackError,)
        if "Huffman" in str(exc):
            kinds = (HpackError, TooManyFields)
        with pytest.raises(kinds):
            HeaderDecoder().decode(data, max_fields=limit)
    else:
        if len(fields) > limit:
            with pytest.raises(TooManyFields):
                HeaderDecoder().decode(data, max_fields=limit)


@pytest.mark.parametrize(
    ("field", "strings"),
    [
        (b"\x88", 0),
        (b"\x00\x81\x1f\x82\x1c\x64", 0),
        (b"\x10\x81\x1f\x82\x1c\x64", 0),
        (b"\x0f\x00\x82\x1c\x64", 0),
        (b"\x40\x81\x1f\x83\x1c\x64\xff", 2),
    ],
)
def test_what_comes_after_the_limit_costs_no_decoding(
    field: bytes, strings: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what goes into the table is decoded, and the end comes after a number of fields."""
    asked = 0

    def count(data: bytes) -> bytes:
        nonlocal asked
        asked += 1
        return b"x"

    monkeypatch.setattr("wherry.protocol.http2.hpack.decode_huffman", count)
    for number in (500, 1000):
        decoder = HeaderDecoder()
        decoder._strings = _NoMemory()  # type: ignore[assignment]
        asked = 0
        with pytest.raises(TooManyFields):
            decoder.decode(b"\x88" + field * number, max_fields=0)
        assert asked == strings * number
    steps = 0

    class Counted(bytes):
        def __getitem__(self, key: Any) -> Any:
            nonlocal steps
            steps += 1
            return super().__getitem__(key)

    for number in (20_000, 40_000):
        steps = 0
        with pytest.raises(HeaderListFlood):
            HeaderDecoder().decode(Counted(field * number), max_fields=0)
        assert steps <= 6 * (MOST_PASSED_OVER + 1)


class _NoMemory(dict[bytes, bytes]):
    def __setitem__(self, key: bytes, value: bytes) -> None:
        """Each string is decoded anew."""


@given(st.integers(0, 2**28), st.sampled_from([0x0F, 0x1F, 0x3F, 0x7F]))
def test_integers_are_written_as_others_read_them(value: int, prefix: int) -> None:
    assert (
        hpack.hpack.decode_integer(encode_integer(value, prefix, 0), prefix.bit_length())[0]
        == value
    )


requests = st.tuples(
    st.sampled_from(["GET", "POST"]),
    st.sampled_from(["a.example", "b.example:8443"]),
    st.sampled_from(["/", "/a?b=c", "/" + "x" * 200]),
    st.integers(0, 2),
    st.lists(
        st.tuples(
            st.sampled_from(["X-A", "Cookie", "Authorization"]), st.text("ab;= ", max_size=40)
        ),
        max_size=3,
    ),
    st.none() | st.sampled_from([0, 100, 4096, 65536]),
)
BLOCKS = [
    FieldBlock([("User-Agent", "w"), ("Accept", "*/*")]),
    FieldBlock([("X-Long", "v" * 1500), ("Cookie", "a=b; c=" + "d" * 30)]),
    FieldBlock([("X-Huge", "v" * 5000), ("Authorization", "Bearer x")]),
]


@settings(max_examples=200)
@given(st.lists(requests, max_size=12))
def test_what_we_encode_another_decoder_reads(script: list[tuple]) -> None:
    """Whatever was remembered, inserted or evicted between: each block says what it should."""
    encoder, decoder = HeaderEncoder(), hpack.Decoder()
    for method, authority, path, number, fields, table_size in script:
        if table_size is not None:
            encoder.resize(table_size)
            decoder.max_allowed_table_size = table_size
        block = encoder.encode(method, "https", authority, path, BLOCKS[number], fields)
        assert [tuple(field) for field in decoder.decode(block, raw=True)] == [
            (b":method", method.encode()),
            (b":scheme", b"https"),
            (b":authority", authority.encode()),
            (b":path", path.encode()),
            *lower_fields(BLOCKS[number].pairs),
            *lower_fields(fields),
        ]


def test_shared_fields_cost_a_byte_each_from_the_second_request_on() -> None:
    encoder = HeaderEncoder()
    first, second, third = (
        encoder.encode("GET", "https", "a.example", "/", BLOCKS[0], ()) for _ in range(3)
    )
    assert len(first) > len(second) == 3 + 3 + 2
    assert second == third


def test_secrets_are_never_indexed_and_crumbs_are() -> None:
    """RFC 7541 7.1.3: neither we nor a proxy behind us may put them into a table.  RFC 9113 8.2.3:
    crumbs.
    """
    encoder, decoder = HeaderEncoder(), hpack.Decoder()
    fields = [("Authorization", "Bearer t"), ("Cookie", "s=1; long=" + "x" * 30)]
    sizes = []
    for _ in range(3):
        block = encoder.encode("GET", "https", "a.example", "/", BLOCKS[0], fields)
        sizes.append(len(block))
        decoded = decoder.decode(block, raw=True)
    assert [type(field).__name__ for field in decoded[-3:]] == ["NeverIndexedHeaderTuple"] * 2 + [
        "HeaderTuple"
    ]
    assert [tuple(field) for field in decoded[-2:]] == [
        (b"cookie", b"s=1"),
        (b"cookie", b"long=" + b"x" * 30),
    ]
    assert sizes[2] < sizes[0] - 30


def test_fields_of_a_connection_are_left_out() -> None:
    """RFC 9113 8.2.2."""
    pairs = [
        ("Connection", "x"),
        ("Host", "h"),
        ("TE", "gzip"),
        ("Te", "trailers"),
        ("Upgrade", "h2c"),
        ("X-Y", " v "),
    ]
    assert lower_fields(pairs) == [(b"te", b"trailers"), (b"x-y", b"v")]
