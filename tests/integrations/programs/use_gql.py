"""GraphQL by gql: queries over HTTP, subscriptions over a WebSocket and over multipart/mixed."""

from __future__ import annotations

import asyncio
import json

from aiohttp import web
from gql import Client, FileVar, gql
from gql.transport.aiohttp import AIOHTTPTransport
from gql.transport.aiohttp_websockets import AIOHTTPWebsocketsTransport
from gql.transport.exceptions import TransportQueryError
from server import serving


async def answer(request: web.Request) -> web.StreamResponse:
    if "multipart/mixed" in request.headers.get("Accept", ""):
        return await in_parts(request)
    if request.content_type == "multipart/form-data":
        form = await request.post()
        file = form["0"].file.read()  # type: ignore[union-attr]
        return web.json_response({"data": {"size": len(file), "name": form["0"].filename}})  # type: ignore[union-attr]
    asked = await request.json()
    if "wrong" in asked["query"]:
        return web.json_response({"errors": [{"message": "no such port"}]})
    return web.json_response({"data": {"port": asked["variables"]["name"].upper()}})


async def in_parts(request: web.Request) -> web.StreamResponse:
    """As the multipart subscription protocol has it: heartbeats, and results under `payload`."""
    answer = web.StreamResponse(
        headers={"Content-Type": "multipart/mixed;boundary=graphql;subscriptionSpec=1.0"}
    )
    await answer.prepare(request)
    await answer.write(b"--graphql\r\nContent-Type: application/json\r\n\r\n{}\r\n")
    for tide in (4, 5):
        part = json.dumps({"payload": {"data": {"tide": tide}}}).encode()
        await answer.write(b"--graphql\r\nContent-Type: application/json\r\n\r\n" + part + b"\r\n")
    await answer.write(b"--graphql--\r\n")
    return answer


async def subscribe(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(protocols=["graphql-transport-ws"])
    await socket.prepare(request)
    async for message in socket:
        told = json.loads(message.data)
        if told["type"] == "connection_init":
            await socket.send_json({"type": "connection_ack"})
        elif told["type"] == "subscribe":
            for tide in (1, 2, 3):
                await socket.send_json(
                    {"type": "next", "id": told["id"], "payload": {"data": {"tide": tide}}}
                )
            await socket.send_json({"type": "complete", "id": told["id"]})
    return socket


async def main() -> None:
    async with serving(web.post("/graphql", answer), web.get("/graphql", subscribe)) as base:
        asked = gql("query ($name: String) { port(name: $name) }")
        async with Client(transport=AIOHTTPTransport(f"{base}/graphql")) as session:
            asked.variable_values = {"name": "brest"}
            found = await session.execute(asked)
            try:
                await session.execute(gql("{ wrong }"))
            except TransportQueryError as error:
                message = error.errors[0]["message"]
            sent = gql("mutation ($file: Upload!) { size(file: $file) }")
            sent.variable_values = {"file": FileVar(__file__)}
            stored = await session.execute(sent, upload_files=True)
            parts = [
                result["tide"] async for result in session.subscribe(gql("subscription { tide }"))
            ]
        tides = []
        async with Client(transport=AIOHTTPWebsocketsTransport(f"{base}/graphql")) as session:
            async for result in session.subscribe(gql("subscription { tide }")):
                tides.append(result["tide"])
    print(found["port"], message, stored["size"] > 1000, tides, parts)


asyncio.run(main())
