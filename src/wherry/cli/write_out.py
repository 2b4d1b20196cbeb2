"""What ``-w FORMAT`` prints when a request is done, in curl's words.

Variables that are not known here print nothing, as an unknown one does with curl.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Final

from yarl import URL

import wherry
from wherry.cli import show
from wherry.cli.argument_values import RequestArguments

_VARIABLE: Final = re.compile(r"%(?:%|\{([a-z0-9_]+)\}|header\{([^}]*)\})")
_ESCAPES: Final = {"\\n": "\n", "\\r": "\r", "\\t": "\t"}


def _http_version(response: wherry.ClientResponse) -> str:
    version = response.version
    if version is None:
        return "0"
    return f"{version.major}" if version.major > 1 else f"{version.major}.{version.minor}"


def _redirect(response: wherry.ClientResponse) -> str:
    """Where a redirect leads to that was not followed."""
    place = response.headers.get("Location")
    if place is None or response.status // 100 != 3:
        return ""
    try:
        return str(response.url.join(URL(place, encoded=True)))
    except ValueError:
        return place


_VALUES: Final[dict[str, Callable[[wherry.ClientResponse, show.Seconds, int], Any]]] = {
    "http_code": lambda response, seconds, size: f"{response.status:03}",
    "response_code": lambda response, seconds, size: f"{response.status:03}",
    "http_version": lambda response, seconds, size: _http_version(response),
    "method": lambda response, seconds, size: response.method,
    "url_effective": lambda response, seconds, size: response.url,
    "url": lambda response, seconds, size: (response.history or (response,))[0].url,
    "scheme": lambda response, seconds, size: response.url.scheme,
    "content_type": lambda response, seconds, size: response.headers.get("Content-Type", ""),
    "num_redirects": lambda response, seconds, size: len(response.history),
    "redirect_url": lambda response, seconds, size: _redirect(response),
    "size_download": lambda response, seconds, size: size,
    "speed_download": lambda response, seconds, size: int(size / (seconds["total"] or 1)),
    "time_namelookup": lambda response, seconds, size: _until(seconds, "dns"),
    "time_connect": lambda response, seconds, size: _until(seconds, "dns", "connect"),
    "time_appconnect": lambda response, seconds, size: _until(seconds, "dns", "connect", "tls"),
    "time_starttransfer": lambda response, seconds, size: _until(seconds, "first byte"),
    "time_total": lambda response, seconds, size: _until(seconds, "total"),
    "exitcode": lambda response, seconds, size: 0,
    "errormsg": lambda response, seconds, size: "",
}


def _until(seconds: show.Seconds, *steps: str) -> str:
    return f"{sum(seconds.get(step) or 0.0 for step in steps):.6f}"


def written_out(
    text: str, response: wherry.ClientResponse, seconds: show.Seconds, size: int
) -> str:
    """The format with its variables filled in.

    Args:
        text: curl's format: ``%{http_code}``, ``%header{name}``, ``%%``, ``\\n``.
        response: The last response.
        seconds: How long each step took.
        size: Bytes of the body that came.
    """

    def value(found: re.Match[str]) -> str:
        name, header = found.groups()
        if header is not None:
            return response.headers.get(header, "")
        if name is None:
            return "%"
        if name == "json":
            told = {each: str(get(response, seconds, size)) for each, get in _VALUES.items()}
            return json.dumps(told)
        if name == "header_json":
            fields: dict[str, list[str]] = {}
            for each, content in response.headers.items():
                fields.setdefault(each.lower(), []).append(content)
            return json.dumps(fields)
        known = _VALUES.get(name)
        return "" if known is None else str(known(response, seconds, size))

    return _filled(text, value)


def written_for_nothing(text: str, wanted: RequestArguments, took: float, why: str) -> str:
    """The same where there is no response: curl's 000.

    Args:
        text: curl's format.
        wanted: The request.
        took: Seconds until it had failed.
        why: What went wrong.
    """
    known = {
        "http_code": "000",
        "response_code": "000",
        "http_version": "0",
        "method": wanted.method,
        "url": str(wanted.url),
        "url_effective": str(wanted.url),
        "scheme": wanted.url.scheme,
        "num_redirects": "0",
        "size_download": "0",
        "speed_download": "0",
        "time_total": f"{took:.6f}",
        "exitcode": "1",
        "errormsg": why,
    }

    def value(found: re.Match[str]) -> str:
        name, header = found.groups()
        if name == "json":
            return json.dumps(known)
        if name is None and header is None:
            return "%"
        return known.get(name or "", "0.000000" if (name or "").startswith("time_") else "")

    return _filled(text, value)


def _filled(text: str, value: Callable[[re.Match[str]], str]) -> str:
    text = re.sub(r"\\[nrt]", lambda found: _ESCAPES[found[0]], text)
    return _VARIABLE.sub(value, text)
