"""Frames in and out: the reader and the writer, without any I/O."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.protocol.websocket_cases import BINARY, CASES, CLOSE, PING, TEXT, Case, close, frame

from wherry.errors import WebSocketError
from wherry.protocol.websocket.deflate import Deflater, Inflater
from wherry.protocol.websocket.frames import STALL_SIZE, FrameReader, FrameWriter
from wherry.protocol.websocket.masking import fastest_mask, mask_plainly
from wherry.protocol.websocket.messages import WSCloseCode, WSMessage, WSMessageTextBytes, WSMsgType


def read(reader: FrameReader, data: bytes, step: int = 0) -> list[tuple[int, object]]:
    """What comes out when `data` arrives, `step` bytes at a time (0: at once)."""
    messages = []
    for start in range(0, len(data), step or len(data) or 1):
        messages += reader.receive(data[start : start + (step or len(data))])
        while reader.stalled:
            messages += reader.receive(b"")
    return [(int(message[0]), message[1]) for message in messages]


def compressed(payload: bytes, bits: int = 15) -> bytes:
    stream = zlib.compressobj(9, zlib.DEFLATED, -bits)
    return (stream.compress(payload) + stream.flush(zlib.Z_SYNC_FLUSH))[:-4]


@pytest.mark.parametrize("step", [0, 1, 2, 7])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_autobahn_groups_1_to_7(case: Case, step: int) -> None:
    if step == 1 and len(case.data) > 1000:
        step = 997
    reader = FrameReader()
    assert read(reader, case.data, step) == case.messages
    assert (reader.error.code if reader.error else None) == case.error


@pytest.mark.parametrize("case", [case for case in CASES if case.error], ids=lambda case: case.name)
def test_nothing_comes_after_an_error(case: Case) -> None:
    reader = FrameReader()
    read(reader, case.data)
    assert reader.receive(frame(TEXT, b"more")) == []


def test_messages_have_the_types_that_programs_look_at() -> None:
    [text, data, ping, end] = FrameReader().receive(
        frame(TEXT, b'{"a": 1}') + frame(BINARY, b"b") + frame(PING) + close(1001, b"why")
    )
    assert text == WSMessage(WSMsgType.TEXT, '{"a": 1}', "")
    assert text.json() == {"a": 1}
    assert text.type is WSMsgType.TEXT
    assert data.type is WSMsgType.BINARY
    assert ping.type is WSMsgType.PING
    assert end == (WSMsgType.CLOSE, WSCloseCode.GOING_AWAY, "why")


@pytest.mark.parametrize("parts", [1, 3])
def test_text_stays_bytes_when_it_is_not_to_be_decoded(parts: int) -> None:
    data = (
        frame(TEXT, b'"\xff"') if parts == 1 else frame(TEXT, b'"', fin=False) + frame(0, b'\xff"')
    )
    [message] = FrameReader(decode_text=False).receive(data)
    assert isinstance(message, WSMessageTextBytes)
    assert message.data == b'"\xff"'


# --- size limits ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [10, 11])
@pytest.mark.parametrize("fragments", [1, 2])
def test_the_largest_message_is_the_limit(size: int, fragments: int) -> None:
    reader = FrameReader(10)
    data = frame(BINARY, b"x" * size)
    if fragments == 2:
        data = frame(BINARY, b"x" * 5, fin=False) + frame(0, b"x" * (size - 5))
    messages = read(reader, data)
    assert len(messages) == (size == 10)
    assert (reader.error is None) == (size == 10)
    if reader.error:
        assert reader.error.code == 1009


def test_a_message_that_is_announced_too_large_fails_before_it_comes() -> None:
    reader = FrameReader(1000)
    assert reader.receive(b"\x82\x7f" + (1 << 40).to_bytes(8, "big")) == []
    assert reader.error is not None
    assert reader.error.code == 1009


@pytest.mark.parametrize("step", [0, 100])
def test_a_compressed_bomb_fails_in_bounded_memory(step: int) -> None:
    """S001-01: 64 MiB of zeros are 64 KiB on the wire."""
    bomb = compressed(bytes(64 << 20))
    reader = FrameReader(1 << 20, Inflater())
    assert read(reader, frame(BINARY, bomb, rsv=4), step) == []
    assert reader.error is not None
    assert reader.error.code == 1009


def test_many_compressed_messages_in_one_read_come_in_portions() -> None:
    one = frame(BINARY, compressed(bytes(STALL_SIZE)), rsv=4)
    reader = FrameReader(1 << 20, Inflater(takeover=False))
    got = reader.receive(one * 20)
    assert 1 <= len(got) <= 3
    assert reader.stalled
    while reader.stalled:
        portion = reader.receive(b"")
        assert len(portion) <= 3
        got += portion
    assert [len(message.data) for message in got] == [STALL_SIZE] * 20
    assert reader.error is None


# --- what a peer fragments by itself (Autobahn group 10) ------------------------------------------


@pytest.mark.parametrize("step", [0, 1, 997])
@pytest.mark.parametrize("size", [1300, 1, 65535, 65536])
def test_autobahn_group_10(size: int, step: int) -> None:
    """A text of 65,536 bytes in frames of `size`; the client itself sends it as one frame."""
    text = "*" * 65536
    parts = [text[at : at + size].encode() for at in range(0, len(text), size)]
    data = b"".join(
        frame(TEXT if not at else 0, part, fin=at == len(parts) - 1)
        for at, part in enumerate(parts)
    )
    if step == 1 and size == 1:
        step = 3
    assert read(FrameReader(), data, step) == [(TEXT, text)]


# --- compression (Autobahn groups 12 and 13) ------------------------------------------------------


@pytest.mark.parametrize("bits", [9, 10, 12, 15])
@pytest.mark.parametrize("takeover", [True, False])
@pytest.mark.parametrize("size", [0, 16, 64, 256, 1024, 4096, 8192, 16384, 32768, 65536, 131072])
def test_what_is_compressed_comes_back(bits: int, takeover: bool, size: int) -> None:
    """Every size and window of the groups 12 and 13, several messages in a row, through both sides
    of the codec.
    """
    payload = (b'{"message": "some text that repeats", "n": 12}' * (size // 40 + 1))[:size]
    deflater = Deflater(bits, takeover)
    reader = FrameReader(0, Inflater(bits, takeover))
    for _ in range(3):
        data = deflater.compress(payload)
        assert not data.endswith(b"\0\0\xff\xff")
        assert read(reader, frame(TEXT, data, rsv=4)) == [(TEXT, payload.decode())]


def test_a_compressed_message_comes_in_fragments_with_pings_between() -> None:
    data = compressed(b"hello " * 1000)
    wire = (
        frame(TEXT, data[:5], fin=False, rsv=4)
        + frame(PING)
        + frame(0, data[5:9], fin=False)
        + frame(0, data[9:])
    )
    for step in (0, 1, 3):
        assert read(FrameReader(0, Inflater()), wire, step) == [
            (PING, b""),
            (TEXT, "hello " * 1000),
        ]


def test_plain_messages_come_between_compressed_ones() -> None:
    deflater = Deflater()
    wire = b"".join(
        frame(TEXT, deflater.compress(b"again and again"), rsv=4) + frame(TEXT, b"plain")
        for _ in range(3)
    )
    assert (
        read(FrameReader(0, Inflater()), wire) == [(TEXT, "again and again"), (TEXT, "plain")] * 3
    )


def test_the_bit_of_compression_belongs_to_the_first_frame() -> None:
    data = compressed(b"hello")
    reader = FrameReader(0, Inflater())
    assert read(reader, frame(TEXT, data[:2], fin=False, rsv=4) + frame(0, data[2:], rsv=4)) == []
    assert reader.error is not None
    assert reader.error.code == 1002


@pytest.mark.parametrize("payload", [b"\xff\xff\xff\xff", b"\x07", bytes(range(200, 255))])
def test_broken_deflate_is_an_error(payload: bytes) -> None:
    reader = FrameReader(0, Inflater())
    assert read(reader, frame(BINARY, payload, rsv=4)) == []
    assert reader.error is not None
    assert reader.error.code == 1007


def test_compressed_text_is_checked_as_text() -> None:
    reader = FrameReader(0, Inflater())
    assert read(reader, frame(TEXT, compressed(b"\xed\xa0\x80"), rsv=4)) == []
    assert reader.error is not None
    assert reader.error.code == 1007


def test_a_final_block_ends_a_stream_and_not_the_connection() -> None:
    """RFC 7692 7.2.3.4."""
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    ended = stream.compress(b"Hello") + stream.flush()
    reader = FrameReader(0, Inflater())
    for payload in (ended, ended + b"\0", ended + compressed(b" again")):
        [(_, text)] = read(reader, frame(TEXT, payload, rsv=4))
        assert str(text).startswith("Hello")
    assert reader.error is None


def test_streams_that_end_again_and_again_are_refused() -> None:
    reader = FrameReader(0, Inflater())
    assert read(reader, frame(BINARY, b"\x03\x00" * 50_000, rsv=4)) == []
    assert reader.error is not None
    assert reader.error.code == 1007


def test_the_examples_of_rfc_7692() -> None:
    """RFC 7692 7.2.3."""
    reader = FrameReader(0, Inflater())
    for payload in (
        "f248cdc9c90700",
        "f200110000",
        "000500faff48656c6c6f00",
        "f348cdc9c9070000",
        "f24805000000ffffcac9c90700",
    ):
        assert read(reader, frame(TEXT, bytes.fromhex(payload), rsv=4)) == [(TEXT, "Hello")]


# --- writing --------------------------------------------------------------------------------------


def unmask(data: bytes) -> tuple[int, bytes, bytes]:
    """(first byte, key, payload) of a frame as a client sends it."""
    assert data[1] & 0x80
    length = data[1] & 0x7F
    at = 2
    if length == 126:
        length, at = int.from_bytes(data[2:4], "big"), 4
    elif length == 127:
        length, at = int.from_bytes(data[2:10], "big"), 10
    key, payload = data[at : at + 4], data[at + 4 :]
    assert len(payload) == length
    return data[0], key, bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))


@pytest.mark.parametrize("size", [0, 1, 3, 125, 126, 255, 256, 257, 65535, 65536])
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_frame_is_masked_and_whole(size: int, kind: type) -> None:
    payload = bytes(index % 251 for index in range(size))
    assert unmask(FrameWriter().encode(BINARY, kind(payload)))[::2] == (0x82, payload)


def test_every_frame_has_a_key_of_its_own() -> None:
    """RFC 6455 5.3: keys come from a source that cannot be foreseen."""
    writers = [FrameWriter() for _ in range(4)]
    keys = {unmask(writer.encode(TEXT, b"same"))[1] for writer in writers for _ in range(100)}
    assert len(keys) > 395


@given(st.binary(max_size=600), st.binary(min_size=4, max_size=4))
def test_both_ways_of_masking_agree(data: bytes, key: bytes) -> None:
    expected = bytes(byte ^ key[i % 4] for i, byte in enumerate(data))
    assert mask_plainly(data, key) == expected
    assert fastest_mask()(data, key) == expected
    assert mask_plainly(memoryview(data), key) == expected


def test_control_frames_are_never_compressed_and_messages_are_unless_told_otherwise() -> None:
    writer = FrameWriter(Deflater())
    assert unmask(writer.encode(PING, b"x"))[::2] == (0x89, b"x")
    assert unmask(writer.encode(TEXT, b"x", 0))[::2] == (0x81, b"x")
    assert unmask(writer.encode(TEXT, b"x"))[0] == 0xC1
    assert unmask(writer.encode(TEXT, b""))[::2] == (0xC1, b"\0")
    assert unmask(FrameWriter().encode(TEXT, b"x", 15))[::2] == (0x81, b"x")


@pytest.mark.parametrize("opcode", [0, 3, 7, 11, 15])
def test_frames_that_mean_nothing_are_not_sent(opcode: int) -> None:
    with pytest.raises(ValueError, match="cannot be sent"):
        FrameWriter().encode(opcode, b"")


def test_control_frames_that_are_too_long_are_not_sent() -> None:
    with pytest.raises(ValueError, match="125"):
        FrameWriter().encode(PING, b"x" * 126)


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 2999, 5000])
def test_close_codes_that_may_not_be_sent_are_refused(code: int) -> None:
    with pytest.raises(ValueError, match=str(code)):
        FrameWriter().encode_close(code)


def test_close_reasons_are_short_text() -> None:
    assert unmask(FrameWriter().encode_close(4000, b"bye"))[2] == b"\x0f\xa0bye"
    for reason in (b"x" * 124, b"\xff"):
        with pytest.raises(ValueError, match=r"reason|decode"):
            FrameWriter().encode_close(1000, reason)


# --- any fragmentation ----------------------------------------------------------------------------

_payloads = st.one_of(
    st.tuples(st.just(TEXT), st.text(max_size=300).map(str.encode)),
    st.tuples(st.just(BINARY), st.binary(max_size=300)),
    st.tuples(st.just(BINARY), st.integers(0, 70_000).map(bytes)),
)
_controls = st.tuples(st.sampled_from([PING, 10]), st.binary(max_size=125))


@st.composite
def conversations(draw: st.DrawFn) -> tuple[bytes, list[tuple[int, bytes]]]:
    """Frames as a server may send them, and what they say: fragments anywhere, control frames
    between them.
    """
    deflater = Deflater(draw(st.integers(9, 15)))
    wire, said = b"", []
    for opcode, payload in draw(st.lists(_payloads, max_size=5)):
        packed = draw(st.booleans())
        data = deflater.compress(payload) if packed else payload
        cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=4)))
        pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        for index, piece in enumerate(pieces):
            for control in draw(st.lists(_controls, max_size=1)):
                wire += frame(*control)
                said.append(control)
            wire += frame(
                0 if index else opcode,
                piece,
                fin=index == len(pieces) - 1,
                rsv=4 if packed and not index else 0,
            )
        said.append((opcode, payload))
    return wire, said


def as_bytes(messages: list[tuple[int, object]]) -> list[tuple[int, object]]:
    return [(kind, data.encode() if isinstance(data, str) else data) for kind, data in messages]


@settings(max_examples=150, deadline=None)
@given(conversations(), st.data())
def test_any_fragmentation_of_a_legal_sequence_gives_the_same_messages(
    conversation: tuple[bytes, list[tuple[int, bytes]]], data: st.DataObject
) -> None:
    wire, said = conversation
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=12)))
    reader = FrameReader(0, Inflater())
    got = []
    for start, stop in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        got += reader.receive(wire[start:stop])
        while reader.stalled:
            got += reader.receive(b"")
    assert reader.error is None
    assert as_bytes([(int(message[0]), message[1]) for message in got]) == said


# Where compression is agreed on, its bit is not illegal, and the payload of that case is an empty
# block of deflate's.
ILLEGAL = [
    case
    for case in CASES
    if case.error
    and "5." not in case.name
    and "6.4" not in case.name
    and "rsv1 not agreed" not in case.name
]


@pytest.mark.parametrize("payload", [b"\xff\xff", b"\x07"])
@pytest.mark.parametrize("step", [0, 1, 2])
def test_a_payload_that_is_not_deflate_is_answered_with_1007(payload: bytes, step: int) -> None:
    reader = FrameReader(0, Inflater())
    assert read(reader, frame(TEXT, b"hello") + frame(TEXT, payload, rsv=4), step) == [
        (TEXT, "hello")
    ]
    assert reader.error is not None
    assert reader.error.code == 1007


@settings(max_examples=150, deadline=None)
@given(
    conversations(),
    st.sampled_from(ILLEGAL),
    st.integers(1, 40),
)
def test_any_illegal_frame_ends_the_sequence_with_the_right_code(
    conversation: tuple[bytes, list[tuple[int, bytes]]], case: Case, step: int
) -> None:
    wire, said = conversation
    bad = case.data
    if case.messages:  # the case has a good message of its own first
        said = [*said, (TEXT, b"hello")]
    reader = FrameReader(0, Inflater())
    got = read(reader, wire + bad, step if len(wire) < 5000 else 0)
    assert as_bytes(got) == said
    assert isinstance(reader.error, WebSocketError)
    assert reader.error.code == case.error


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400), st.integers(1, 50))
def test_rubbish_gives_the_same_however_it_is_cut(data: bytes, step: int) -> None:
    whole, cut = FrameReader(1000, Inflater()), FrameReader(1000, Inflater())
    assert read(whole, data) == read(cut, data, step)
    assert (whole.error and whole.error.code) == (cut.error and cut.error.code)


def test_many_tiny_fragments_are_kept_together() -> None:
    reader = FrameReader(1 << 20)
    reader.receive(frame(BINARY, b"ab", fin=False))
    for _ in range(100):
        reader.receive(frame(0, b"cd", fin=False) * 100)
    assert len(reader._pieces) < 10
    [message] = reader.receive(frame(0))
    assert len(message.data) == 20_002
    assert CLOSE == WSMsgType.CLOSE
