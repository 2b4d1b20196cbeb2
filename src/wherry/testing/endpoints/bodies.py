"""Endpoints that are about bodies: sizes, ranges, streams, and content codings."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import importlib
import json
import random
import re
import zlib
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

from wherry.testing.asgi_framework import Answer, Request, Routes, json_answer, problem

_BLOCK = random.Random(7541).randbytes(65536)  # noqa: S311 - it is filling, no secret
_MAX_BYTES = 4 * 1024**3
_MAX_LINES = 100_000
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_SAMPLE = {
    "slideshow": {
        "title": "Sample",
        "author": "wherry",
        "slides": [
            {"title": "A boat", "type": "all"},
            {"title": "A ferry", "type": "all", "items": ["oar", "sail"]},
        ],
    }
}


def add_bodies(routes: Routes) -> None:
    routes.add("/json", _json)
    routes.add("/bytes/{size:int}", _bytes)
    routes.add("/stream/{lines:int}", _stream)
    routes.add("/drip", _drip)
    for name, coding in (
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("brotli", "br"),
        ("zstd", "zstd"),
    ):
        routes.add(f"/{name}", partial(_coded, coding=coding))


async def _json(request: Request) -> Answer:
    return json_answer(_SAMPLE)


def filling(start: int, stop: int) -> bytes:
    """Bytes `start` to `stop` of the endless filling that /bytes serves."""
    offset = start % len(_BLOCK)
    return (_BLOCK * ((offset + stop - start) // len(_BLOCK) + 1))[offset : offset + stop - start]


async def _filling(start: int, stop: int) -> AsyncIterator[bytes]:
    while start < stop:
        end = min(stop, start + len(_BLOCK))
        yield filling(start, end)
        start = end


async def _bytes(request: Request, size: str) -> Answer:
    """RFC 9110 14: a part of it, if one range was asked for; its ETag is good for If-Range."""
    total = int(size)
    if total > _MAX_BYTES:
        raise ValueError("that is too many bytes")
    etag = f'"{hashlib.sha256(size.encode()).hexdigest()[:16]}"'
    fields = [
        ("content-type", "application/octet-stream"),
        ("accept-ranges", "bytes"),
        ("etag", etag),
    ]
    asked = _RANGE.fullmatch(request.field("range"))
    if request.field("if-range", etag) != etag:
        asked = None
    if asked is None or not (asked[1] or asked[2]):
        return Answer(_filling(0, total), 200, [*fields, ("content-length", str(total))])
    if asked[1]:
        start, stop = int(asked[1]), min(int(asked[2]) + 1 if asked[2] else total, total)
    else:
        start, stop = max(total - int(asked[2]), 0), total
    if start >= stop:
        refusal = problem(416, "the range is outside of the content")
        refusal.fields.append(("content-range", f"bytes */{total}"))
        return refusal
    part = [
        ("content-range", f"bytes {start}-{stop - 1}/{total}"),
        ("content-length", str(stop - start)),
    ]
    return Answer(_filling(start, stop), 206, [*fields, *part])


async def _stream(request: Request, lines: str) -> Answer:
    async def each() -> AsyncIterator[bytes]:
        for number in range(min(int(lines), _MAX_LINES)):
            yield json.dumps({"id": number, "url": request.url}).encode() + b"\n"

    return Answer(each(), 200, [("content-type", "application/x-ndjson")])


async def _drip(request: Request) -> Answer:
    """`numbytes` one by one over `duration` seconds, after `delay` seconds."""
    count = min(int(request.number("numbytes", 10)), 10_000)
    pause = min(request.number("duration", 1.0), 60.0) / max(count, 1)
    await asyncio.sleep(min(request.number("delay", 0.0), 60.0))

    async def each() -> AsyncIterator[bytes]:
        for _ in range(count):
            yield b"*"
            await asyncio.sleep(pause)

    fields = [("content-type", "application/octet-stream"), ("content-length", str(count))]
    return Answer(each(), int(request.number("code", 200)), fields)


def _encoder(coding: str) -> Callable[[bytes], bytes] | None:
    """What makes the coding, None if its library is not installed."""
    if coding == "gzip":
        return partial(gzip.compress, mtime=0)
    if coding == "deflate":
        return zlib.compress
    for module in {"br": ("brotli", "brotlicffi"), "zstd": ("compression.zstd", "backports.zstd")}[
        coding
    ]:
        try:
            found: Any = importlib.import_module(module)
        except ImportError:
            continue
        compress: Callable[[bytes], bytes] = found.compress
        return compress
    return None


async def _coded(request: Request, coding: str) -> Answer:
    encode = _encoder(coding)
    if encode is None:
        return problem(501, f"no library that makes {coding} is installed")
    value = {"coding": coding, "method": request.method, "headers": dict(request.fields)}
    body = encode(json.dumps(value, indent=2).encode())
    return Answer(body, 200, [("content-type", "application/json"), ("content-encoding", coding)])
