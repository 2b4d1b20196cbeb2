"""Fetch many pages, from a list to a crawl: politely, with bounded memory, and resumable.

`Fetcher` fetches, a sink keeps what came, a checkpoint knows what is done.  Everything here is
loaded when it is first named, so that Parquet asks for pyarrow only where it is used.  Nothing but
the command line imports this package.

    async with Fetcher(per_host=2, rate_per_host=1.0, robots=True) as fetcher:
        async for result in fetcher.fetch(urls):
            print(result.url, result.status, result.error)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wherry.bulk.checkpoint import CheckpointError
    from wherry.bulk.fetcher import Fetcher
    from wherry.bulk.hosts import Breaker, HostDown
    from wherry.bulk.links import links_of, links_within_host
    from wherry.bulk.report import Report
    from wherry.bulk.results import Page, Result
    from wherry.bulk.robots import RobotsRefused
    from wherry.bulk.sinks.base import Shard, Sink
    from wherry.bulk.sinks.files import Files
    from wherry.bulk.sinks.from_text import parse_sink
    from wherry.bulk.sinks.jsonl import Jsonl
    from wherry.bulk.sinks.memory import Memory
    from wherry.bulk.sinks.parquet import Parquet
    from wherry.bulk.sinks.warc import Warc

__all__ = (
    "Breaker",
    "CheckpointError",
    "Fetcher",
    "Files",
    "HostDown",
    "Jsonl",
    "Memory",
    "Page",
    "Parquet",
    "Report",
    "Result",
    "RobotsRefused",
    "Shard",
    "Sink",
    "Warc",
    "links_of",
    "links_within_host",
    "parse_sink",
)

# Where each name lives.
_PLACES = {
    "Breaker": "wherry.bulk.hosts",
    "CheckpointError": "wherry.bulk.checkpoint",
    "Fetcher": "wherry.bulk.fetcher",
    "Files": "wherry.bulk.sinks.files",
    "HostDown": "wherry.bulk.hosts",
    "Jsonl": "wherry.bulk.sinks.jsonl",
    "Memory": "wherry.bulk.sinks.memory",
    "Page": "wherry.bulk.results",
    "Parquet": "wherry.bulk.sinks.parquet",
    "Report": "wherry.bulk.report",
    "Result": "wherry.bulk.results",
    "RobotsRefused": "wherry.bulk.robots",
    "Shard": "wherry.bulk.sinks.base",
    "Sink": "wherry.bulk.sinks.base",
    "Warc": "wherry.bulk.sinks.warc",
    "links_of": "wherry.bulk.links",
    "links_within_host": "wherry.bulk.links",
    "parse_sink": "wherry.bulk.sinks.from_text",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)
