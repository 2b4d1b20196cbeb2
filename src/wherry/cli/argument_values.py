"""What a command line asks for, as values: a URL, headers, a body, and how to get there.

Pure but for reading files that ``@`` names; it sends nothing and prints nothing.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from yarl import URL

import wherry
from wherry.cli import standard_streams

HTTP_SCHEMES: Final = ("http", "https")
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://").match
_LOCAL: Final = re.compile(r":(?:[0-9]+)?(?:/(?!/)|\?|$)").match

# The last of the words behind a form's value; a type may have a charset of its own.
_FORM_WORD: Final = re.compile(
    r';\s*(type|filename)=("(?:[^"\\]|\\.)*"|[^;"]*(?:;\s*charset=[^;"]*)?)\s*$'
).search


class UsageProblem(ValueError):
    """The command line cannot be meant so."""


class FormField(NamedTuple):
    """A field of a multipart form: a text, or a file with its path and content type.

    A text has no type unless one was given; a file has its path's name unless one was given.
    """

    name: str
    content: bytes
    path: str | None = None
    content_type: str | None = None
    filename: str | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        """What `FormData.add_field` takes beside name and value."""
        if self.path is None:
            told: dict[str, Any] = {"content_type": self.content_type, "filename": self.filename}
            return {name: value for name, value in told.items() if value is not None}
        return {
            "filename": self.filename or Path(self.path).name,
            "content_type": self.content_type or "application/octet-stream",
        }


@dataclass(slots=True)
class RequestArguments:
    """One request, before it is sent.

    Args:
        url: Where to.
        method: The method, in upper case.
        headers: Fields, as pairs.
        body: The body, if there is one.
        form: Fields and files of a multipart form, instead of a body.
        without: Names of usual fields that are left out.
        user: Name and password for authentication.
        digest: They are for Digest authentication, not for Basic.
        resolved: Addresses of hosts that are not looked up, by (host, port).
        cookies: A file of cookies to send and keep, in the format of Netscape's cookies.txt.
        cookies_to: The file that the cookies are written to afterwards.
        retries: Further tries after failures that may pass.
        max_redirects: How many redirects are followed.
        proxies: Proxy URLs, one behind the other.
        proxy_user: Name and password for the last of them.
        timeout: Seconds in all; None for no limit.
        follow: Whether redirects are followed.
        http2: Whether HTTP/2 is offered where there is TLS.
        http3: Whether HTTP/3 is tried, beside TCP, where there is TLS.
        http3_only: HTTP/3 and nothing else.
        connect_timeout: Seconds for getting a connection; None for no limit.
        family: 4 or 6 for addresses of that kind only, 0 for both.
        unix_socket: Connect to this socket, whatever the URL's host.
        tls_words: What `tls` was made of, as curl's words.
        tls: False for no checks of certificates, a context for others than the system's.
    """

    url: URL = field(repr=False)  # it may have credentials
    method: str = "GET"
    headers: list[tuple[str, str]] = field(default_factory=list, repr=False)
    body: bytes | None = field(default=None, repr=False)
    form: list[FormField] = field(default_factory=list, repr=False)
    without: list[str] = field(default_factory=list)
    user: tuple[str, str] | None = field(default=None, repr=False)
    digest: bool = False
    resolved: dict[tuple[str, int], str] = field(default_factory=dict)
    cookies: str | None = None
    cookies_to: str | None = None
    retries: int = 0
    max_redirects: int = 10
    proxies: list[str] = field(default_factory=list, repr=False)
    proxy_user: tuple[str, str] | None = field(default=None, repr=False)
    timeout: float | None = None
    follow: bool = True
    http2: bool = False
    http3: bool = False
    http3_only: bool = False
    connect_timeout: float | None = None
    family: int = 0
    unix_socket: str | None = None
    tls_words: list[str] = field(default_factory=list)
    tls: bool | ssl.SSLContext = True

    @property
    def protocols(self) -> tuple[str, ...]:
        """What the connector speaks, in order of wish."""
        if self.http3_only:
            return ("h3",)
        if self.http3:
            return ("h3", "h2", "http/1.1")
        return ("h2", "http/1.1") if self.http2 else ("http/1.1",)

    def connector(self) -> wherry.BaseConnector:
        """What the connections are made by."""
        if self.unix_socket is not None:
            return wherry.UnixConnector(self.unix_socket, protocols=self.protocols)
        family = {4: socket.AF_INET, 6: socket.AF_INET6}.get(self.family, socket.AF_UNSPEC)
        resolver = None
        if self.resolved:
            from wherry.cli.resolve_option import Resolved

            resolver = Resolved(self.resolved)
        connector = wherry.TCPConnector(protocols=self.protocols, family=family, resolver=resolver)
        if connector.alternatives is not None:
            # Nobody waits for a second request to have what was asked for.
            connector.alternatives.tries_all = True
        return connector

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of `ClientSession.request`."""
        options: dict[str, Any] = {
            "headers": self.headers,
            "timeout": wherry.ClientTimeout(total=self.timeout, connect=self.connect_timeout),
            "allow_redirects": self.follow,
            "ssl": self.tls,
        }
        if self.form:
            # Servers take names as they are, as from a browser.
            form = wherry.FormData(quote_fields=False, default_to_multipart=True)
            for each in self.form:
                is_text = each.path is None
                value = each.content.decode() if is_text else each.content
                form.add_field(each.name, value, **each.arguments)
            options["data"] = form
        elif self.body is not None:
            options["data"] = self.body
        if self.max_redirects != 10:
            options["max_redirects"] = self.max_redirects
        if self.without:
            options["skip_auto_headers"] = self.without
        if self.user is not None and not self.digest:
            options["auth"] = wherry.BasicAuth(*self.user)
        if self.proxies:
            options |= self._proxy_options()
        return options

    def _proxy_options(self) -> dict[str, Any]:
        *before, last = self.proxies
        auth = wherry.BasicAuth(*self.proxy_user) if self.proxy_user is not None else None
        if not before:
            return {"proxy": last, "proxy_auth": auth}
        return {"proxy": [*before, last if auth is None else (last, auth)]}


