"""The names that programs import from aiohttp's package and its submodules, and what stands for
them.
"""

from __future__ import annotations

import asyncio
import importlib
import sys

import aiohttp
from aiohttp import hdrs, web
from aiohttp.abc import AbstractCookieJar, AbstractResolver
from aiohttp.client import (
    URL,
    ClientResponse,
    ClientSession,
    _RequestContextManager,
    _RequestOptions,
    _WSRequestContextManager,
)
from aiohttp.client_exceptions import ClientConnectorError, ClientError
from aiohttp.client_reqrep import ClientRequest, ContentDisposition, RequestInfo
from aiohttp.connector import Connection, TCPConnector
from aiohttp.helpers import BasicAuth, parse_mimetype, sentinel, strip_auth_from_url
from aiohttp.http import SERVER_SOFTWARE, HttpVersion11, WSMsgType
from aiohttp.http_exceptions import BadStatusLine, HttpProcessingError
from aiohttp.multipart import BodyPartReader, MultipartWriter, parse_content_disposition
from aiohttp.payload import PAYLOAD_REGISTRY, Payload, register_payload
from aiohttp.resolver import ThreadedResolver
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.tracing import TraceConfig
from aiohttp.typedefs import LooseHeaders, StrOrURL
from server import serving

SUBMODULES = [
    "abc",
    "base_protocol",
    "client",
    "client_exceptions",
    "client_middlewares",
    "client_proto",
    "client_reqrep",
    "client_ws",
    "connector",
    "cookiejar",
    "formdata",
    "hdrs",
    "helpers",
    "http",
    "http_exceptions",
    "multipart",
    "payload",
    "resolver",
    "streams",
    "tracing",
    "typedefs",
]
OURS = (
    ClientResponse, ClientSession, _RequestContextManager, _RequestOptions,
    _WSRequestContextManager, ClientConnectorError, ClientRequest, ContentDisposition, RequestInfo,
    Connection, TCPConnector, BasicAuth, BodyPartReader, MultipartWriter, parse_content_disposition,
    Payload, register_payload, ThreadedResolver, StreamReader, TraceConfig, AbstractCookieJar,
    AbstractResolver, parse_mimetype, strip_auth_from_url,
)  # fmt: skip


async def page(request: web.Request) -> web.Response:
    return web.Response(
        headers={"Content-Disposition": 'attachment; filename="a.txt"'}, text="x" * 100
    )


async def main() -> None:
    for name in SUBMODULES:
        module = importlib.import_module(f"aiohttp.{name}")
        assert getattr(aiohttp, name) is module is sys.modules[f"aiohttp.{name}"]
    assert all(each.__module__.startswith("wherry.") for each in OURS), OURS
    assert tuple(int(part) for part in aiohttp.__version__.split(".")[:2]) >= (3, 12)
    assert "wherry" in SERVER_SOFTWARE
    assert issubclass(BadStatusLine, HttpProcessingError)
    assert not issubclass(HttpProcessingError, ClientError)
    assert (hdrs.CONTENT_TYPE, HttpVersion11) == ("Content-Type", (1, 1))
    assert aiohttp.WSMsgType is web.WSMsgType is WSMsgType
    assert None not in (StrOrURL, LooseHeaders, EMPTY_PAYLOAD, PAYLOAD_REGISTRY)
    url, auth = strip_auth_from_url(URL("http://me:secret@host/"))
    assert (url, auth) == (URL("http://host/"), BasicAuth("me", "secret"))
    assert strip_auth_from_url(url) == (url, None)
    mimetype = parse_mimetype('text/html; charset="utf-8"')
    assert (mimetype.type, mimetype.subtype, mimetype.parameters["charset"]) == (
        "text",
        "html",
        "utf-8",
    )
    # A function of aiohttp's own finds our objects.
    proxy, auth = aiohttp.helpers.get_env_proxy_for_url(URL("http://elsewhere.test/"))
    assert (proxy, auth) == (URL("http://127.0.0.1:9/"), BasicAuth("a", "b"))
    async with (
        serving(web.get("/", page)) as base,
        ClientSession(auth=auth, timeout=sentinel) as session,
    ):
        asked = session.get(base)
        assert isinstance(asked, _RequestContextManager)
        async with asked as response:
            assert isinstance(response.request_info, RequestInfo)
            assert isinstance(response.content_disposition, ContentDisposition)
        async with session.request("GET", base) as response:
            assert response.connection is None or isinstance(response.connection, Connection)
    print("all there")


asyncio.run(main())
