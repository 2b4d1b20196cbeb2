"""The fixed tables of HPACK (RFC 7541): appendix A's static table and appendix B's Huffman code,
with its decoder.

Appendix B's code is canonical: symbols of one length have consecutive codes in their own order, so
the lengths alone say everything.  Knows bytes only, neither tables that grow nor frames.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

try:
    from jh2._hazmat import Decoder as _RustDecoder  # type: ignore[import-untyped]
    from jh2._hazmat import HPACKError as _RustError
    from jh2._hazmat import OversizedHeaderListError as _RustOversized
except ImportError:  # the extra is not installed: the decoder below does it alone
    _RustDecoder = None

# Index 1 to 61 (appendix A); index 0 is never used.
STATIC_FIELDS: tuple[tuple[bytes, bytes], ...] = (
    (b"", b""),
    (b":authority", b""),
    (b":method", b"GET"),
    (b":method", b"POST"),
    (b":path", b"/"),
    (b":path", b"/index.html"),
    (b":scheme", b"http"),
    (b":scheme", b"https"),
    (b":status", b"200"),
    (b":status", b"204"),
    (b":status", b"206"),
    (b":status", b"304"),
    (b":status", b"400"),
    (b":status", b"404"),
    (b":status", b"500"),
    (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"),
    *(
        (name, b"")
        for name in (
            b"accept-language accept-ranges accept access-control-allow-origin age allow "
            b"authorization cache-control content-disposition content-encoding content-language "
            b"content-length content-location content-range content-type cookie date etag expect "
            b"expires from host if-match if-modified-since if-none-match if-range "
            b"if-unmodified-since last-modified link location max-forwards proxy-authenticate "
            b"proxy-authorization range referer refresh retry-after server set-cookie "
            b"strict-transport-security transfer-encoding user-agent vary via www-authenticate"
        ).split()
    ),
)

STATIC_INDEX = {field: index for index, field in enumerate(STATIC_FIELDS) if index and field[1]}
STATIC_NAME_INDEX = {
    name: index for index, (name, _) in reversed(tuple(enumerate(STATIC_FIELDS))) if index
}

# Appendix B: how many bits the code of each byte has.  EOS (256) has 30 bits, all ones.
CODE_LENGTHS = bytes.fromhex(
    "0d171c1c1c1c1c1c1c181e1c1c1e1c1c1c1c1c1c1c1c1e1c1c1c1c1c1c1c1c1c060a0a0c0d06080b0a0a080b080606060505050606060606"
    "060607080f060c0a0d06070707070707070707070707070707070707070707070807080d130d0e060f050605060506060605070706060605"
    "06070605050607070707070f0b0e0d1c14161414161616171617171717171817181816171817171717151617161717181615141616171715"
    "1716161815161717151516151716171714161616171616171a1a1413161716191a1a1a1b1b1a181913151a1b1b1a1b1815151a1a1c1b1b1b"
    "14181415161515171616191918181a171a1b1a1a1b1b1b1b1b1c1b1b1b1b1b1a"
)


class HuffmanError(ValueError):
    """A string is not in appendix B's code (RFC 7541 5.2)."""


def _canonical_codes() -> dict[int, tuple[int, int]]:
    """Every byte's code and its length in bits; EOS is left out, for a decoder must refuse it."""
    codes: dict[int, tuple[int, int]] = {}
    code = length = 0
    for symbol in sorted(range(256), key=lambda symbol: (CODE_LENGTHS[symbol], symbol)):
        code <<= CODE_LENGTHS[symbol] - length
        length = CODE_LENGTHS[symbol]
        codes[symbol] = (code, length)
        code += 1
    return codes


class _Code(NamedTuple):
    """What decoding by hand looks up; made whole before anybody sees it, for threads share it.

    Args:
        tree: For each node what follows on 0 and on 1: a node's number, ~symbol, or 0 for EOS.
        ends: The nodes in which a string may end: less than eight ones since the last symbol (5.2).
    """

    tree: tuple[tuple[int, int], ...]
    ends: frozenset[int]


@functools.cache
def _code() -> _Code:
    nodes: list[list[int]] = [[0, 0]]
    for symbol, (code, length) in _canonical_codes().items():
        node = 0
        for shift in range(length - 1, 0, -1):
            bit = (code >> shift) & 1
            if not nodes[node][bit]:
                nodes.append([0, 0])
                nodes[node][bit] = len(nodes) - 1
            node = nodes[node][bit]
        nodes[node][code & 1] = ~symbol
    ends, node = [], 0
    for _ in range(8):
        ends.append(node)
        node = nodes[node][1]
    return _Code(tuple([(zero, one) for zero, one in nodes]), frozenset(ends))


# (node << 8 | byte) -> the node after that byte, and what came out: filled as it is met, 65,536
# entries at most.  Threads may fill it together: an entry is set at once, and whoever makes it
# makes the same.
_steps: dict[int, tuple[int, bytes]] = {}


def _walk(key: int) -> tuple[int, bytes]:
    """Where one byte of input leads from a node of the code's tree, and what it decodes to."""
    tree = _code().tree
    node, byte = key >> 8, key & 0xFF
    symbols = bytearray()
    for shift in range(7, -1, -1):
        node = tree[node][(byte >> shift) & 1]
        if node < 0:
            symbols.append(~node)
            node = 0
        elif not node:
            raise HuffmanError("a Huffman string has EOS in it")
    step = _steps[key] = (node, bytes(symbols))
    return step


def decode_in_python(data: bytes) -> bytes:
    """Decode a Huffman string (RFC 7541 5.2).

    Raises:
        HuffmanError: It has EOS in it, or its padding is not the shortest, all ones.
    """
    node = 0
    pieces = []
    steps = _steps
    for byte in data:
        key = node << 8 | byte
        try:
            node, symbols = steps[key]
        except KeyError:
            node, symbols = _walk(key)
        pieces.append(symbols)
    if node and node not in _code().ends:
        raise HuffmanError("a Huffman string does not end with the start of EOS")
    return b"".join(pieces)


def decode_with_rust(data: bytes) -> bytes:
    """`decode_in_python` by a compiled decoder, asked for one string at a time: a hundredth of the
    time for long ones.

    Each call has a decoder of its own, which costs less than a microsecond: it can be used by one
    thread only, and connections of all event loops come here.
    """
    size = len(data)
    if size < 24:
        return decode_in_python(data)
    # A literal that is not indexed, of the name "a".
    prefix = bytearray(b"\x00\x01a\xff")
    rest = size - 0x7F
    if rest < 0:
        prefix[3] = 0x80 | size
    else:
        while rest > 0x7F:
            prefix.append(rest & 0x7F | 0x80)
            rest >>= 7
        prefix.append(rest)
    try:
        value = _RustDecoder(1 << 26).decode(bytes(prefix) + data, True)[0][1]
    except (_RustError, _RustOversized) as exc:
        raise HuffmanError(str(exc)) from exc
    assert isinstance(value, bytes)
    # It does not look at the padding's bits, which must be ones.
    padding = (1 << (size * 8 - sum(value.translate(CODE_LENGTHS)))) - 1
    if data[-1] & padding != padding:
        raise HuffmanError("a Huffman string does not end with the start of EOS")
    return value


decode_huffman: Callable[[bytes], bytes] = (
    decode_in_python if _RustDecoder is None else decode_with_rust
)
