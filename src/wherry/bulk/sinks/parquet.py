"""`Parquet`: tables of pages, for pandas, Polars, DuckDB, Spark (extra `parquet`)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ModuleNotFoundError as _exc:  # pragma: no cover
    raise ModuleNotFoundError(
        f"Parquet needs {_exc.name}: pip install 'wherry[parquet]'", name=_exc.name
    ) from _exc

from wherry.bulk.results import Page
from wherry.bulk.sinks.rolling import ROLL, RollingSink, ShardWriter
from wherry.bulk.sinks.without_secrets import as_json, clean, field_pairs, public_url

__all__ = ("SCHEMA", "Parquet")

# Public: programs read it, and changes only grow it.
SCHEMA: Final = pa.schema(
    [
        pa.field("url", pa.string(), nullable=False),
        pa.field("final_url", pa.string(), nullable=False),
        pa.field("status", pa.int32(), nullable=False),
        pa.field("reason", pa.string()),
        pa.field("http_version", pa.string()),
        pa.field(
            "headers",
            pa.list_(
                pa.struct(
                    [
                        pa.field("name", pa.string(), nullable=False),
                        pa.field("value", pa.string(), nullable=False),
                    ]
                )
            ),
        ),
        pa.field("body", pa.binary(), nullable=False),
        pa.field("charset", pa.string()),
        pa.field("digest", pa.string()),
        pa.field("ip", pa.string()),
        pa.field("fetched_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("elapsed", pa.float64()),
        pa.field("extracted", pa.string()),
    ]
)
# Bytes of pages in one row group: what waits in memory, and what a reader takes at once.
ROW_GROUP: Final = 16 << 20
# What a row costs in memory beside its text.
_ROW_COST: Final = 500


class Parquet(RollingSink):
    """Writes pages into `RUN-NUMBER.parquet`, a row each.

    The columns are those of `wherry.bulk.sinks.parquet.SCHEMA`: `url`, `final_url`, `status`,
    `reason`, `http_version`, `headers` (a list of name and value), `body` (binary), `charset`,
    `digest` (SHA-256), `ip`, `fetched_at` (UTC), `elapsed` (seconds), and `extracted`, as JSON, of
    what `on_response` gave.  A page's place is `FILE#ROW`, from 0.

    Args:
        place: The folder, as a path or a URL of fsspec's (`s3://bucket/pages`).
        roll: Bytes after which a file is ended, 128 MiB.
        row_group: Bytes of pages in a row group, 16 MiB: so much waits in memory.
        compression: A codec of pyarrow's: "zstd", "snappy", "gzip", "brotli", "lz4" or "none".
        storage_options: What fsspec is told of the place.

    Raises:
        ValueError: A number is none, or there is no such codec.
    """

    suffix = ".parquet"

    def __init__(
        self,
        place: str | os.PathLike[str],
        *,
        roll: int = ROLL,
        row_group: int = ROW_GROUP,
        compression: str = "zstd",
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(place, roll=roll, storage_options=storage_options)
        if not isinstance(row_group, int) or row_group < 1:
            raise ValueError(f"row_group= is a number of bytes above 0, not {row_group!r}")
        if compression != "none":
            pa.Codec(compression)  # which raises if there is none of that name
        self.row_group: int = row_group
        self.compression: str = compression

    def new_writer(self, path: Path, name: str) -> ShardWriter:
        """What writes a shard of this kind."""
        return _Table(path, name, self.row_group, self.compression)


class _Table(ShardWriter):
    def __init__(self, path: Path, name: str, row_group: int, compression: str) -> None:
        super().__init__(path, name)
        self.flush_at = row_group
        self._compression = compression
        self._rows: list[dict[str, Any]] = []
        self._file: BinaryIO | None = None
        self._table: Any = None

    def take(self, page: Page) -> str:
        row = _row(page)
        self._rows.append(row)
        self.waiting += (
            len(row["body"])
            + 2 * len(page.url)
            + sum(len(name) + len(value) + 50 for name, value in page.raw_headers)
            + len(row["extracted"] or "")
            + _ROW_COST
        )
        self.count += 1
        return str(self.count - 1)

    def write(self) -> None:
        if self._file is None:
            self._file = self.path.open("xb")
            self._table = pq.ParquetWriter(self._file, SCHEMA, compression=self._compression)
        rows, self._rows = self._rows, []
        if rows:
            self._table.write_batch(
                pa.RecordBatch.from_pylist(rows, schema=SCHEMA), row_group_size=len(rows)
            )
        self.size = self._file.tell()
        self.waiting = 0

    def end(self) -> None:
        self.write()
        assert self._file is not None
        table, self._table = self._table, None
        table.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self.size = self._file.tell()
        self.abandon()

    def abandon(self) -> None:
        if self._table is not None:
            table, self._table = self._table, None
            table.close()
        if self._file is not None:
            file, self._file = self._file, None
            file.close()


def _row(page: Page) -> dict[str, Any]:
    extracted = None if page.extracted is None else clean(as_json(page.extracted, page.url))
    return {
        "url": clean(public_url(page.url)),
        "final_url": clean(public_url(page.final_url)),
        "status": page.status,
        "reason": clean(page.reason),
        "http_version": page.http_version,
        "headers": [{"name": name, "value": value} for name, value in field_pairs(page)],
        "body": page.body,
        "charset": page.charset,
        "digest": page.digest,
        "ip": page.ip,
        "fetched_at": page.fetched_at,
        "elapsed": page.elapsed,
        "extracted": extracted,
    }
