"""What `wherry fetch` downloads: lists as text, JSON lines, CSV and metalink.

Pure: it reads no file and asks nobody.
"""

from __future__ import annotations

import codecs
import csv
import fnmatch
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from yarl import URL

from wherry.cli.argument_values import UsageProblem, parse_json, parse_url
from wherry.cli.fetch.file_names import file_name, filled, safe_path, unique

_DIGEST: Final = re.compile(r"([A-Za-z][A-Za-z0-9\-]*)[=:]([0-9A-Fa-f]+)").fullmatch
_METALINK: Final = "{urn:ietf:params:xml:ns:metalink}"
_BEST_FIRST: Final = ("sha512", "sha384", "sha256", "sha1", "md5")


@dataclass(slots=True)
class Job:
    """One download, and what became of it.

    Args:
        url: Where it comes from.
        file: Its place below the directory of all downloads.
        checksum: What it must have, as "sha256:1f3a..."; None for nothing.
        mirrors: Further places that have the same.
    """

    url: str
    file: str
    checksum: str | None = None
    mirrors: list[str] = field(default_factory=list)
    status: int | None = None
    size: int = 0
    resumed_from: int = 0
    attempts: int = 0
    seconds: float = 0.0
    error: str | None = None
    note: str | None = None


@dataclass(slots=True)
class Entry:
    """A line of a list: a URL, and what may be said of it."""

    url: URL
    file: str | None = None
    checksum: str | None = None
    mirrors: list[str] = field(default_factory=list)


def parse_checksum(text: str) -> str:
    """``sha256=1f3a…``, as "sha256:1f3a…".

    Raises:
        UsageProblem: It is something else.
    """
    if (found := _DIGEST(text.strip())) is None:
        raise UsageProblem(f"a checksum is written sha256=1f3a..., not {text!r}")
    return f"{found[1].lower().replace('sha-', 'sha')}:{found[2].lower()}"


def list_lines(content: bytes) -> Iterator[str]:
    """The lines of a list: UTF-8, or UTF-16 where a byte order mark says so.

    Raises:
        UsageProblem: It is neither.
    """
    utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if utf16 else "utf-8")
    except UnicodeDecodeError as exc:
        number = content.count(b"\n", 0, exc.start) + 1
        raise UsageProblem(f"line {number} of the list is no {exc.encoding}") from None
    return iter(io.StringIO(without_marks(text), newline=None))


def without_marks(text: str) -> str:
    """A list's text without byte order marks; one that was put together of several has them
    inside.
    """
    return text.replace("\ufeff", "")


def read_list(
    urls: Iterable[str],
    content: bytes | None = None,
    *,
    name: str = "",
    template: str | None = None,
    accept: Sequence[str] = (),
    reject: Sequence[str] = (),
) -> list[Job]:
    """Downloads of `urls`, and of a list.

    Args:
        urls: URLs, as people type them.
        content: The list: a URL on each line (empty lines and those that begin with # are left
            out), JSON lines, CSV with a heading, or metalink.
        name: The list's file name, which tells what it is where its content does not.
        template: What names the files, as ``{host}/{path}/{name}``.
        accept: Patterns of which a name must match one, if there are any.
        reject: Patterns of which a name must match none.

    Raises:
        UsageProblem: Something in the list cannot be meant so, or there is no URL at all.
    """
    entries = [Entry(parse_url(text)) for text in urls]
    if content is not None:
        entries += _entries(content, name)
    if not entries:
        raise UsageProblem("there are no URLs: name them, or a list of them with -i FILE")
    taken: Counter[str] = Counter()
    jobs = []
    for number, entry in enumerate(entries, 1):
        if not is_wanted(entry.url, accept, reject):
            continue
        file = entry.file or (file_name(entry.url) if template is None else "")
        if not file:
            file = filled(template or "", entry.url, number)
        jobs.append(Job(str(entry.url), unique(file, taken), entry.checksum, list(entry.mirrors)))
    if not jobs:
        raise UsageProblem("--accept and --reject leave nothing of the list")
    return jobs


def _entries(content: bytes, name: str) -> list[Entry]:
    """A list's lines, whichever kind it is."""
    start = content.lstrip(codecs.BOM_UTF8 + b" \t\r\n")[:400]
    if start.startswith(b"<"):
        return _metalink(content)
    lines = list_lines(content)
    if name.lower().endswith(".csv"):
        return _csv(lines)
    read = _json_entry if start.startswith(b"{") else _text_entry
    entries = []
    for number, line in enumerate(lines, 1):
        if text := line.strip():
            entries += _told(number, text, read)
    return entries


