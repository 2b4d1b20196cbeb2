"""What the tests of sinks share: pages, and a run from `open` to `close`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from multidict import CIMultiDict, CIMultiDictProxy

from wherry.bulk import Page, Shard, Sink

WHEN = datetime(2026, 12, 1, 9, 30, 15, 250_000, tzinfo=UTC)


def page(
    url: str = "http://a.test/page",
    body: bytes = b"<p>ahoy",
    *,
    content_type: str = "text/html",
    fields: Iterable[tuple[bytes, bytes]] = (),
    asked: Iterable[tuple[str, str]] = (),
    **changed: Any,
) -> Page:
    raw = ((b"Content-Type", content_type.encode()), *fields)
    headers = CIMultiDict([(name.decode(), value.decode("latin-1")) for name, value in raw])
    made = Page(
        url=url,
        final_url=url,
        status=200,
        reason="OK",
        headers=CIMultiDictProxy(headers),
        body=body,
        raw_headers=raw,
        http_version="1.1",
        request_method="GET",
        request_headers=CIMultiDictProxy(CIMultiDict(asked)),
        ip="127.0.0.1",
        fetched_at=WHEN,
        elapsed=0.25,
        digest=hashlib.sha256(body).hexdigest(),
    )
    for name, value in changed.items():
        setattr(made, name, value)
    return made


async def write(
    sink: Sink, pages: Iterable[Page], run: str = "run.1"
) -> tuple[list[str], list[Shard]]:
    """The places of the pages, and the shards, which are published."""
    await sink.open(run)
    try:
        places = [await sink.add(each) for each in pages]
        shards = await sink.prepare()
        await sink.publish(shards)
    finally:
        await sink.close()
    return places, shards


def json_lines(data: bytes) -> list[Any]:
    return [json.loads(line) for line in data.splitlines()]
