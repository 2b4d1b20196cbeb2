"""Exchanges as HAR 1.2, the form that browsers' developer tools read and write."""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import wherry
from wherry.cli import show
from wherry.cli.argument_values import RequestArguments
from wherry.private_files import write_private


class Recorder:
    """Gathers exchanges, and writes them to a file.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: list[dict[str, Any]] = []

    def add(
        self,
        wanted: RequestArguments,
        response: wherry.ClientResponse,
        body: bytes | None,
        seconds: dict[str, float | None],
    ) -> None:
        """Add a response, and the redirects that led to it; a body of None was too large to
        keep.
        """
        began = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=seconds.get("total") or 0.0)
        chain = [*response.history, response]
        for step in chain:
            last = step is response
            self.entries.append(
                {
                    "startedDateTime": began.isoformat(),
                    "time": _milliseconds(seconds.get("total")) if last else 0,
                    "request": _request(wanted, step),
                    "response": _response(step, body if last else b""),
                    "cache": {},
                    "timings": _timings(seconds if last else {}),
                }
            )

    def write(self) -> None:
        log = {
            "version": "1.2",
            "creator": {"name": "wherry", "version": wherry.__version__},
            "entries": self.entries,
        }
        write_private(self.path, (json.dumps({"log": log}, indent=2) + "\n").encode())


def _milliseconds(seconds: float | None) -> float:
    # HAR 1.2: -1 stands for a step that did not happen.
    return -1 if seconds is None else round(seconds * 1000, 3)


def _timings(seconds: dict[str, float | None]) -> dict[str, float]:
    total, first = seconds.get("total") or 0.0, seconds.get("first byte") or 0.0
    return {
        "blocked": _milliseconds(seconds.get("queued")),
        "dns": _milliseconds(seconds.get("dns")),
        "connect": _milliseconds(seconds.get("connect")),
        "ssl": _milliseconds(seconds.get("tls")),
        "send": 0,
        "wait": _milliseconds(first),
        "receive": _milliseconds(max(total - first, 0.0)),
    }


def _pairs(pairs: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in pairs]


def _version(response: wherry.ClientResponse) -> str:
    version = response.version
    return "HTTP/1.1" if version is None else f"HTTP/{version.major}.{version.minor}"


def _request(wanted: RequestArguments, response: wherry.ClientResponse) -> dict[str, Any]:
    url = response.request_info.url
    request: dict[str, Any] = {
        "method": response.method,
        "url": str(url),
        "httpVersion": _version(response),
        "cookies": [],
        "headers": _pairs(response.request_info.headers.items()),
        "queryString": _pairs(url.query.items()),
        "headersSize": -1,
        "bodySize": len(wanted.body)
        if wanted.body is not None and response.method == wanted.method
        else -1,
    }
    if wanted.body is not None and response.method == wanted.method:
        kind = response.request_info.headers.get("Content-Type", "application/octet-stream")
        request["postData"] = {"mimeType": kind, "text": wanted.body.decode("utf-8", "replace")}
    return request


def _response(response: wherry.ClientResponse, body: bytes | None) -> dict[str, Any]:
    content: dict[str, Any] = {
        "size": -1 if body is None else len(body),
        "mimeType": response.headers.get("Content-Type", "application/octet-stream"),
    }
    if body is None:
        content["comment"] = "the body was too large to be recorded"
        body = b""
    try:
        content["text"] = body.decode(show.encoding_of(response))
    except UnicodeDecodeError:
        content |= {"text": base64.b64encode(body).decode(), "encoding": "base64"}
    return {
        "status": response.status,
        "statusText": response.reason or "",
        "httpVersion": _version(response),
        "cookies": _pairs((name, morsel.value) for name, morsel in response.cookies.items()),
        "headers": _pairs(response.headers.items()),
        "content": content,
        "redirectURL": response.headers.get("Location", ""),
        "headersSize": -1,
        "bodySize": -1,
    }