def parse_url(
    text: str, schemes: tuple[str, ...] = HTTP_SCHEMES, *, default: str | None = None
) -> URL:
    """A URL as people type it: the scheme may be missing, and ``:8000/path`` is this machine's.

    Args:
        text: What was typed.
        schemes: Those that are spoken here.
        default: The scheme of a URL that has none; the first of `schemes` by default.

    Raises:
        UsageProblem: It has no host, or a scheme that is not spoken here.
    """
    text = text.strip()
    # RFC 3986 3.1: what is behind a path or a query is no scheme.
    if _LOCAL(text) is not None:
        text = f"localhost{text.removeprefix(':') if text[1:2] in {'', '/', '?'} else text}"
    if _SCHEME(text) is None:
        text = f"{default or schemes[0]}://{text.removeprefix('//')}"
    try:
        url = URL(text)
    except (ValueError, IndexError) as exc:  # yarl of https://[::1]:43@/
        raise UsageProblem(f"{text!r} is no URL: {exc}") from exc
    if url.scheme not in schemes:
        raise UsageProblem(f"{text!r}: the scheme {url.scheme!r} is not {' or '.join(schemes)}")
    if not url.raw_host:
        raise UsageProblem(f"{text!r} names no host")
    return url


def parse_proxy(text: str) -> str:
    """A proxy's URL; one without a scheme is an HTTP proxy's."""
    return text if _SCHEME(text) else f"http://{text.removeprefix('//')}"


def parse_header(text: str) -> tuple[str, str]:
    """``Name: value``.

    Raises:
        UsageProblem: There is no colon, or no name.
    """
    name, colon, value = text.partition(":")
    if not colon and text.rstrip().endswith(";"):
        name, colon = text.rstrip()[:-1], ":"  # curl's word for a field with an empty value
    if not colon or not name.strip():
        raise UsageProblem(f"a header is written 'Name: value', not {text!r}")
    return name.strip(), value.strip()


def parse_user(text: str) -> tuple[str, str]:
    """``name:password``; the password may have colons."""
    name, _, password = text.partition(":")
    return name, password


def parse_close(text: str) -> tuple[int, bytes]:
    """``CODE`` or ``CODE:REASON`` of a WebSocket's end.

    Raises:
        UsageProblem: RFC 6455 7.4 and 5.5 have no such end.
    """
    code, _, reason = text.partition(":")
    number = int(code) if code.isascii() and code.isdigit() else 0
    if not (number in {1000, 1001, 1002, 1003, *range(1007, 1012)} or 3000 <= number <= 4999):
        raise UsageProblem(f"a WebSocket is closed with 1000 to 1011 or 3000 to 4999, not {code!r}")
    if len(reason.encode()) > 123:
        raise UsageProblem("the reason of a close has at most 123 bytes")
    return number, reason.encode()