def _told(number: int, text: str, read: Callable[[str], Entry | None]) -> list[Entry]:
    try:
        entry = read(text)
    except UsageProblem as exc:
        raise UsageProblem(f"line {number} of the list: {exc}") from exc
    return [] if entry is None else [entry]


def _text_entry(text: str) -> Entry | None:
    return None if text.startswith("#") else Entry(parse_url(text))


def _json_entry(text: str) -> Entry:
    told = parse_json(text, "it is no JSON")
    if not isinstance(told, dict):
        raise UsageProblem(f"a line is an object with a url, not {text[:40]!r}")
    return _entry_of(told)


def _csv(lines: Iterator[str]) -> list[Entry]:
    rows = csv.DictReader(lines)
    try:
        return _csv_entries(rows)
    except csv.Error as exc:  # a field that is too long, or a quotation that never ends
        raise UsageProblem(f"line {rows.line_num + 1} of the list: {exc}") from None


def _csv_entries(rows: csv.DictReader[str]) -> list[Entry]:
    fields = [name.strip().lower() for name in rows.fieldnames or ()]
    if "url" not in fields:
        raise UsageProblem("a CSV list has a heading with a column url")
    rows.fieldnames = fields
    entries = []
    for row in rows:
        try:
            if (row.get("url") or "").strip():
                entries.append(_entry_of(row))
        except UsageProblem as exc:
            raise UsageProblem(f"line {rows.line_num} of the list: {exc}") from exc
    return entries


def _entry_of(told: dict[Any, Any]) -> Entry:
    """An entry of the names url, file and checksum."""
    url, file, checksum = told.get("url"), told.get("file"), told.get("checksum")
    if not isinstance(url, str):
        raise UsageProblem("it has no url")
    return Entry(
        parse_url(url),
        safe_path(str(file)) if file else None,
        parse_checksum(str(checksum)) if checksum else None,
    )


def _metalink(content: bytes) -> list[Entry]:
    """The files of a metalink document (RFC 5854)."""
    from xml.etree import ElementTree as ET

    if re.search(rb"<!(?:DOCTYPE|ENTITY)", content, re.IGNORECASE):
        raise UsageProblem("a metalink document has no DTD")
    try:
        root = ET.fromstring(content)  # noqa: S314 - without a DTD there are no entities
    except ET.ParseError as exc:
        raise UsageProblem(f"the list is neither text nor metalink: {exc}") from None
    entries = []
    for file in root.iter(f"{_METALINK}file"):
        links = [
            (_priority(link.get("priority") or ""), (link.text or "").strip())
            for link in file.findall(f"{_METALINK}url")
        ]
        urls = [text for _, text in sorted(links) if text]
        if not urls:
            raise UsageProblem(f"the metalink's file {file.get('name')!r} has no url")
        hashes = {
            (each.get("type") or "").lower().replace("-", ""): (each.text or "").strip()
            for each in file.findall(f"{_METALINK}hash")
        }
        best = next((kind for kind in _BEST_FIRST if kind in hashes), None)
        name = file.get("name")
        entries.append(
            Entry(
                parse_url(urls[0]),
                safe_path(name) if name else None,
                parse_checksum(f"{best}={hashes[best]}") if best else None,
                [str(parse_url(text)) for text in urls[1:]],
            )
        )
    return entries


def _priority(text: str) -> int:
    """1 is the first (RFC 5854 4.2.16.2); what is none comes last."""
    text = text.strip()
    return int(text) if re.fullmatch(r"[0-9]{1,6}", text) else 999_999


def is_wanted(url: URL, accept: Sequence[str], reject: Sequence[str]) -> bool:
    """Whether a URL's name goes with patterns: suffixes as ``jpg``, or ``*.tar.*``."""
    name = url.name.lower()

    def matches(patterns: Sequence[str]) -> bool:
        for text in patterns:
            for each in text.lower().split(","):
                pattern = each.strip()
                if not set(pattern) & set("*?["):
                    pattern = f"*{pattern}"
                if fnmatch.fnmatchcase(name, pattern):
                    return True
        return False

    return (not accept or matches(accept)) and not matches(reject)
