"""What the files of `wherry fetch` are called: after their URLs, by a template, or as a list says.

Pure: it looks at no disk.  A name stays below any directory, and holds nothing that surprises.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import PurePosixPath
from typing import Final

from yarl import URL

from wherry.cli.argument_values import UsageProblem

# In bytes; a number may be added.
_LONGEST_NAME: Final = 200
_UNSAFE: Final = re.compile(r"[^\w.\-+@=,()\[\] ]")


def filled(template: str, url: URL, number: int) -> str:
    """A file's place by a template.

    Args:
        template: Text with ``{host} {port} {scheme} {path} {name} {stem} {suffix} {query}
            {number}``.
        url: Where it comes from.
        number: Its place in the list.

    Raises:
        UsageProblem: There is no such word.
    """
    name = PurePosixPath(file_name(url))
    words = {
        "host": url.host or "", "port": str(url.port), "scheme": url.scheme,
        "path": url.path.rpartition("/")[0].strip("/"), "name": str(name), "stem": name.stem,
        "suffix": name.suffix, "query": url.query_string, "number": number,
    }  # fmt: skip
    try:
        return safe_path(template.format_map(words))
    except (KeyError, ValueError, IndexError, AttributeError) as exc:
        known = " ".join(f"{{{word}}}" for word in words)
        raise UsageProblem(f"--output-template: {exc} is none of {known}") from None


def safe_path(text: str) -> str:
    """A path below any directory: no ``..``, nothing absolute, no letters that surprise."""
    parts = [_UNSAFE.sub("_", part).strip(". ") for part in text.replace("\\", "/").split("/")]
    return "/".join(_shortened(part) for part in parts if part) or "download"


def file_name(url: URL) -> str:
    """The last segment of the path, safe in any directory; the host where there is none."""
    name = _UNSAFE.sub("_", url.name or "").strip(". ")
    return _shortened(name or _UNSAFE.sub("_", url.host or "").strip(". ") or "download")


def _shortened(name: str) -> str:
    """At most 200 bytes of it, for file systems take 255; its suffix is kept."""
    if len(name.encode()) <= _LONGEST_NAME:
        return name
    stem, dot, suffix = name.rpartition(".")
    if not dot or len(suffix) > 16:
        stem, dot, suffix = name, "", ""
    room = _LONGEST_NAME - len(f"{dot}{suffix}".encode())
    return stem.encode()[:room].decode("utf-8", "ignore") + dot + suffix


def unique(name: str, taken: Counter[str]) -> str:
    """The same list gives the same names each time: downloads are gone on with by name."""
    candidate = name
    stem, dot, suffix = name.partition(".")
    # On some systems names that differ in case only are one file.
    while taken[candidate.lower()]:
        taken[name.lower()] += 1
        candidate = f"{stem}-{taken[name.lower()]}{dot}{suffix}"
    taken[candidate.lower()] += 1
    return candidate
