"""Masking (RFC 6455 5.3): a client XORs every payload with a key that nobody can foresee.

Compiled code does it where the package `websockets` is installed; plain Python has two ways, each
the faster one for its sizes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

Buffer = bytes | bytearray | memoryview
# Up to this size one XOR of two large integers is faster than four translations of every fourth
# byte.
_LARGE = 256


@cache
def _tables() -> tuple[bytes, ...]:
    return tuple(bytes(byte ^ key for byte in range(256)) for key in range(256))


def mask_plainly(data: Buffer, key: bytes) -> bytes:
    """`data` masked with the four bytes of `key`, in plain Python."""
    size = len(data)
    if size < _LARGE:
        stretched = int.from_bytes((key * (size + 3 >> 2))[:size], "little")
        return (int.from_bytes(data, "little") ^ stretched).to_bytes(size, "little")
    masked = bytearray(data)
    tables = _tables()
    for offset in range(4):
        masked[offset::4] = masked[offset::4].translate(tables[key[offset]])
    return bytes(masked)


@cache
def fastest_mask() -> Callable[[Buffer, bytes], bytes]:
    """`mask_plainly`, or what does the same in compiled code.  Looked for at first use: finding it
    takes 4 ms.
    """
    try:
        from websockets.speedups import apply_mask
    except ImportError:
        return mask_plainly
    return apply_mask