def parse_rate(text: str) -> int:
    """Bytes a second: ``500``, ``500k``, ``2.5M`` or ``1G``, in steps of 1,024 as with curl.

    Raises:
        UsageProblem: It is none.
    """
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([kmgKMG]?)", text.strip())
    rate = int(float(found[1]) * 1024 ** " kmg".index(found[2].lower() or " ")) if found else 0
    if rate < 1:
        raise UsageProblem(f"a rate is written 500k or 2M, not {text!r}")
    return rate


def read_data(text: str) -> bytes:
    """The text itself; ``@FILE`` for a file's content and ``@-`` for standard input.

    Raises:
        UsageProblem: The file cannot be read.
    """
    if not text.startswith("@"):
        return text.encode("utf-8", "surrogateescape")
    if text == "@-":
        if standard_streams.input_is_closed():
            raise UsageProblem("cannot read standard input: it is closed")
        return sys.stdin.buffer.read()
    try:
        return Path(text[1:]).read_bytes()
    except OSError as exc:
        raise UsageProblem(f"cannot read {text[1:]}: {exc.strerror}") from exc


def parse_json(text: str | bytes, what: str) -> Any:
    """A value of JSON.

    Args:
        text: The value, as it was given.
        what: Begins the message where it is none.

    Raises:
        UsageProblem: It is no JSON, or nested too deeply to be read.
    """
    try:
        return json.loads(text)
    except RecursionError:
        # Each Python says so in words of its own.
        raise UsageProblem(f"{what}: it is nested too deeply") from None
    except ValueError as exc:
        raise UsageProblem(f"{what}: {exc}") from exc


def parse_form_field(text: str) -> FormField:
    """``name=value``, ``name=@FILE``, or ``name=<FILE`` for a file's text; behind them there may
    be ``;type=text/plain`` and ``;filename=name``, and quotation marks around what is before.

    Raises:
        UsageProblem: There is no name, or the file cannot be read.
    """
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageProblem(f"a form's field is written 'name=value' or 'name=@FILE', not {text!r}")
    words: dict[str, str] = {}
    while (found := _FORM_WORD(value)) is not None:
        words[found[1]] = _unquoted(found[2].strip())
        value = value[: found.start()]
    mark = value[:1] if value[:1] in {"@", "<"} else ""
    value = _unquoted(value[len(mark) :])
    content = read_data("@" + value) if mark else value.encode("utf-8", "surrogateescape")
    path = value if mark == "@" and value != "-" else None
    return FormField(name, content, path, words.get("type"), words.get("filename"))


def _unquoted(text: str) -> str:
    """A form's value without the quotation marks that curl lets stand around it."""
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return text
    return re.sub(r'\\(["\\])', r"\1", text[1:-1])


def parse_form_string(text: str) -> FormField:
    """``name=value``, of which "@" is a letter.

    Raises:
        UsageProblem: There is no name.
    """
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageProblem(f"a form's field is written 'name=value', not {text!r}")
    return FormField(name, value.encode("utf-8", "surrogateescape"))


def with_body(
    wanted: RequestArguments,
    data: Sequence[bytes],
    json_text: str | None,
    form: Sequence[str],
    form_strings: Sequence[str] = (),
) -> None:
    """Put in the body; its method is POST and its type a form's where nothing else was said.

    Raises:
        UsageProblem: More than one kind of body is given, or the JSON is none.
    """
    if sum((bool(data), json_text is not None, bool(form or form_strings))) > 1:
        raise UsageProblem("give one of --data, --json and --form")
    names = {name.lower() for name in (*dict(wanted.headers), *wanted.without)}
    if data:
        wanted.body = b"&".join(data)
        if "content-type" not in names:
            wanted.headers.append(("Content-Type", "application/x-www-form-urlencoded"))
    elif json_text is not None:
        wanted.body = read_data(json_text)
        parse_json(wanted.body, "--json")
        if "content-type" not in names:
            wanted.headers.append(("Content-Type", "application/json"))
    elif form or form_strings:
        wanted.form = [parse_form_field(text) for text in form]
        wanted.form += [parse_form_string(text) for text in form_strings]
