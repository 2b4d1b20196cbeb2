"""`Jsonl`: a JSON object a line for each page (https://jsonlines.org/)."""

from __future__ import annotations

import base64
from pathlib import Path

from wherry.bulk.results import Page
from wherry.bulk.sinks.rolling import BytesWriter, RollingSink, ShardWriter
from wherry.bulk.sinks.without_secrets import field_pairs, json_line, public_url

__all__ = ("Jsonl",)


class Jsonl(RollingSink):
    """Writes pages into `RUN-NUMBER.jsonl`, a JSON object a line.

    Its members: `url`, `final_url`, `status`, `reason`, `http_version`, `headers` (pairs of name
    and value), `body` (text) if it is UTF-8 and else `body_base64`, `charset`, `digest` (SHA-256),
    `ip`, `fetched_at` (ISO 8601, UTC), `elapsed` (seconds), and `extracted` if `on_response` gave
    something.  A page's place is `FILE#OFFSET`, where its line begins.

    Args:
        place: The folder, as a path or a URL of fsspec's (`s3://bucket/pages`).
        roll: Bytes after which a file is ended, 128 MiB.
        storage_options: What fsspec is told of the place.
    """

    suffix = ".jsonl"

    def new_writer(self, path: Path, name: str) -> ShardWriter:
        """What writes a shard of this kind."""
        return _Lines(path, name)


class _Lines(BytesWriter):
    def encode(self, page: Page) -> bytes:
        row: dict[str, object] = {
            "url": public_url(page.url),
            "final_url": public_url(page.final_url),
            "status": page.status,
            "reason": page.reason,
            "http_version": page.http_version,
            "headers": field_pairs(page),
        }
        try:
            row["body"] = page.body.decode()
        except UnicodeDecodeError:
            row["body_base64"] = base64.b64encode(page.body).decode()
        row |= {
            "charset": page.charset,
            "digest": page.digest,
            "ip": page.ip,
            "fetched_at": page.fetched_at.isoformat(),
            "elapsed": page.elapsed,
        }
        if page.extracted is not None:
            row["extracted"] = page.extracted
        return json_line(row, page.url)
