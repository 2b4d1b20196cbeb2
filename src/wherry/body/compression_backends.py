"""The modules that compress: which of those that are installed does gzip and deflate, br, zstd.

Each is imported when it is first needed.
"""

from __future__ import annotations

import functools
import importlib
import sys
import zlib
from typing import Any, Protocol

__all__ = (
    "ZlibBackend",
    "accept_encoding",
    "brotli",
    "deflater",
    "inflater",
    "set_zlib_backend",
    "zstd",
)


class ZlibBackend(Protocol):
    """A module that can be put in zlib's place, such as ``isal.isal_zlib`` or
    ``zlib_ng.zlib_ng``.
    """

    MAX_WBITS: int

    def compressobj(self, level: int = ..., method: int = ..., wbits: int = ...) -> Any: ...

    def decompressobj(self, wbits: int = ...) -> Any: ...


_chosen_backend: list[Any] = []


def set_zlib_backend(new_zlib_backend: ZlibBackend) -> None:
    """Use `new_zlib_backend` for gzip and deflate in place of what is chosen by itself.

    Without this call isal inflates where it is installed, else zlib-ng, else zlib; zlib deflates.
    """
    _chosen_backend[:] = [new_zlib_backend]


@functools.cache
def _fastest_inflater() -> Any:
    for name in ("isal.isal_zlib", "zlib_ng.zlib_ng"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    return zlib


def inflater() -> Any:
    """The module that decompresses gzip and deflate: `zlib`, or a faster one with its face."""
    return _chosen_backend[0] if _chosen_backend else _fastest_inflater()


def deflater() -> Any:
    """The module that compresses with gzip and deflate: the one that was set, else `zlib`."""
    return _chosen_backend[0] if _chosen_backend else zlib


@functools.cache
def brotli() -> Any:
    """A brotli module that can bound its output: before 1.2 a few bytes could take any memory.
    None for none.
    """
    for name in ("brotlicffi", "brotli"):
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        if hasattr(module.Decompressor, "can_accept_more_data"):
            return module
    return None


@functools.cache
def zstd() -> Any:
    """The zstd module, None for none."""
    try:
        return importlib.import_module(
            "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
        )
    except ImportError:
        return None


@functools.cache
def accept_encoding() -> str:
    """The Accept-Encoding value that says what this installation can decode."""
    return "gzip, deflate" + (", br" if brotli() else "") + (", zstd" if zstd() else "")
