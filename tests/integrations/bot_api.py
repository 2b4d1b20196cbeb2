"""A Bot API server of ours on loopback: enough of Telegram's for a Bot and a Dispatcher, and every
error.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web
from tests.servers.application import serving

TOKEN = "42:TEST"
BOT = {"id": 42, "is_bot": True, "first_name": "Wherry", "username": "wherry_bot"}

# chat id -> (status, body): what sendMessage to that chat is answered with.
ERRORS: dict[int, tuple[int, dict[str, Any]]] = {
    400: (400, {"ok": False, "error_code": 400, "description": "Bad Request: chat not found"}),
    401: (401, {"ok": False, "error_code": 401, "description": "Unauthorized"}),
    403: (
        403,
        {"ok": False, "error_code": 403, "description": "Forbidden: bot was blocked by the user"},
    ),
    404: (404, {"ok": False, "error_code": 404, "description": "Not Found"}),
    409: (
        409,
        {
            "ok": False,
            "error_code": 409,
            "description": "Conflict: terminated by other getUpdates request",
        },
    ),
    413: (413, {"ok": False, "error_code": 413, "description": "Request Entity Too Large"}),
    418: (418, {"ok": False, "error_code": 418, "description": "I'm a teapot"}),
    429: (
        429,
        {
            "ok": False,
            "error_code": 429,
            "description": "Too Many Requests",
            "parameters": {"retry_after": 17},
        },
    ),
    430: (
        400,
        {
            "ok": False,
            "error_code": 400,
            "description": "migrated",
            "parameters": {"migrate_to_chat_id": -1001},
        },
    ),
    500: (500, {"ok": False, "error_code": 500, "description": "Internal Server Error: restart"}),
    502: (502, {"ok": False, "error_code": 502, "description": "Bad Gateway"}),
}


class BotApi:
    """The server; `updates` are given out by getUpdates, and what arrives is kept."""

    def __init__(self) -> None:
        self.plain_port = 0
        self.tls_port = 0
        self.updates: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.calls: list[tuple[str, dict[str, str]]] = []
        self.files: dict[str, tuple[str, bytes]] = {}
        self.agents: set[str] = set()
        self.polling = asyncio.Event()

    def base(self, scheme: str) -> str:
        return f"{scheme}://127.0.0.1:{self.tls_port if scheme == 'https' else self.plain_port}"

    async def method(self, request: web.Request) -> web.StreamResponse:
        self.agents.add(request.headers["User-Agent"])
        assert "Proxy-Authorization" not in request.headers
        fields: dict[str, str] = {}
        if request.content_type == "multipart/form-data":
            async for part in await request.multipart():
                data = bytes(await part.read(decode=False))
                if part.filename is None:
                    fields[part.name] = data.decode()
                else:
                    self.files[part.name] = (part.filename, data)
        elif request.can_read_body:
            fields = {name: str(value) for name, value in (await request.post()).items()}
        name = request.match_info["method"]
        self.calls.append((name, fields))
        answer = getattr(self, f"answer_{name}", None)
        if answer is None:
            return web.json_response({"ok": True, "result": True})
        return await answer(request, fields)

    async def answer_getMe(self, request: web.Request, fields: dict[str, str]) -> web.Response:  # noqa: N802
        return web.json_response({"ok": True, "result": BOT})

    def message(self, chat_id: int, **more: Any) -> web.Response:
        result = {
            "message_id": len(self.calls),
            "date": 0,
            "chat": {"id": chat_id, "type": "private"},
            **more,
        }
        return web.json_response({"ok": True, "result": result})

    async def answer_sendMessage(  # noqa: N802
        self, request: web.Request, fields: dict[str, str]
    ) -> web.StreamResponse:
        chat_id = int(fields["chat_id"])
        if chat_id in ERRORS:
            status, body = ERRORS[chat_id]
            return web.json_response(body, status=status)
        if chat_id == 600:
            return web.Response(text="<html>not json</html>")
        if chat_id == 601:
            return web.json_response({"ok": True, "result": {"strange": 1}})
        if chat_id == 602:
            request.transport.abort()  # type: ignore[union-attr]
        if chat_id == 603:
            await asyncio.Event().wait()
        return self.message(chat_id, text=fields["text"])

    async def answer_sendDocument(  # noqa: N802
        self, request: web.Request, fields: dict[str, str]
    ) -> web.Response:
        key = fields["document"].removeprefix("attach://")
        name, data = self.files[key]
        document = {
            "file_id": key,
            "file_unique_id": key,
            "file_name": name,
            "file_size": len(data),
        }
        return self.message(
            int(fields["chat_id"]), document=document, caption=fields.get("caption")
        )

    async def answer_getFile(self, request: web.Request, fields: dict[str, str]) -> web.Response:  # noqa: N802
        key = fields["file_id"]
        return web.json_response(
            {
                "ok": True,
                "result": {"file_id": key, "file_unique_id": key, "file_path": f"documents/{key}"},
            }
        )

    async def answer_getUpdates(self, request: web.Request, fields: dict[str, str]) -> web.Response:  # noqa: N802
        self.polling.set()
        result = []
        with contextlib.suppress(TimeoutError):
            result = [
                await asyncio.wait_for(self.updates.get(), float(fields.get("timeout", 0)) or 0.001)
            ]
        return web.json_response({"ok": True, "result": result})

    async def file(self, request: web.Request) -> web.Response:
        stored = self.files.get(request.match_info["key"])
        if stored is None:
            return web.Response(status=404)
        return web.Response(body=stored[1])


@contextlib.asynccontextmanager
async def bot_api(context: ssl.SSLContext) -> AsyncIterator[BotApi]:
    """The server, in the clear and over TLS, while the block runs."""
    api = BotApi()
    app = web.Application(client_max_size=2**26)
    app.router.add_route("*", f"/bot{TOKEN}/{{method}}", api.method)
    app.router.add_get(f"/file/bot{TOKEN}/documents/{{key}}", api.file)
    async with serving(app, context, shutdown_timeout=0.1, access_log=None) as ports:
        api.plain_port, api.tls_port = ports
        yield api
