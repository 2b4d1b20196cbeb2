"""Keeps the C library from giving memory back to the system after each large body."""

from __future__ import annotations

from functools import cache

# Twice as much may lie free at the end of the heap after it.
_LARGEST_BLOCK = 2 * 1024 * 1024


@cache
def tune_malloc() -> None:
    """Let the heap stay as large as traffic needs it.

    glibc gives the end of its heap back to the kernel as soon as 128 KiB are free there, and takes
    it again, page fault by page fault, for the next large message, which then costs twice.  It
    learns by itself that a program uses larger blocks when one is freed (mallopt(3),
    M_MMAP_THRESHOLD): so one is, before it is ever touched.  Elsewhere it changes nothing, nor
    where the environment tunes malloc itself (MALLOC_TRIM_THRESHOLD_, as in workers of Dask's).
    """
    bytes(_LARGEST_BLOCK)
