"""curl's words that are written otherwise here, or mean what happens anyway.

`INSTEAD` says what to use for those that are not taken; the rest are options of `wherry URL`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import quote_plus

from yarl import URL

from wherry.cli.arguments import UsageProblem, read_data

# These say what is so without them.
NO_EFFECT: Final = (
    ("-L", "--location"),
    ("-N", "--no-buffer"),
    ("--compressed",),
    ("--http1.1",),
    ("--no-progress-meter",),
)
_NO_COOKIES = "cookies are not kept between runs; send some with -b 'name=value'"
_RETRIES = "`wherry fetch --retries N URL` tries again"
INSTEAD: Final = {
    "-c": _NO_COOKIES,
    "--cookie-jar": _NO_COOKIES,
    "-w": "-v tells status and times, --har FILE records them",
    "--write-out": "-v tells status and times, --har FILE records them",
    "--retry": _RETRIES,
    "--retry-delay": _RETRIES,
    "--retry-max-time": _RETRIES,
    "--limit-rate": "there is no limit of the rate",
    "--resolve": "write the address into the URL, and -H 'Host: name'",
    "--connect-to": "write the address into the URL, and -H 'Host: name'",
    "--http1.0": "it speaks HTTP/1.1 and, with --http2, HTTP/2",
    "--proto-default": "write the scheme into the URL; without one it is http",
    "--digest": "-u is for Basic authentication; in Python there is wherry.DigestAuthMiddleware",
    "-n": "write -u NAME:PASSWORD",
    "--netrc": "write -u NAME:PASSWORD",
    "-D": "-i writes the head before the body",
    "--dump-header": "-i writes the head before the body",
    "-K": "options come from the environment, too: WHERRY_TIMEOUT=5",
    "--config": "options come from the environment, too: WHERRY_TIMEOUT=5",
    "-r": "write -H 'Range: bytes=0-99'",
    "--range": "write -H 'Range: bytes=0-99'",
    "-Z": "`wherry fetch` downloads many at once",
    "--parallel": "`wherry fetch` downloads many at once",
    "--socks5": "write --proxy socks5://HOST:PORT",
    "--socks5-hostname": "write --proxy socks5h://HOST:PORT",
    "--socks4": "write --proxy socks4://HOST:PORT",
    "--socks4a": "write --proxy socks4a://HOST:PORT",
    "--proxy-insecure": "-k is for proxies, too",
    "--url": "write the URL without it",
    "--form-string": "write -F NAME=VALUE",
    "--max-redirs": "--no-redirects follows none",
}

# What stands before a piece of data that is not --data's: no argument of a program has a NUL.
TAGS: Final = {
    "--data-raw": "\0raw\0",
    "--data-binary": "\0binary\0",
    "--data-urlencode": "\0urlencode\0",
}


def in_one_list(words: Sequence[str]) -> list[str]:
    """Arguments in which the kinds of --data are one, so that their order is kept."""
    told: list[str] = []
    left = iter(words)
    for word in left:
        name, equals, value = word.partition("=")
        tag = TAGS.get(name)
        if word == "--":
            told += [word, *left]
        elif tag is None:
            told.append(word)
        elif equals:
            told += ["--data", tag + value]
        else:
            following = next(left, None)
            told += [word] if following is None else ["--data", tag + following]
    return told


def data_of(text: str) -> bytes:
    """A piece of a form's body, of whichever kind.

    Raises:
        UsageProblem: A file cannot be read.
    """
    for tag in TAGS.values():
        if text.startswith(tag):
            text = text.removeprefix(tag)
            if tag == "\0raw\0":
                return text.encode("utf-8", "surrogateescape")
            if tag == "\0urlencode\0":
                return _encoded(text)
    return read_data(text)


def _encoded(text: str) -> bytes:
    """``content``, ``=content``, ``name=content``, ``@file`` or ``name@file``, percent-encoded."""
    cut = next((at for at, letter in enumerate(text) if letter in "=@"), None)
    if cut is None:
        return quote_plus(text, errors="surrogateescape").encode()
    name, kind, content = text[:cut], text[cut], text[cut + 1 :]
    data = read_data("@" + content) if kind == "@" else content.encode("utf-8", "surrogateescape")
    return f"{name}={quote_plus(data)}".encode() if name else quote_plus(data).encode()


def with_query(url: URL, data: Sequence[bytes]) -> URL:
    """What -G does: the data are the query's end."""
    text = b"&".join(data).decode("utf-8", "replace")
    base = str(url.with_fragment(None))
    return URL(f"{base}{'&' if url.raw_query_string else '?'}{text}") if text else url


def cookie_field(text: str) -> tuple[str, str]:
    """The Cookie field of -b.

    Raises:
        UsageProblem: It is a file's name.
    """
    if "=" not in text:
        raise UsageProblem(f"-b takes 'name=value; name=value', and no file as {text!r}")
    return "Cookie", text


def upload_url(url: URL, path: str) -> URL:
    """What -T sends to: a URL that ends with a slash gets the file's name."""
    name = path.rpartition("/")[2]
    return url / name if url.raw_path.endswith("/") and name not in {"", "-"} else url
