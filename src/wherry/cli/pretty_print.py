"""How a body looks on a terminal: JSON, XML, forms, events and text as a person reads them.

Binary bodies do not get there: they are named.  What a server says is cleared of what a terminal
would obey before it is shown.
"""

from __future__ import annotations

import json
import re
import struct
import sys
from typing import Any, Final
from urllib.parse import parse_qsl

import wherry
from wherry.cli import show

_IS_XML: Final = re.compile(r"[/+]xml$").search
# Entities could make a small document a huge one; who has them is shown as it came.
_HAS_ENTITIES: Final = re.compile(r"<!(?:DOCTYPE|ENTITY)", re.IGNORECASE).search

_JSON_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s"{}\[\],:]+')
# In letters: what is larger would take minutes, or more memory than there is.
_MOST_INDENTATION: Final = 64 * 1024 * 1024
_LARGEST_XML: Final = 1024 * 1024
_LARGEST_COLOURED: Final = 256 * 1024


def is_event_stream(response: wherry.ClientResponse) -> bool:
    """Whether a body goes on for as long as the server likes: it is shown as it comes."""
    return response.content_type == "text/event-stream"


def print_body(
    response: wherry.ClientResponse, content: bytes, *, formats: bool, colours: bool
) -> None:
    """Print a body on standard output.

    Args:
        response: What it came with: its type and encoding count.
        content: The body.
        formats: JSON, XML and forms are indented and ordered as a person reads them.
        colours: Colours, of the terminal's own sixteen, but for ``NO_COLOR``.

    Raises:
        ValueError: It is binary.
    """
    kind = response.content_type.lower()
    text = _text_of(response, content, kind)
    language, shown = "", text
    if formats:
        language, shown = _formatted(text, kind)
    elif "json" in kind:
        language = "json"
    elif _IS_XML(kind):
        language = "xml"
    # "\t" and "\n" alone drive a terminal from here on.
    shown = show.plain(shown.replace("\r\n", "\n"))
    end = "" if shown.endswith("\n") else "\n"
    if colours and language and len(shown) <= _LARGEST_COLOURED:
        from rich.console import Console
        from rich.syntax import Syntax

        console = Console(highlight=False, soft_wrap=True, force_terminal=True)
        # The terminal's own colours can be read on a dark ground and on a light one.
        theme = "ansi_light"
        console.print(
            Syntax(shown, language, theme=theme, background_color="default", word_wrap=True)
        )
        return
    sys.stdout.write(shown + end)
    sys.stdout.flush()


def _text_of(response: wherry.ClientResponse, content: bytes, kind: str) -> str:
    """A body's text.

    Raises:
        ValueError: It has none.
    """
    picture = describe_picture(content)
    try:
        if picture is not None:
            raise ValueError(picture)
        text = content.decode(show.encoding_of(response))
        if "\0" in text:
            raise ValueError(f"binary ({len(content)} bytes)")
    except UnicodeDecodeError:
        raise ValueError(
            f"the body is binary ({len(content)} bytes): save it with -o FILE"
        ) from None
    except ValueError as exc:
        raise ValueError(f"the body is {exc}: save it with -o FILE") from None
    return text


def _formatted(text: str, kind: str) -> tuple[str, str]:
    """A language for colours, and the text as a person reads it."""
    if "json" in kind:
        try:
            json.loads(text)
            return "json", _indented_json(text)
        except (ValueError, RecursionError):
            return "", text  # it says that it is JSON: it is shown as it is
    if _IS_XML(kind):
        return "xml", _indented_xml(text)
    if kind == "application/x-www-form-urlencoded":
        pairs = parse_qsl(text, keep_blank_values=True)
        return "", "\n".join(f"{name} = {value}" for name, value in pairs)
    return "", text


def _indented_json(text: str) -> str:
    """JSON with each member on a line, and all of it as it came: numbers have their digits,
    and names that stand there twice do so.

    Args:
        text: Valid JSON.
    """
    written: list[str] = []
    depth, room = 0, _MOST_INDENTATION
    opened, before = False, ""
    for found in _JSON_TOKEN.finditer(text):
        piece = found[0]
        closes = piece in {"]", "}"}
        depth -= closes
        # Nothing stands between the brackets of what is empty.
        if not opened if closes else opened or before == ",":
            written.append("\n" + "  " * depth)
            room -= 2 * depth
            if room < 0:
                return text  # deep and wide: the blanks would be many times the text
        if piece[0] == '"' and "\\" in piece:
            piece = json.dumps(json.loads(piece), ensure_ascii=False)
        opened, before = piece in {"[", "{"}, piece
        depth += opened
        written.append(": " if piece == ":" else piece)
    return "".join(written)


def _indented_xml(text: str) -> str:
    """XML with each element on a line; what cannot be read so stays as it is."""
    if _HAS_ENTITIES(text) or len(text) > _LARGEST_XML:
        return text
    from xml.dom import minidom
    from xml.parsers.expat import ExpatError

    try:
        # Without a DTD there are no entities to grow.
        document = minidom.parseString(text.encode())  # noqa: S318
        _drop_blanks(document)
        return document.toprettyxml(indent="  ").rstrip("\n")
    except (ExpatError, RecursionError, ValueError):
        return text


def _drop_blanks(node: Any) -> None:
    """Take out the white space between elements: it is the old indentation."""
    elements = [child for child in node.childNodes if child.nodeType == child.ELEMENT_NODE]
    texts = [child for child in node.childNodes if child.nodeType == child.TEXT_NODE]
    if elements and not any(child.data.strip() for child in texts):
        for child in texts:
            node.removeChild(child)
    for child in elements:
        _drop_blanks(child)


def problem_of(response: wherry.ClientResponse, content: bytes) -> str | None:
    """What a problem document says in one line (RFC 9457); None for other bodies."""
    if response.content_type != "application/problem+json":
        return None
    try:
        told = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(told, dict):
        return None
    said = [str(told[name]) for name in ("title", "detail") if isinstance(told.get(name), str)]
    return ": ".join(said) or None


def describe_picture(content: bytes) -> str | None:
    """What kind of picture a body is, and how large; None for what is none."""
    size = f"{len(content)} bytes"
    if content.startswith(b"\x89PNG\r\n\x1a\n") and len(content) >= 24:
        width, height = struct.unpack(">II", content[16:24])
        return f"a PNG picture of {width} x {height} ({size})"
    if content[:6] in (b"GIF87a", b"GIF89a") and len(content) >= 10:
        width, height = struct.unpack("<HH", content[6:10])
        return f"a GIF picture of {width} x {height} ({size})"
    if content.startswith(b"\xff\xd8\xff"):
        return f"a JPEG picture ({size})"
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return f"a WebP picture ({size})"
    return None
