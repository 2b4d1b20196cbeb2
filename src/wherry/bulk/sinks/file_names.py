"""Names of files for URLs: readable, harmless on every file system, and none of them twice.

A peer chooses a URL, so it must not choose where a file goes: `..`, devices of Windows, endless
names and names that differ in case only are its means.  Pure functions of text.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final
from urllib.parse import unquote

from yarl import URL

from wherry.client.download.file_names import safe_name

__all__ = ("file_name", "is_file_name")

# Bytes of a part of a name, and of the folders: Windows takes paths of 260 characters.
_LONGEST_PART: Final = 50
_LONGEST_FOLDERS: Final = 100
# The mark of a file.  A folder never ends like that, so no file is where another needs a folder.
_MARKED: Final = re.compile(r"-[0-9a-f]{16}(?:\.[A-Za-z0-9]{1,10}){0,2}", re.ASCII)
_MARKED_FOLDER: Final = re.compile(r".*-[0-9a-f]{16}(?:\..*)?", re.IGNORECASE | re.DOTALL)
_SUFFIX: Final = re.compile(r"\.[A-Za-z0-9]{1,10}", re.ASCII)
# Suffixes by media type, and not Python's or the machine's table: those differ by version, so that
# a run that goes on elsewhere would give other names.
_SUFFIXES: Final = {
    "application/atom+xml": ".xml",
    "application/epub+zip": ".epub",
    "application/gzip": ".gz",
    "application/javascript": ".js",
    "application/json": ".json",
    "application/ld+json": ".jsonld",
    "application/manifest+json": ".webmanifest",
    "application/msword": ".doc",
    "application/octet-stream": ".bin",
    "application/pdf": ".pdf",
    "application/postscript": ".ps",
    "application/rss+xml": ".xml",
    "application/rtf": ".rtf",
    "application/vnd.ms-excel": ".xls",
    "application/vnd.ms-powerpoint": ".ppt",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": ".pptx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ".xlsx",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ".docx",
    "application/wasm": ".wasm",
    "application/x-7z-compressed": ".7z",
    "application/x-bzip2": ".bz2",
    "application/x-ndjson": ".jsonl",
    "application/x-sh": ".sh",
    "application/x-tar": ".tar",
    "application/x-xz": ".xz",
    "application/xhtml+xml": ".xhtml",
    "application/xml": ".xml",
    "application/yaml": ".yaml",
    "application/zip": ".zip",
    "application/zstd": ".zst",
    "audio/aac": ".aac",
    "audio/flac": ".flac",
    "audio/mp4": ".m4a",
    "audio/mpeg": ".mp3",
    "audio/ogg": ".ogg",
    "audio/opus": ".opus",
    "audio/wav": ".wav",
    "audio/x-wav": ".wav",
    "font/otf": ".otf",
    "font/ttf": ".ttf",
    "font/woff": ".woff",
    "font/woff2": ".woff2",
    "image/avif": ".avif",
    "image/bmp": ".bmp",
    "image/gif": ".gif",
    "image/heic": ".heic",
    "image/jpeg": ".jpg",
    "image/jxl": ".jxl",
    "image/png": ".png",
    "image/svg+xml": ".svg",
    "image/tiff": ".tiff",
    "image/vnd.microsoft.icon": ".ico",
    "image/webp": ".webp",
    "image/x-icon": ".ico",
    "message/rfc822": ".eml",
    "text/calendar": ".ics",
    "text/css": ".css",
    "text/csv": ".csv",
    "text/html": ".html",
    "text/javascript": ".js",
    "text/markdown": ".md",
    "text/plain": ".txt",
    "text/rtf": ".rtf",
    "text/tab-separated-values": ".tsv",
    "text/vcard": ".vcf",
    "text/vtt": ".vtt",
    "text/x-python": ".py",
    "text/xml": ".xml",
    "text/yaml": ".yaml",
    "video/mp4": ".mp4",
    "video/mpeg": ".mpeg",
    "video/ogg": ".ogv",
    "video/quicktime": ".mov",
    "video/webm": ".webm",
    "video/x-matroska": ".mkv",
    "video/x-msvideo": ".avi",
}
# Other suffixes that say the same.
_ALIKE: Final = {
    ".htm": ".html",
    ".jpeg": ".jpg",
    ".jpe": ".jpg",
    ".tif": ".tiff",
    ".mjs": ".js",
    ".mpg": ".mpeg",
    ".markdown": ".md",
    ".text": ".txt",
    ".log": ".txt",
    ".yml": ".yaml",
    ".ndjson": ".jsonl",
    ".tgz": ".gz",
    ".rss": ".xml",
    ".atom": ".xml",
    ".xsl": ".xml",
    ".xsd": ".xml",
    ".svgz": ".svg",
}


def file_name(url: str, content_type: str, unique: str) -> str:
    """A name for what came from a URL: `example.org/docs/page-0123456789abcdef.html`.

    Args:
        url: The URL.
        content_type: The media type of its body.
        unique: What no other file has: it makes the mark behind the name.
    """
    parsed = URL(url, encoded=True)
    host = parsed.raw_host or ""
    if not parsed.is_default_port() and parsed.port is not None:
        host += f"_{parsed.port}"
    *folders, last = [host, *parsed.raw_path.split("/")[1:]]
    if not folders:
        folders, last = [last], ""
    mark = hashlib.sha256(unique.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return "/".join([*_folders(folders), _file(_decoded(last), content_type, mark)])


def is_file_name(name: str) -> bool:
    """Whether `file_name` can have made this name."""
    *folders, last = name.split("/")
    return (
        bool(folders)
        and not name.startswith("_")
        and all(part == _folder(part) for part in folders)
        and _MARKED.search(last) is not None
    )


def _decoded(part: str) -> str:
    """A segment of a path as text, in one piece."""
    return re.sub(r"[/\\]", "_", unquote(part, errors="replace"))


def _folders(parts: list[str]) -> list[str]:
    """The folders that fit."""
    found: list[str] = []
    length = 0
    for part in parts:
        if not part and found:
            continue  # an empty segment
        folder = _folder(_decoded(part))
        if folder.startswith("_") and not found:
            # Names with "_" at the top are the sink's own: no host is called `_index` there.
            folder = _folder(f"host{folder}")
        length += len(folder.encode()) + 1
        if length > _LONGEST_FOLDERS:
            break
        found.append(folder)
    return found


def _folder(text: str) -> str:
    name = _short(safe_name(text, windows=True)) or "_"
    return name.replace("-", "_") if _MARKED_FOLDER.fullmatch(name) else name


def _short(name: str) -> str:
    return name.encode("utf-8", "replace")[:_LONGEST_PART].decode("utf-8", "ignore").rstrip(" .")


def _file(text: str, content_type: str, mark: str) -> str:
    stem, dot, end = text.rpartition(".")
    suffix = f"{dot}{end}" if stem and _SUFFIX.fullmatch(f"{dot}{end}") else ""
    stem = stem if suffix else text
    stem = _short(safe_name(stem, windows=True)) or "index"
    # `page.php` that came as HTML would open in no browser.
    expected = _SUFFIXES.get(content_type, "")
    if _ALIKE.get(suffix.lower(), suffix.lower()) != expected:
        suffix += expected
    return f"{stem}-{mark}{suffix}"
