"""Slack by slack_sdk: the asynchronous web client, a webhook, and Socket Mode."""

from __future__ import annotations

import asyncio
import json

from aiohttp import web
from server import serving
from slack_sdk.errors import SlackApiError
from slack_sdk.http_retry.builtin_async_handlers import AsyncRateLimitErrorRetryHandler
from slack_sdk.socket_mode.aiohttp import SocketModeClient
from slack_sdk.socket_mode.response import SocketModeResponse
from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.webhook.async_client import AsyncWebhookClient

seen: list[object] = []
acknowledged = asyncio.Event()


async def api(request: web.Request) -> web.Response:
    assert request.headers["Authorization"] == "Bearer xoxb"
    method = request.match_info["method"]
    if method == "conversations.list" and seen.append(method) is None and seen.count(method) == 1:
        return web.json_response(
            {"ok": False, "error": "ratelimited"}, status=429, headers={"Retry-After": "0"}
        )
    if method == "files.upload":
        form = await request.post()
        return web.json_response({"ok": True, "size": len(form["file"].file.read())})  # type: ignore[union-attr]
    if method == "users.info":
        return web.json_response({"ok": False, "error": "user_not_found"})
    given = await (request.json() if request.content_type == "application/json" else request.post())
    return web.json_response({"ok": True, "text": given.get("text"), "channels": []})


async def hook(request: web.Request) -> web.Response:
    return web.Response(text=(await request.json())["text"])


async def opened(request: web.Request) -> web.Response:
    return web.json_response({"ok": True, "url": f"ws://{request.host}/socket"})


async def socket_mode(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    await socket.send_json({"type": "hello"})
    await socket.send_json(
        {"type": "events_api", "envelope_id": "e1", "payload": {"event": "tide"}}
    )
    async for message in socket:
        seen.append(json.loads(message.data)["envelope_id"])
        acknowledged.set()
    return socket


async def main() -> None:
    routes = (
        web.post("/api/apps.connections.open", opened),
        web.post("/api/{method}", api),
        web.get("/api/{method}", api),
        web.post("/hook", hook),
        web.get("/socket", socket_mode),
    )
    async with serving(*routes) as base:
        client = AsyncWebClient(
            "xoxb", f"{base}/api/", retry_handlers=[AsyncRateLimitErrorRetryHandler()]
        )
        said = await client.chat_postMessage(channel="C1", text="ahoy")
        await client.conversations_list()
        try:
            await client.users_info(user="U1")
        except SlackApiError as error:
            refused = error.response["error"]
        sent = await client.api_call(
            "files.upload", files={"file": __file__}, data={"channels": "C1"}
        )
        echoed = await AsyncWebhookClient(f"{base}/hook").send(text="land")

        async def listen(mode: SocketModeClient, request: object) -> None:
            await mode.send_socket_mode_response(
                SocketModeResponse(envelope_id=request.envelope_id)
            )  # type: ignore[attr-defined]

        mode = SocketModeClient(
            "xapp", web_client=AsyncWebClient("xapp", f"{base}/api/"), ping_interval=5
        )
        mode.socket_mode_request_listeners.append(listen)
        await mode.connect()
        await asyncio.wait_for(acknowledged.wait(), 10)
        await mode.close()
    print(said["text"], seen, refused, sent["size"] > 1000, echoed.body)


asyncio.run(main())
