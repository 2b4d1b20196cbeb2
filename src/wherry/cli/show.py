"""What a person sees: bodies, heads, times, progress, errors.

Bodies go to standard output, all else to standard error; what an untrusted server says never drives
the terminal.
"""

from __future__ import annotations

import codecs
import http
import io
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

import wherry

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

# C0 and C1 controls but tab and line feed: a terminal takes them for commands.
_CONTROLS = {code: "\ufffd" for code in [*range(0x20), *range(0x7F, 0xA0)] if code not in (9, 10)}
# What turns the direction of writing shows another name, or host, than the one that is there
# (Unicode TR36 2.5).
_CONTROLS |= dict.fromkeys(
    [0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)], "\ufffd"
)
# Bytes of a field that are no UTF-8 (surrogate escapes) can be written nowhere.
_CONTROLS |= dict.fromkeys(range(0xD800, 0xE000), "\ufffd")
STEPS = ("queued", "dns", "connect", "quic", "tls", "first byte", "total")

Seconds = dict[str, float | None]


def errors() -> Console:
    """A console on standard error."""
    # rich is half of what a request costs at the start: many need none of it.
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def plain(text: str) -> str:
    """Text without what a terminal would obey."""
    return text.translate(_CONTROLS)


def fail(message: str) -> None:
    """The one line that tells what went wrong."""
    from rich.text import Text

    line = " ".join(plain(message).split()) or "the request failed"
    errors().print(Text.assemble(("wherry: ", "bold red"), line))


def describe(exc: BaseException) -> str:
    """What an exception says, in one line; its kind where it says nothing."""
    # That TLS is as it always is tells a person nothing.
    text = str(exc).strip().replace(" ssl:default", "")
    if isinstance(exc, wherry.ClientResponseError):
        return f"{exc.request_info.real_url} answered {exc.status} {exc.message}".rstrip()
    if isinstance(exc, TimeoutError) and not text:
        return "the time is up"
    if isinstance(exc, OSError) and not isinstance(exc, wherry.ClientError) and exc.strerror:
        # Its number tells a person nothing.
        return f"{exc.filename}: {exc.strerror}" if exc.filename else exc.strerror
    return text or type(exc).__name__


def heads(response: wherry.ClientResponse, body: bytes | None = None) -> None:
    """Request and response heads of a response and of the redirects before it.

    Args:
        response: The last response.
        body: The body of the first request, which is shown if it is text.
    """
    from rich.text import Text

    console = errors()
    for step in (*response.history, response):
        info = step.request_info
        console.print(
            Text(plain(f"> {info.method} {info.url.raw_path_qs} {_protocol(step)}"), "bold")
        )
        if "Host" not in info.headers:
            console.print(_field(">", "Host", info.url.authority))
        _fields(console, ">", info.headers.items())
        if body is not None:
            _request_body(console, body)
            body = None
        console.print(Text("<"))
        console.print(
            Text(plain(f"< {_protocol(step)} {step.status} {step.reason or ''}").rstrip(), "bold")
        )
        _fields(console, "<", step.headers.items())
        console.print(Text("<"))


def _request_body(console: Console, body: bytes) -> None:
    """What was sent, if a person can read it."""
    from rich.text import Text

    try:
        text = body.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        text = f"({len(body)} bytes)"
    console.print(Text(">"))
    for each in text.splitlines():
        console.print(Text(f"> {plain(each)}"))


def head(response: wherry.ClientResponse) -> None:
    """The heads of a response and of the redirects before it, on standard output, as they came."""
    _write_head(head_bytes(response))


def head_bytes(response: wherry.ClientResponse) -> bytes:
    """The heads of a response and of the redirects before it, as they came."""
    lines = []
    for step in (*response.history, response):
        lines.append(f"{_protocol(step)} {step.status} {step.reason or ''}".rstrip())
        lines += [f"{name}: {value}" for name, value in step.headers.items()]
        lines.append("")
    return "".join(f"{line}\r\n" for line in lines).encode("utf-8", "surrogateescape")


