"""The embedded application: an ASGI app that answers much as httpbin does.

It only puts the endpoints together; `wherry.testing.endpoints` has what they do.
"""

from __future__ import annotations

from wherry.testing.asgi_framework import Answer, Receive, Request, Routes, Scope, Send, json_answer
from wherry.testing.endpoints.authentication import add_authentication
from wherry.testing.endpoints.bodies import add_bodies
from wherry.testing.endpoints.echo import add_echo
from wherry.testing.endpoints.events_and_websocket import add_events, serve_websocket

__all__ = ("app", "routes")


def _all_routes() -> Routes:
    routes = Routes()

    async def index(request: Request) -> Answer:
        return json_answer({"endpoints": [*routes.paths, "/ws/echo"]})

    routes.add("/", index)
    for add in (add_echo, add_bodies, add_authentication, add_events):
        add(routes)
    return routes


routes: Routes = _all_routes()


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """The ASGI application."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["type"] == "websocket":
        await serve_websocket(scope, receive, send)
    elif scope["type"] == "http":
        request = Request(scope, receive)
        answer = await routes.answer(request)
        await answer.send(send, without_body=request.method == "HEAD")
