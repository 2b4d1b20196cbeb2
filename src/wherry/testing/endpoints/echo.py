"""Endpoints that tell a client what it sent: /get, /post, /headers, /cookies, /upload, redirects
and statuses.
"""

from __future__ import annotations

import asyncio
import json
from email.message import Message
from email.parser import BytesParser
from typing import Any
from urllib.parse import parse_qsl

from wherry.cookies.cookie import coded_for_sending, morsel_of
from wherry.cookies.parse import unquote
from wherry.testing.asgi_framework import Answer, Request, Routes, json_answer

_MAX_DELAY = 60.0


def add_echo(routes: Routes) -> None:
    routes.add("/get", _without_body)
    for method in ("post", "put", "patch", "delete"):
        routes.add(f"/{method}", _with_body, method.upper())
    routes.add("/anything", _with_body, "GET HEAD POST PUT PATCH DELETE OPTIONS")
    routes.add("/upload", _with_body, "POST PUT")
    routes.add("/headers", _headers)
    routes.add("/cookies", _cookies)
    routes.add("/cookies/set", _set_cookies)
    routes.add("/redirect/{count:int}", _redirect)
    routes.add("/redirect-to", _redirect_to, "GET HEAD POST PUT PATCH DELETE")
    routes.add("/status/{code:int}", _status, "GET HEAD POST PUT PATCH DELETE")
    routes.add("/delay/{seconds}", _delay)


def _gathered(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """Pairs as a mapping: a name that comes again gets a list."""
    gathered: dict[str, Any] = {}
    for name, value in pairs:
        if name not in gathered:
            gathered[name] = value
        elif isinstance(gathered[name], list):
            gathered[name].append(value)
        else:
            gathered[name] = [gathered[name], value]
    return gathered


def _seen(request: Request) -> dict[str, Any]:
    client = request.scope.get("client") or ("", 0)
    return {
        "method": request.method,
        "url": request.url,
        "args": _gathered(request.query),
        "headers": _gathered(request.fields),
        "http_version": request.scope["http_version"],
        "origin": client[0],
        "port": client[1],
    }


async def _without_body(request: Request) -> Answer:
    return json_answer(_seen(request))


async def _with_body(request: Request) -> Answer:
    seen = _seen(request)
    content_type = request.field("content-type").partition(";")[0].strip().lower()
    seen |= {"data": "", "json": None, "form": {}, "files": {}, "length": len(request.body)}
    if content_type == "application/x-www-form-urlencoded":
        seen["form"] = _gathered(parse_qsl(request.body.decode("latin-1"), keep_blank_values=True))
    elif content_type.startswith("multipart/"):
        _add_parts(seen, request)
    else:
        seen["data"] = request.body.decode("utf-8", "replace")
        if content_type.endswith("json"):
            seen["json"] = json.loads(request.body)
    return json_answer(seen)


def _add_parts(seen: dict[str, Any], request: Request) -> None:
    head = f"Content-Type: {request.field('content-type')}\r\n\r\n".encode("latin-1")
    message = BytesParser().parsebytes(head + request.body)
    if not message.is_multipart():
        raise ValueError("the body is no multipart of the boundary that it names")
    for part in message.get_payload():
        if not isinstance(part, Message):
            continue
        name = str(part.get_param("name", "", "content-disposition"))
        content = part.get_payload(decode=True)
        text = content.decode("utf-8", "replace") if isinstance(content, bytes) else ""
        filename = part.get_filename()
        if filename is None:
            seen["form"][name] = text
        else:
            size = len(content) if isinstance(content, bytes) else 0
            seen["files"][name] = {
                "filename": filename,
                "content_type": part.get_content_type(),
                "length": size,
                "content": text if size < 10_000 else text[:100],
            }


async def _headers(request: Request) -> Answer:
    return json_answer({"headers": _gathered(request.fields)})


async def _cookies(request: Request) -> Answer:
    cookies: dict[str, str] = {}
    for name, value in request.fields:
        if name == "cookie":
            pairs = [part.strip(" \t").partition("=") for part in value.split(";")]
            cookies |= {key: unquote(text) for key, equals, text in pairs if equals}
    return json_answer({"cookies": cookies})


async def _set_cookies(request: Request) -> Answer:
    pairs = {
        name: coded_for_sending(morsel_of(name, value), quoting=True)
        for name, value in request.query
    }
    fields = [("set-cookie", f"{name}={value}; Path=/") for name, value in pairs.items()]
    return Answer(b"", 302, [("location", "/cookies"), *fields])


async def _redirect(request: Request, count: str) -> Answer:
    remaining = int(count) - 1
    return Answer(b"", 302, [("location", f"/redirect/{remaining}" if remaining > 0 else "/get")])


async def _redirect_to(request: Request) -> Answer:
    status = int(request.number("status_code", 302))
    if not 300 <= status <= 399:
        raise ValueError("status_code must be between 300 and 399")
    target = request.argument("url")
    if not target or not target.isprintable():
        raise ValueError("the query needs a url")
    return Answer(b"", status, [("location", target)])


async def _status(request: Request, code: str) -> Answer:
    status = int(code)
    if not 200 <= status <= 599:
        raise ValueError("a status is between 200 and 599")
    fields = [("location", "/get")] if status in (301, 302, 303, 307, 308) else []
    return Answer(b"", status, fields)


async def _delay(request: Request, seconds: str) -> Answer:
    await asyncio.sleep(min(max(float(seconds), 0.0), _MAX_DELAY))
    return json_answer(_seen(request))
