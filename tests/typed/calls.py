"""Calls that are right, and calls that are wrong: what type checkers say of each line.

A line that ends with ``# wrong`` must be an error under mypy and under pyright, both strict; any
other line must be none.  It is never run.
"""

from __future__ import annotations

import io
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, assert_type

from multidict import CIMultiDict
from yarl import URL

import wherry
import wherry.sync
from wherry import (
    BasicAuth,
    BearerToken,
    ClientRequest,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    ClientWebSocketResponse,
    ClientWSTimeout,
    DownloadResult,
    Fingerprint,
    FormData,
    ProxyHop,
    RetryMiddleware,
    ServerSentEvent,
    TCPConnector,
    UploadTracker,
)


def writes_a_key(request: ClientRequest) -> None:
    request.headers["X-Key"] = "k"


async def writes_a_key_later(request: ClientRequest) -> ClientRequest:
    return request


async def verbs(session: ClientSession, pairs: list[tuple[str, str]]) -> None:
    assert_type(await session.get("http://a.test"), ClientResponse)
    async with session.get(URL("http://a.test"), allow_redirects=False) as response:
        assert_type(response, ClientResponse)
    await session.get("/", params={"a": 1}, headers={"X": "y"}, timeout=5)
    await session.get("/", params=[("a", "b")], headers=pairs, timeout=ClientTimeout(total=5))
    await session.get("/", params="a=b", headers=CIMultiDict(pairs), timeout=None)
    await session.get("/", auth=BasicAuth("a", "b"), cookies={"a": "b"}, max_redirects=None)
    await session.head("/", allow_redirects=True, raise_for_status=True)
    await session.options("/", middlewares=[RetryMiddleware()], read_bufsize=1024)
    await session.post("/", data={"a": "b"}, compress="gzip", expect100=True)
    await session.post("/", data=FormData(), upload_tracker=UploadTracker())
    await session.post("/", json={"a": [1, None]}, chunked=True)
    await session.put("/", data={"c": "d"}, files={"a": b"content"})
    await session.patch("/", files=[("a", ("name", b"content", "text/plain"))])
    await session.post("/", files={"a": io.BytesIO(b"x")})
    await session.delete("/", json=[], allow_redirects=False)
    await session.request("QUERY", "/", data=b"", allow_redirects=False)
    await session.get("/", ssl=False)
    await session.get("/", ssl=ssl.create_default_context(), server_hostname="a.test")
    await session.get("/", ssl=Fingerprint(b"x" * 32))
    await session.get("/", proxy="http://p.test", proxy_auth=BasicAuth("a", "b"))
    await session.get("/", proxy=["socks5://a.test", ("http://b.test", BasicAuth("a", "b"))])
    await session.get("/", proxy=ProxyHop("http", "p.test", 80), proxy_headers={"X": "y"})

    await session.get("/", proxy={"https://": "http://p.test", "all://*.corp.test": None})
    await session.get("/", proxy=lambda url: None if url.host == "a.test" else "http://p.test")
    await session.get("/", auth=writes_a_key)
    await session.get("/", auth=writes_a_key_later)
    await session.get("/", auth=BearerToken("t"))

    await session.get("/", timeuot=5)  # wrong
    await session.get("/", timeout="5")  # wrong
    await session.get("/", headers={"X": 5})  # wrong
    await session.get("/", headers="X: 5")  # wrong
    await session.get("/", params=5)  # wrong
    await session.get("/", auth=("a", "b"))  # wrong
    await session.get("/", auth=BearerToken)  # wrong
    await session.get("/", auth="Bearer t")  # wrong
    await session.get("/", allow_redirects="no")  # wrong
    await session.get("/", verify=False)  # wrong
    await session.get("/", proxies={"http": "http://p.test"})  # wrong
    await session.get("/", ssl="no")  # wrong
    await session.get("/", proxy=5)  # wrong
    await session.get("/", max_redirects="3")  # wrong
    await session.get("/", middlewares=RetryMiddleware)  # wrong
    await session.get("/", middlewares=[RetryMiddleware])  # wrong
    await session.get(5)  # wrong
    await session.get("/", "data")  # wrong
    await session.head("/", body=b"x")  # wrong
    await session.options("/", cookies=5)  # wrong
    await session.post("/", b"data")  # wrong
    await session.post("/", content=b"x")  # wrong
    await session.post("/", files=5)  # wrong
    await session.post("/", files={"a": 5})  # wrong
    await session.put("/", jsn={})  # wrong
    await session.patch("/", compress=5)  # wrong
    await session.delete("/", timeout=[])  # wrong
    await session.request("GET")  # wrong
    await session.request("GET", "/", follow_redirects=True)  # wrong
    await session.request("GET", "/", upload_tracker=5)  # wrong
    with session.get("/"):  # wrong
        pass
    _ = session.get("/").status_code  # wrong


async def responses(response: ClientResponse) -> None:
    assert_type(response.status, int)
    assert_type(response.url, URL)
    assert_type(await response.read(), bytes)
    assert_type(await response.text(), str)
    assert_type(response.raise_for_status(), ClientResponse)
    assert_type([piece async for piece in response.content.iter_chunked(1024)], list[bytes])
    assert_type(await response.download(Path("a"), digest="sha256:0"), DownloadResult)
    _ = response.status_code  # wrong
    response.iter_content()  # wrong
    response.text.upper()  # wrong
    await response.download(5)  # wrong


