"""The case groups 1 to 7 of the Autobahn test suite, as a table: what a server sends, and what must
come of it.

Each case is what the frames mean, not a copy of the suite's code; the group's numbers are in the
names.  The table serves the codec's tests and those of the whole client.
"""

from __future__ import annotations

from typing import NamedTuple

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, masked: bool = False
) -> bytes:
    """A frame as a server sends it, right or wrong."""
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    length = len(payload)
    mask = 0x80 if masked else 0
    if length < 126:
        head = bytes([first, mask | length])
    elif length < 65536:
        head = bytes([first, mask | 126]) + length.to_bytes(2, "big")
    else:
        head = bytes([first, mask | 127]) + length.to_bytes(8, "big")
    return head + (b"\0\0\0\0" if masked else b"") + payload


def close(code: int | None = 1000, reason: bytes = b"") -> bytes:
    return frame(CLOSE, b"" if code is None else code.to_bytes(2, "big") + reason)


class Case(NamedTuple):
    """`data` comes in; `messages` (opcode, payload) come out; then `error` is the close code, if
    there is one.
    """

    name: str
    data: bytes
    messages: list[tuple[int, object]]
    error: int | None = None


def _group_1() -> list[Case]:
    sizes = (0, 125, 126, 127, 128, 65535, 65536, 65537)
    return [
        *(Case(f"1.1 text {n}", frame(TEXT, b"*" * n), [(TEXT, "*" * n)]) for n in sizes),
        *(
            Case(f"1.2 binary {n}", frame(BINARY, b"\xfe" * n), [(BINARY, b"\xfe" * n)])
            for n in sizes
        ),
    ]


def _group_2() -> list[Case]:
    return [
        Case("2.1 ping empty", frame(PING), [(PING, b"")]),
        Case("2.3 ping binary", frame(PING, b"\0\xff\xfe"), [(PING, b"\0\xff\xfe")]),
        Case("2.4 ping 125", frame(PING, b"x" * 125), [(PING, b"x" * 125)]),
        Case("2.5 ping 126", frame(PING, b"x" * 126), [], 1002),
        Case(
            "2.7 pong unasked", frame(PONG) + frame(TEXT, b"go on"), [(PONG, b""), (TEXT, "go on")]
        ),
        Case(
            "2.10 ten pings",
            b"".join(frame(PING, b"%d" % n) for n in range(10)),
            [(PING, b"%d" % n) for n in range(10)],
        ),
    ]


def _group_3() -> list[Case]:
    hello = frame(TEXT, b"hello")
    return [
        Case("3.1 rsv3 on text", frame(TEXT, b"x", rsv=1), [], 1002),
        Case(
            "3.2 rsv2 after text",
            hello + frame(TEXT, b"x", rsv=2) + frame(PING),
            [(TEXT, "hello")],
            1002,
        ),
        Case("3.3 rsv2+3 after text", hello + frame(TEXT, b"x", rsv=3), [(TEXT, "hello")], 1002),
        Case("3.4 rsv1 not agreed on", hello + frame(TEXT, b"x", rsv=4), [(TEXT, "hello")], 1002),
        Case("3.5 rsv1+3 on binary", frame(BINARY, b"x", rsv=5), [], 1002),
        Case("3.6 rsv1+2 on ping", frame(PING, b"x", rsv=6), [], 1002),
        Case("3.7 all rsv on close", frame(CLOSE, b"", rsv=7), [], 1002),
        Case("3.x rsv1 on ping", frame(PING, b"", rsv=4), [], 1002),
    ]


def _group_4() -> list[Case]:
    hello = frame(TEXT, b"hello")
    return [
        *(Case(f"4.1 opcode {n}", frame(n), [], 1002) for n in (3, 4, 5, 6, 7)),
        *(
            Case(f"4.2 opcode {n}", hello + frame(n, b"x") + frame(PING), [(TEXT, "hello")], 1002)
            for n in range(11, 16)
        ),
    ]


def _group_5() -> list[Case]:
    one, two = frame(TEXT, b"frag", fin=False), frame(0, b"ment")
    whole: list[tuple[int, object]] = [(TEXT, "fragment")]
    ping = frame(PING, b"p")
    return [
        Case("5.1 ping fragmented", frame(PING, b"a", fin=False) + frame(0, b"b"), [], 1002),
        Case("5.2 pong fragmented", frame(PONG, b"a", fin=False) + frame(0, b"b"), [], 1002),
        Case("5.3 two fragments", one + two, whole),
        Case("5.5 ping between", one + ping + two, [(PING, b"p"), *whole]),
        Case("5.9 continuation of nothing", frame(0, b"x") + frame(TEXT, b"hello"), [], 1002),
        Case("5.11 continuation of nothing, not final", frame(0, b"x", fin=False), [], 1002),
        Case("5.12 after a message", one + two + frame(0, b"x"), whole, 1002),
        Case(
            "5.15 continuation then text",
            one + two + frame(0, b"x", fin=False) + frame(TEXT, b"y"),
            whole,
            1002,
        ),
        Case("5.18 text inside text", one + frame(TEXT, b"x"), [], 1002),
        Case(
            "5.19 five fragments, two pings",
            one
            + frame(0, b"1", fin=False)
            + ping
            + frame(0, b"2", fin=False)
            + frame(0, b"3", fin=False)
            + ping
            + frame(0),
            [(PING, b"p"), (PING, b"p"), (TEXT, "frag123")],
        ),
        Case(
            "5.x empty fragments",
            frame(BINARY, fin=False) + frame(0, fin=False) + frame(0),
            [(BINARY, b"")],
        ),
        Case("5.x close inside", one + close(), [(CLOSE, 1000)]),
    ]


