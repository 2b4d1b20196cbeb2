"""A bot by discord.py: its WebSocket class derives from aiohttp's, its gateway is compressed as one
stream.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import zlib
from collections.abc import Callable
from typing import Any

import discord
from aiohttp import web
from discord.gateway import DiscordWebSocket
from discord.http import Route
from server import serving
from yarl import URL

ME = {"id": "1", "username": "barge", "discriminator": "0", "avatar": None, "bot": True, "flags": 0}
OTHER = {"id": "2", "username": "pilot", "discriminator": "0", "avatar": None}
APPLICATION = {
    "id": "1", "name": "barge", "description": "", "icon": None, "rpc_origins": [], "bot_public": True, "flags": 0,
    "bot_require_code_grant": False, "owner": OTHER, "verify_key": "",
}  # fmt: skip
MESSAGE = {
    "id": "8", "channel_id": "5", "content": "ahoy", "author": OTHER, "attachments": [], "embeds": [], "mentions": [],
    "mention_roles": [], "mention_everyone": False, "pinned": False, "tts": False, "type": 0,
    "timestamp": "2026-01-01T00:00:00+00:00", "edited_timestamp": None,
}  # fmt: skip
posted: list[Any] = []


def answer(data: Any) -> web.Response:
    return web.Response(
        body=json.dumps(data).encode(), headers={"Content-Type": "application/json"}
    )


async def api(request: web.Request) -> web.Response:
    assert request.headers["Authorization"] == "Bot token"
    path = request.match_info["path"]
    if path == "gateway/bot":
        limit = {"total": 1, "remaining": 1, "reset_after": 1, "max_concurrency": 1}
        return answer({"url": f"ws://{request.host}/ws", "shards": 1, "session_start_limit": limit})
    if path == "channels/5/messages":
        form = await request.post()
        posted.append(json.loads(str(form["payload_json"]))["content"])
        posted.append(form["files[0]"].file.read())  # type: ignore[union-attr]
        return answer(MESSAGE)
    return answer({"users/@me": ME, "oauth2/applications/@me": APPLICATION}[path])


def compressor(kind: str) -> Callable[[bytes], bytes]:
    """One stream for the whole connection, flushed after each message; where it can, discord.py
    asks for zstd.
    """
    if kind == "zstd-stream":
        zstd = importlib.import_module(
            "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
        )
        packer = zstd.ZstdCompressor()
        return lambda data: packer.compress(data, packer.FLUSH_BLOCK)
    assert kind == "zlib-stream"
    stream = zlib.compressobj()
    return lambda data: stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH)


async def gateway(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    compressed = compressor(request.query["compress"])

    async def send(message: dict[str, Any]) -> None:
        await socket.send_bytes(compressed(json.dumps(message).encode()))

    await send({"op": 10, "d": {"heartbeat_interval": 40000}})
    async for message in socket:
        if json.loads(message.data)["op"] == 2:
            url = f"ws://{request.host}/ws"
            ready = {
                "v": 10,
                "user": ME,
                "guilds": [],
                "session_id": "s",
                "resume_gateway_url": url,
            }
            await send(
                {
                    "op": 0,
                    "t": "READY",
                    "s": 1,
                    "d": ready | {"application": {"id": "1", "flags": 0}},
                }
            )
            await send({"op": 0, "t": "MESSAGE_CREATE", "s": 2, "d": MESSAGE})
    return socket


class Bot(discord.Client):
    async def on_message(self, message: discord.Message) -> None:
        posted.append(message.content)
        await message.channel.send("pong", file=discord.File(__file__, "bot.py"))
        await self.close()


async def main() -> None:
    async with serving(
        web.route("*", "/api/{path:.*}", api), web.get("/ws{_:/?}", gateway)
    ) as base:
        Route.BASE = f"{base}/api"
        DiscordWebSocket.DEFAULT_GATEWAY = URL(base.replace("http:", "ws:") + "/ws")
        bot = Bot(intents=discord.Intents.all())
        await asyncio.wait_for(bot.start("token"), 20)
    print(posted[:2], len(posted[2]) > 1000)


asyncio.run(main())