async def websockets(session: ClientSession) -> None:
    websocket = await session.ws_connect("ws://a.test", heartbeat=5, protocols=("a",))
    assert_type(websocket, ClientWebSocketResponse)
    async with session.ws_connect("/", timeout=ClientWSTimeout(ws_receive=5)) as other:
        assert_type(other, ClientWebSocketResponse)
    await session.ws_connect("/", headers={"X": "y"}, proxy="socks5://p.test", ssl=False)
    await session.ws_connect("/", heartbeat="5")  # wrong
    await session.ws_connect("/", max_size=5)  # wrong
    await session.ws_connect("/", headers={"X": 5})  # wrong
    await session.ws_connect("/", proxy=5)  # wrong
    await websocket.send_str(b"x")  # wrong
    await websocket.send_bytes("x")  # wrong


async def events(session: ClientSession) -> AsyncIterator[ServerSentEvent]:
    async with session.events("/", method="POST", json={}, reconnect=None) as source:
        async for event in source:
            assert_type(event, ServerSentEvent)
            yield event
    session.events("/", last_event_id="1", max_reconnects=5, timeout=ClientTimeout(sock_read=5))
    session.events("/", reconect=5)  # wrong
    session.events("/", max_event_size="1")  # wrong
    session.events("/", headers={"X": 5})  # wrong


async def downloads(session: ClientSession) -> None:
    done = await session.download("/", "file", resume=True, connections=4, headers={"X": "y"})
    assert_type(done, DownloadResult)
    await session.download("/", Path("file"), progress=lambda size, total: None, timeout=5)
    await session.download("/")  # wrong
    await session.download("/", "file", resum=True)  # wrong
    await session.download("/", "file", connections="4")  # wrong
    await session.download("/", "file", timeout="5")  # wrong
    await session.download("/", "file", progress=5)  # wrong


async def once() -> Any:
    async with wherry.request("GET", "http://a.test", params={"a": "b"}, timeout=5) as response:
        assert_type(response, ClientResponse)
    wherry.request("GET", "/", timeuot=5)  # wrong
    wherry.request("GET", "/", headers={"X": 5})  # wrong
    wherry.request("GET", "/", connector=5)  # wrong
    return await response.json()


def scripts() -> None:
    assert_type(wherry.sync.get("http://a.test", params={"a": 1}), wherry.sync.Response)
    with wherry.sync.Session(headers={"X": "y"}, timeout=ClientTimeout(total=5)) as session:
        with session.get("/", stream=True, timeout=5) as response:
            assert_type(response.status, int)
            assert_type(response.text(), str)
            assert_type(response.read(), bytes)
            assert_type(response.raise_for_status().json(), Any)
            assert_type(list(response.content.iter_chunked(1024)), list[bytes])
            assert_type(response.history, tuple[wherry.sync.Response, ...])
        assert_type(session.download("/", "file", resume=True), DownloadResult)
        with session.ws_connect("/", heartbeat=5) as websocket:
            assert_type(websocket.receive_bytes(), bytes)
        for event in session.events("/", reconnect=None):
            assert_type(event, ServerSentEvent)
        session.get("/", timeuot=5)  # wrong
        session.get("/", headers={"X": 5})  # wrong
        session.post("/", content=b"x")  # wrong
        session.download("/", "file", resum=True)  # wrong
        session.ws_connect("/", max_size=5)  # wrong
    wherry.sync.get("/", timeout="5")  # wrong
    wherry.sync.post("/", b"data")  # wrong
    wherry.sync.Session(proxy=5)  # wrong
    wherry.sync.Session(connector=TCPConnector())  # wrong


def sessions() -> None:
    ClientSession("http://a.test/", headers={"X": "y"}, timeout=ClientTimeout(total=5))
    ClientSession(connector=TCPConnector(ssl=False, limit=5), middlewares=[RetryMiddleware()])
    ClientSession(proxy="socks5://p.test", proxy_ssl=False, raise_for_status=True)
    ClientSession(proxy=5)  # wrong
    ClientSession(timeout="5")  # wrong
    ClientSession(headers={"X": 5})  # wrong
    ClientSession(verify=False)  # wrong
    ClientSession(auth=writes_a_key)
    ClientSession(auth=("a", "b"))  # wrong
    ClientSession(middlewares=[RetryMiddleware])  # wrong
    ClientSession(connector=TCPConnector)  # wrong
    ClientSession(base_url=5)  # wrong
    TCPConnector(ssl="no")  # wrong
    TCPConnector(limit_per_hst=5)  # wrong
    ClientTimeout(total="5")  # wrong
    ClientTimeout(totl=5)  # wrong


async def newcomers(session: ClientSession, response: ClientResponse) -> None:
    """What comes from requests, httpx and aiohttp by habit."""
    await session.get("/", ssl="/etc/ca.pem")  # wrong
    await session.get("/", raise_for_status="yes")  # wrong
    await session.get("/", headers={"X": None})  # wrong
    await session.get("/", proxy_auth=("a", "b"))  # wrong
    await session.get("/", timeout=(3, 5))  # wrong
    await session.get("/", priority=None, priorty=1)  # wrong
    session.headers = {"X": "y"}  # wrong
    session.timeout = 5  # wrong
    session.retries = 3  # wrong
    response.encoding = "latin-1"  # wrong
    response.json()["a"]  # wrong
    len(response.content)  # wrong
    await response.text("utf-8", "strict", "more")  # wrong
    for _ in response.content:  # wrong
        pass
    _ = response.headers["X"] + 1  # wrong
    reply = wherry.sync.get("/")
    await reply  # wrong
    async with wherry.sync.Session():  # wrong
        pass
    reply.content.decode()  # wrong
    reply.text.upper()  # wrong
    ClientSession(trace_configs=[wherry.TraceConfig])  # wrong
    ClientSession(retries="3")  # wrong
    ClientSession(connector="http://p.test")  # wrong
    TCPConnector(verify=False)  # wrong
    TCPConnector(limit="5")  # wrong