_BAD_TEXTS = (
    b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",  # 6.3: a surrogate
    b"\x80",
    b"\xbf",
    b"\x80\xbf\x80",
    b"\xc0 \xc1 ",
    b"\xe0 \xe1 ",
    b"\xf0 \xf1 ",
    b"\xf8 ",
    b"\xfc ",
    b"\xc0",
    b"\xe0\x80",
    b"\xf0\x80\x80",
    b"\xf8\x80\x80\x80",
    b"\xfc\x80\x80\x80\x80",
    b"\xdf",
    b"\xef\xbf",
    b"\xf7\xbf\xbf",
    b"\xfe",
    b"\xff",
    b"\xfe\xfe\xff\xff",
    b"\xc0\xaf",  # 6.17: overlong
    b"\xe0\x80\xaf",
    b"\xf0\x80\x80\xaf",
    b"\xc1\xbf",
    b"\xe0\x9f\xbf",
    b"\xf0\x8f\xbf\xbf",
    b"\xc0\x80",
    b"\xf4\x90\x80\x80",  # 6.16: past the last code point
    b"\xf7\xbf\xbf\xbf",
    b"\xed\xa0\x80",  # 6.20, 6.21: surrogates, single and in pairs
    b"\xed\xad\xbf",
    b"\xed\xbf\xbf",
    b"\xed\xa0\x80\xed\xb0\x80",
    b"\xed\xaf\xbf\xed\xbf\xbf",
)
_GOOD_TEXTS = (
    "Hello-µ@ßöäüàá-UTF-8!!",
    "κόσμε",
    "\x00",
    "\x80",
    "\u07ff",
    "\u0800",
    "\ud7ff",
    "\ue000",
    "\ufffd",
    "\ufffe",
    "\uffff",
    "\U00010000",
    "\U0010fffe",
    "\U0010ffff",
)


def _group_6() -> list[Case]:
    good = [
        Case(f"6.2 {text!a}", frame(TEXT, text.encode()), [(TEXT, text)]) for text in _GOOD_TEXTS
    ]
    byte_by_byte = [
        Case(
            f"6.2 {text!a} a byte a fragment",
            frame(TEXT, fin=False)
            + b"".join(frame(0, bytes([b]), fin=False) for b in text.encode())
            + frame(0),
            [(TEXT, text)],
        )
        for text in _GOOD_TEXTS
    ]
    bad = [Case(f"6.3 {text!r}", frame(TEXT, text), [], 1007) for text in _BAD_TEXTS]
    bad_parts = [
        Case(
            f"6.3 {text!r} in fragments",
            frame(TEXT, text[:1], fin=False) + frame(0, text[1:]),
            [],
            1007,
        )
        for text in _BAD_TEXTS
    ]
    early = [
        # 6.4: the message is not whole, and it cannot become text any more
        Case(
            "6.4.1 fails at the second fragment",
            frame(TEXT, b"\xce\xba\xe1", fin=False) + frame(0, b"\xf4\x90", fin=False),
            [],
            1007,
        ),
        Case(
            "6.4.3 fails inside a frame",
            frame(TEXT, b"\xce\xba\xf4\x90\x80\x80" + b"x" * 200)[:12],
            [],
            1007,
        ),
    ]
    return [*good, *byte_by_byte, *bad, *bad_parts, *early]


_CODES_GOOD = (
    1000,
    1001,
    1002,
    1003,
    1007,
    1008,
    1009,
    1010,
    1011,
    1012,
    1013,
    1014,
    3000,
    3999,
    4000,
    4999,
)
_CODES_BAD = (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)


def _group_7() -> list[Case]:
    text = frame(TEXT, b"late")
    return [
        Case("7.1.1 text after close", close() + text, [(CLOSE, 1000)]),
        Case("7.1.2 two closes", close() + close(), [(CLOSE, 1000)]),
        Case("7.1.3 ping after close", close() + frame(PING), [(CLOSE, 1000)]),
        Case("7.1.x rubbish after close", close() + b"\xff\xff\xff", [(CLOSE, 1000)]),
        Case("7.3.1 empty close", close(None), [(CLOSE, 0)]),
        Case("7.3.2 half a code", frame(CLOSE, b"\x03"), [], 1002),
        Case("7.3.4 close with reason", close(1000, b"Hello World!"), [(CLOSE, 1000)]),
        Case("7.3.5 reason of 123", close(1000, b"x" * 123), [(CLOSE, 1000)]),
        Case("7.3.6 reason of 124", close(1000, b"x" * 124), [], 1002),
        Case("7.5.1 reason no UTF-8", close(1000, b"\xce\xba\xed\xa0\x80"), [], 1007),
        *(Case(f"7.7 code {code}", close(code), [(CLOSE, code)]) for code in _CODES_GOOD),
        *(Case(f"7.9 code {code}", close(code), [], 1002) for code in _CODES_BAD),
    ]


_BEYOND = [
    Case("masked text", frame(TEXT, b"x", masked=True), [], 1002),
    Case("masked ping", frame(PING, b"x", masked=True), [], 1002),
    Case("length not in shortest form, 16 bits", b"\x82\x7e\x00\x05hello", [], 1002),
    Case(
        "length not in shortest form, 64 bits", b"\x82\x7f" + (65535).to_bytes(8, "big"), [], 1002
    ),
    Case("length with its highest bit", b"\x82\x7f\x80" + bytes(7), [], 1002),
    Case("bad opcode of a frame that never comes", b"\x83\x7e", [], 1002),
]

CASES = [
    *_group_1(),
    *_group_2(),
    *_group_3(),
    *_group_4(),
    *_group_5(),
    *_group_6(),
    *_group_7(),
    *_BEYOND,
]
