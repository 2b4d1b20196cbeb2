"""Sinks as text, for command lines: `warc:out/`, `jsonl:out/`, `parquet:s3://bucket/pages`."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from typing import Any, Final

from wherry.bulk.sinks.base import Sink

__all__ = ("KINDS", "parse_sink")

# Where each kind lives; it is loaded when it is named.
KINDS: Final[Mapping[str, tuple[str, str]]] = {
    "files": ("wherry.bulk.sinks.files", "Files"),
    "jsonl": ("wherry.bulk.sinks.jsonl", "Jsonl"),
    "parquet": ("wherry.bulk.sinks.parquet", "Parquet"),
    "warc": ("wherry.bulk.sinks.warc", "Warc"),
}


def parse_sink(text: str, **options: Any) -> Sink:
    """The sink that `KIND:PLACE` names.

    Args:
        text: `files:`, `jsonl:`, `parquet:` or `warc:`, and a folder or a URL of fsspec's.
        options: What the sink takes beside its place: `roll`, `storage_options`.

    Raises:
        ValueError: There is no such kind, or no place.
        ModuleNotFoundError: The kind needs a package that is not installed.
    """
    kind, colon, place = text.partition(":")
    if not colon or kind not in KINDS:
        near = get_close_matches(kind.lower(), KINDS, 1)
        guess = f"; did you mean {near[0]}:{place or 'FOLDER/'}?" if near else ""
        raise ValueError(
            f"{text!r} is no sink: say KIND:PLACE, and the kinds are {', '.join(KINDS)}{guess}"
        )
    if not place:
        raise ValueError(f"{text!r} has no place: say {kind}:FOLDER/ or {kind}:s3://bucket/folder")
    module, name = KINDS[kind]
    sink: Sink = getattr(import_module(module), name)(place, **options)
    return sink
