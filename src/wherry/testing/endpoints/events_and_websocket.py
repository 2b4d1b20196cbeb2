"""Endpoints that go on for longer than one answer: server-sent events, and WebSockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from wherry.testing.asgi_framework import Answer, Receive, Request, Routes, Scope, Send

_MAX_EVENTS = 10_000


def add_events(routes: Routes) -> None:
    routes.add("/sse", _events)


async def _events(request: Request) -> Answer:
    """`count` events, `pause` seconds apart, the first behind Last-Event-ID."""
    count = min(int(request.number("count", 3)), _MAX_EVENTS)
    pause = min(request.number("pause", 0.0), 10.0)
    first = int(request.field("last-event-id", "-1")) + 1

    async def each() -> AsyncIterator[bytes]:
        for number in range(first, first + count):
            yield f"id: {number}\nevent: tick\ndata: event {number}\n\n".encode()
            await asyncio.sleep(pause)

    return Answer(
        each(), 200, [("content-type", "text/event-stream"), ("cache-control", "no-store")]
    )


async def serve_websocket(scope: Scope, receive: Receive, send: Send) -> None:
    """/ws/echo sends back what it gets; the first subprotocol that is offered is taken."""
    await receive()
    if scope["path"] != "/ws/echo":
        await send({"type": "websocket.close", "code": 4404})
        return
    offered = scope.get("subprotocols") or [None]
    await send({"type": "websocket.accept", "subprotocol": offered[0]})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        if message.get("text") is not None:
            if message["text"] == "close":
                await send({"type": "websocket.close", "code": 1000, "reason": "asked for"})
                return
            await send({"type": "websocket.send", "text": message["text"]})
        else:
            await send({"type": "websocket.send", "bytes": message["bytes"]})
