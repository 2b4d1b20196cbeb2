"""curl's words that are written otherwise here, or mean what happens anyway.

`INSTEAD` says what to use for those that are not taken; the rest are options of `wherry URL`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote_plus

from yarl import URL

from wherry.cli.argument_values import UsageProblem, read_data

# These say what is so without them.
NO_EFFECT: Final = (
    ("-L", "--location"),
    ("-N", "--no-buffer"),
    ("--compressed",),
    ("--http1.1",),
    ("--no-progress-meter",),
    # A user of ~/.netrc is one without being asked.
    ("-n", "--netrc", "--netrc-optional"),
    ("--tcp-nodelay",),
    # What URLs have in brackets and braces is theirs.
    ("-g", "--globoff"),
    ("-#", "--progress-bar"),
    ("--basic",),
    ("-q", "--disable"),
    ("--ssl-no-revoke", "--no-sessionid"),
    ("--tcp-fastopen", "--no-keepalive"),
)
_RETRIES = "`wherry fetch --retries N URL` tries again"
INSTEAD: Final = {
    "--retry-delay": _RETRIES,
    "--retry-max-time": _RETRIES,
    "--connect-to": "write the address into the URL, and -H 'Host: name'",
    "--http1.0": "it speaks HTTP/1.1 and, with --http2, HTTP/2",
    "-K": "options come from the environment, too: WHERRY_TIMEOUT=5",
    "--config": "options come from the environment, too: WHERRY_TIMEOUT=5",
    "-Z": "`wherry fetch` downloads many at once",
    "--parallel": "`wherry fetch` downloads many at once",
    "--proxy-insecure": "-k is for proxies, too",
    "-z": "`wherry fetch --timestamping` fetches what is newer; else -H 'If-Modified-Since: DATE'",
    "--time-cond": "`wherry fetch --timestamping` fetches what is newer",
    "--url-query": "write name==value behind the URL",
    "--noproxy": "the environment's no_proxy names hosts that no proxy is for",
    "--proto": "http and https are spoken, and nothing else",
    "--proto-redir": "redirects lead to http and https only",
    "--tlsv1.2": "TLS 1.2 is the least that is spoken",
    "--tlsv1.3": "the best version that both sides have is spoken",
    "--ciphers": "the system's OpenSSL chooses the ciphers",
    "--next": "`wherry fetch` takes many URLs",
    "--stderr": "2>FILE of your shell",
    "-E": "--cert FILE, and --key FILE where that is another",
    "--expect100-timeout": "-H 'Expect: 100-continue' waits for the server's word",
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
    data = read_data(text)
    # curl: what --data reads from a file loses its line ends, and --data-binary's does not.
    return data.translate(None, b"\r\n\0") if text.startswith("@") else data


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
    """The Cookie field of -b, where that is no file's name."""
    return "Cookie", text


def parse_resolved(text: str) -> tuple[tuple[str, int], str]:
    """``HOST:PORT:ADDRESS``, as --resolve has it.

    Raises:
        UsageProblem: It is something else.
    """
    host, _, rest = text.removeprefix("+").partition(":")
    port, _, addresses = rest.partition(":")
    try:
        for address in addresses.split(","):
            ipaddress.ip_address(address.strip("[] "))
        return (host, int(port)), addresses
    except ValueError:
        raise UsageProblem(f"--resolve takes HOST:PORT:ADDRESS, not {text!r}") from None


def upload_url(url: URL, path: str) -> URL:
    """What -T sends to: a URL that ends with a slash gets the file's name."""
    name = path.rpartition("/")[2]
    return url / name if url.raw_path.endswith("/") and name not in {"", "-"} else url
