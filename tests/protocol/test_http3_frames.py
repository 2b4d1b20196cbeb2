"""HTTP/3's frames, however they are cut (RFC 9114 7), and its integers (RFC 9000 16)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.protocol.faults import ConnectionFault
from wherry.protocol.http3.frames import (
    DATA,
    GOAWAY,
    HEADERS,
    KNOWN_TYPES,
    ErrorCode,
    FrameReader,
    FrameTooLarge,
    code_name,
    frame,
    read_id,
    read_settings,
    read_varint,
    varint,
)

kinds = st.sampled_from([DATA, HEADERS, GOAWAY, 0x21, 0x40, 2**62 - 1])


def joined(frames: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """Frames with the pieces of neighbouring DATA put together."""
    found: list[tuple[int, bytes]] = []
    for kind, payload in frames:
        if kind == DATA and found and found[-1][0] == DATA:
            found[-1] = DATA, found[-1][1] + payload
        else:
            found.append((kind, payload))
    return found


@given(st.integers(0, 2**62 - 1) | st.integers(0, 20000))
def test_an_integer_comes_back(value: int) -> None:
    encoded = varint(value)
    assert read_varint(b"x" + encoded + b"y", 1) == (value, 1 + len(encoded))
    for size in range(len(encoded)):
        with pytest.raises(IndexError):
            read_varint(encoded[:size], 0)


def test_an_integer_of_more_than_62_bits_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        varint(2**62)


@given(st.lists(st.tuples(kinds, st.binary(max_size=80)), max_size=6), st.lists(st.integers(0, 9)))
def test_frames_are_the_same_however_they_are_cut(
    frames: list[tuple[int, bytes]], cuts: list[int]
) -> None:
    stream = b"".join(frame(kind, payload) for kind, payload in frames)
    reader = FrameReader()
    found: list[tuple[int, bytes]] = []
    for size in cuts:
        piece, stream = stream[:size], stream[size:]
        found += reader.receive(piece, 1000)
    found += reader.receive(stream, 1000)
    assert not reader.is_inside
    expected = [(kind, payload if kind in KNOWN_TYPES else b"") for kind, payload in frames]
    assert joined(found) == joined(expected)


def test_an_unknown_frame_is_dropped_without_being_kept() -> None:
    reader = FrameReader()
    assert reader.receive(varint(0x21) + varint(2**40), 10) == [(0x21, b"")]
    for _ in range(100):
        assert reader.receive(b"x" * 1000, 10) == []
    assert reader.is_inside
    assert not reader._rest


def test_a_frame_that_has_to_be_kept_has_a_limit() -> None:
    assert FrameReader().receive(frame(HEADERS, b"x" * 10), 10) == [(HEADERS, b"x" * 10)]
    with pytest.raises(FrameTooLarge, match="of type 0x1 and 11 bytes"):
        FrameReader().receive(varint(HEADERS) + varint(11), 10)
    assert FrameReader().receive(varint(DATA) + varint(11) + b"x", 10) == [(DATA, b"x")]


def test_a_frame_in_many_pieces_is_copied_a_bounded_number_of_times() -> None:
    """A head that comes byte by byte costs its length, not its square."""
    reader = FrameReader()
    copied = 0

    class Counted(bytes):
        def __getitem__(self, index: object) -> bytes:  # type: ignore[override]
            nonlocal copied
            got = super().__getitem__(index)  # type: ignore[index]
            copied += len(got) if isinstance(got, bytes) else 0
            return got  # type: ignore[return-value]

    found = []
    for octet in frame(HEADERS, b"x" * 5000):
        found += reader.receive(Counted([octet]), 10000)
    assert found == [(HEADERS, b"x" * 5000)]
    assert copied < 20


@pytest.mark.parametrize(
    ("payload", "code", "match"),
    [
        (b"\x06\x01\x06\x01", ErrorCode.SETTINGS_ERROR, "twice"),
        (b"\x04\x01", ErrorCode.SETTINGS_ERROR, "HTTP/2"),
        (b"\x08\x02", ErrorCode.SETTINGS_ERROR, "not 0 or 1"),
        (b"\x06", ErrorCode.FRAME_ERROR, "ends inside"),
        (b"\x06\x40", ErrorCode.FRAME_ERROR, "ends inside"),
    ],
)
def test_settings_that_a_server_must_not_send(payload: bytes, code: int, match: str) -> None:
    with pytest.raises(ConnectionFault, match=match) as caught:
        read_settings(payload)
    assert caught.value.code == code


def test_settings_that_nobody_knows_are_kept_aside() -> None:
    assert read_settings(b"\x21\x05\x06\x0a") == {0x21: 5, 6: 10}
    assert read_settings(b"") == {}


@pytest.mark.parametrize("payload", [b"", b"\x40", b"\x01\x01"])
def test_an_id_stands_alone_in_its_frame(payload: bytes) -> None:
    with pytest.raises(ConnectionFault) as caught:
        read_id(payload, "GOAWAY")
    assert caught.value.code == ErrorCode.FRAME_ERROR


def test_codes_have_their_names() -> None:
    assert code_name(0x10B) == "H3_REQUEST_REJECTED"
    assert code_name(0x200) == "QPACK_DECOMPRESSION_FAILED"
    assert code_name(0x77) == "error code 0x77"