def request_head(response: wherry.ClientResponse) -> None:
    """The head of the last request, on standard output."""
    info = response.request_info
    lines = [f"{info.method} {info.url.raw_path_qs} {_protocol(response)}"]
    if "Host" not in info.headers:
        lines.append(f"Host: {info.url.authority}")
    lines += [f"{name}: {value}" for name, value in info.headers.items()]
    text = "".join(f"{line}\r\n" for line in [*lines, ""])
    _write_head(text.encode("utf-8", "surrogateescape"))


def _write_head(data: bytes) -> None:
    if sys.stdout.isatty():
        write_text(data)
    else:
        write_plain(data)


def status(response: wherry.ClientResponse) -> None:
    """The status line, beside a body that is shown on a terminal."""
    from rich.text import Text

    colour = {2: "green", 3: "cyan", 4: "red", 5: "red"}.get(response.status // 100, "bold")
    told = f"{_protocol(response)} {response.status} {_reason(response)}".rstrip()
    errors().print(Text(plain(told), colour))


def _reason(response: wherry.ClientResponse) -> str:
    """The server's reason, or the standard one where there is none."""
    if response.reason:
        return response.reason
    try:
        return http.HTTPStatus(response.status).phrase
    except ValueError:
        return ""


def _protocol(response: wherry.ClientResponse) -> str:
    version = response.version
    if version is None:
        return "HTTP"
    return f"HTTP/{version.major}.{version.minor}" if version.major < 2 else f"HTTP/{version.major}"


def _field(arrow: str, name: str, value: str) -> Text:
    from rich.text import Text

    return Text.assemble(f"{arrow} ", (plain(name), "cyan"), ": ", plain(value))


def _fields(console: Console, arrow: str, fields: Iterable[tuple[str, str]]) -> None:
    for name, value in fields:
        console.print(_field(arrow, name, value))


def seconds_of(response: wherry.ClientResponse, first_byte: float, total: float) -> Seconds:
    """How long each step took, in seconds, redirects included; None for one that was not needed."""
    seconds: Seconds = dict.fromkeys(STEPS)
    for each in (*response.history, response):
        for name in STEPS:
            took = getattr(each.timings, name, None)
            if took is not None:
                seconds[name] = (seconds[name] or 0.0) + took
    return {**seconds, "first byte": first_byte, "total": total}


def timings(seconds: Seconds) -> None:
    told = [
        f"{name} {value * 1000:.1f} ms"
        for name in STEPS
        if (value := seconds.get(name)) is not None
        and not (name == "connect" and value == seconds.get("quic"))
    ]
    note(", ".join(told))


def encoding_of(response: wherry.ClientResponse) -> str:
    """The encoding of a body's text: what the response says, if a server may choose it, else
    UTF-8.
    """
    try:
        return response.get_encoding()
    except RuntimeError:  # nothing was said, and the body went by without being kept
        return "utf-8"


def note(text: str) -> None:
    """A remark on how things go."""
    from rich.text import Text

    errors().print(Text(f"* {plain(text)}", "dim"))


def line(text: str) -> None:
    """A message that came, on a line of its own."""
    print(plain(text) if sys.stdout.isatty() else text, flush=True)


def octets(data: bytes) -> None:
    """A message of bytes: as it is in a pipe, only its size on a terminal."""
    if sys.stdout.isatty():
        note(f"{len(data)} bytes came")
        return
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def write_text(piece: bytes) -> None:
    """Bytes of text for a terminal, without what it would obey."""
    sys.stdout.write(plain(piece.decode("utf-8", "replace").replace("\r\n", "\n")))
    sys.stdout.flush()


class TextWriter:
    """Writes text that comes in pieces, which may end in the midst of a letter."""

    def __init__(self) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._decoder = io.IncrementalNewlineDecoder(decoder, translate=True)

    def write(self, piece: bytes) -> None:
        sys.stdout.write(plain(self._decoder.decode(piece)))
        sys.stdout.flush()

    def end(self) -> None:
        """Write what is left of the last piece."""
        sys.stdout.write(plain(self._decoder.decode(b"", final=True)))
        sys.stdout.flush()


def write_plain(piece: bytes) -> None:
    """Bytes as they are, for a pipe."""
    sys.stdout.buffer.write(piece)
    # Who reads from us sees what has come, and not the first eight thousand bytes of it.
    sys.stdout.buffer.flush()
