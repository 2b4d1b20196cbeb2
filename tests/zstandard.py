"""Python's module for Zstandard: `compression.zstd` from 3.14 on, its backport before."""

import sys

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# Libraries that look for the package of this name find it too old, and go on without it.
__version__ = "0"

__all__ = ("zstd",)
