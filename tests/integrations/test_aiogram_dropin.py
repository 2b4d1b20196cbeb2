"""aiogram's own session, unchanged, in drop-in mode: what carries its requests is wherry."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.integrations.bot_api import TOKEN, BotApi, bot_api
from tests.left_out import needs
from tests.servers.pki import Pki
from tests.servers.proxies import ProxyFarm

import wherry

needs("aiogram")

BOT = """
import asyncio, json, sys

import aiohttp
from aiogram import Bot
from aiogram.client.session.aiohttp import AiohttpSession, BasicAuth
from aiogram.client.telegram import TelegramAPIServer
from aiogram.types import BufferedInputFile

token, base, written = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
chain = [(hop[0], BasicAuth(login=hop[1], password=hop[2])) if isinstance(hop, list) else hop for hop in written]

async def main():
    if chain:
        bot = Bot(token, session=AiohttpSession(proxy=chain if len(chain) > 1 else chain[0]))
    else:
        bot = Bot(token)
    assert type(bot.session) is AiohttpSession
    bot.session.api = TelegramAPIServer.from_base(base)
    async with bot:
        me = await bot.get_me()
        message = await bot.send_document(5, BufferedInputFile(b"cargo" * 1000, "a.txt"))
        print(me.username, message.document.file_name, aiohttp.ClientSession.__module__.partition(".")[0])

asyncio.run(main())
"""


async def _run_bot(folder: Path, api: BotApi, chain: list[Any]) -> str:
    program = folder / "bot.py"
    program.write_text(BOT)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "wherry.dropin",
        str(program),
        TOKEN,
        api.base("http"),
        json.dumps(chain),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(wherry.__file__).parents[1])},
    )
    out, err = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0, err.decode()
    return out.decode().strip()


async def test_a_bot_without_a_session_uses_aiograms_own(pki: Pki, tmp_path: Path) -> None:
    """S000-02"""
    async with bot_api(pki.server) as api:
        assert await _run_bot(tmp_path, api, []) == "wherry_bot a.txt wherry"
        assert list(api.files.values()) == [("a.txt", b"cargo" * 1000)]


@pytest.mark.parametrize("kind", ["one", "chain"])
async def test_aiograms_own_session_tunnels_through_http_proxies(
    proxies: ProxyFarm, pki: Pki, tmp_path: Path, kind: str
) -> None:
    """S000-04, S000-10: to a plain server too."""
    first, last = proxies.microsocks_auth, proxies.squid_auth
    assert last.credentials is not None
    hops: list[Any] = [first.url_with(first.credentials), [last.url, *last.credentials]]
    async with bot_api(pki.server) as api:
        chain = hops if kind == "chain" else hops[1:]
        assert await _run_bot(tmp_path, api, chain) == "wherry_bot a.txt wherry"
        last.assert_logs(f"CONNECT 127.0.0.1:{api.plain_port}")


@pytest.mark.parametrize("kind", ["one", "chain"])
async def test_aiograms_own_session_with_proxies(
    proxies: ProxyFarm, pki: Pki, tmp_path: Path, kind: str
) -> None:
    """S000-21"""
    first, second = proxies.microsocks_auth, proxies.get("dante_auth", "socks5")
    assert first.credentials is not None
    assert second.credentials is not None
    chain: list[Any] = [first.url_with(first.credentials), [second.url, *second.credentials]]
    async with bot_api(pki.server) as api:
        assert (
            await _run_bot(tmp_path, api, chain if kind == "chain" else chain[1:])
            == "wherry_bot a.txt wherry"
        )
        second.assert_logs(str(api.plain_port))
        if kind == "chain":
            first.assert_logs(str(second.port))
