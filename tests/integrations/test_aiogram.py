"""The real aiogram over wherry, against a Bot API server of ours, directly and through real
proxies.
"""

# ruff: noqa: E402
from __future__ import annotations

from tests.left_out import needs

needs("aiogram")

import asyncio
import io
import os
import ssl
import warnings
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import uvloop
from aiogram import Bot, Dispatcher, exceptions
from aiogram.client.telegram import TelegramAPIServer
from aiogram.methods import GetMe
from aiogram.types import BufferedInputFile, FSInputFile, Message, URLInputFile
from tests.integrations.bot_api import TOKEN, BotApi, bot_api
from tests.servers.pki import Pki
from tests.servers.proxies import ProxyFarm

import wherry
from wherry.integrations.aiogram import BasicAuth, WherrySession


@asynccontextmanager
async def running(
    pki: Pki, scheme: str = "https", **options: Any
) -> AsyncIterator[tuple[BotApi, Bot, WherrySession]]:
    """A Bot on a `WherrySession`, and the server that it talks to."""
    async with bot_api(pki.server) as api:
        session = WherrySession(
            api=TelegramAPIServer.from_base(api.base(scheme)), ssl=pki.client(), **options
        )
        async with Bot(TOKEN, session=session) as bot:
            yield api, bot, session


async def test_get_me_and_messages(pki: Pki) -> None:
    """S000-01, S000-03"""
    async with running(pki) as (api, bot, _):
        me = await bot.get_me()
        assert me.username == "wherry_bot"
        sent = await bot.send_message(7, 'héllo\n"quoted" & more')
        assert (sent.chat.id, sent.text) == (7, 'héllo\n"quoted" & more')
        assert len(api.agents) == 1
        assert "wherry/" in api.agents.copy().pop()
        assert "aiogram/" in api.agents.pop()


async def test_one_connection_over_calls_and_a_new_one_after_close(pki: Pki) -> None:
    """S000-22, S000-01"""
    async with running(pki) as (_, bot, session):
        first = await session.create_session()
        assert await session.create_session() is first
        for _ in range(3):
            await bot.get_me()
        assert first.connector.stats().opened == 1
        await session.close()
        assert first.closed
        assert await bot.get_me()
        assert await session.create_session() is not first


async def test_two_first_requests_share_a_session(pki: Pki) -> None:
    async with bot_api(pki.server) as api:
        session = WherrySession(api=TelegramAPIServer.from_base(api.base("http")))
        one, two = await asyncio.gather(session.create_session(), session.create_session())
        assert one is two
        assert await Bot(TOKEN, session=session).get_me()
        await session.close()


async def test_closing_takes_no_sleep_and_leaves_nothing(
    pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(pki) as (api, bot, session):
        await bot.get_me()
        client = await session.create_session()
        with monkeypatch.context() as patch:
            patch.setattr(asyncio, "sleep", lambda _: pytest.fail("it sleeps"))
            await session.close()
            await session.close()
        assert client.closed
        connections = psutil.Process().net_connections("tcp4")
        assert not [one for one in connections if one.raddr and one.raddr.port == api.tls_port]


async def test_documents_go_up_and_files_come_down(pki: Pki, tmp_path: Path) -> None:
    """Multipart, from memory, from a file and from a URL; the bytes are compared."""
    data = os.urandom(3_000_000)
    path = tmp_path / 'naïve "file".bin'
    path.write_bytes(data)
    async with running(pki) as (api, bot, _):
        for document, name in (
            (BufferedInputFile(data, "memory.bin"), "memory.bin"),
            (FSInputFile(path), path.name),
            (FSInputFile(path, filename="other.bin", chunk_size=1000), "other.bin"),
        ):
            message = await bot.send_document(5, document, caption="a caption")
            assert message.document is not None
            assert message.caption == "a caption"
            stored = api.files[message.document.file_id]
            assert stored == (name, data)
            file = await bot.get_file(message.document.file_id)
            assert file.file_path
            out = io.BytesIO()
            await bot.download_file(file.file_path, out)
            assert out.getvalue() == data
            await bot.download(message.document, destination=tmp_path / "down")
            assert (tmp_path / "down").read_bytes() == data
        url = f"{api.base('https')}/file/bot{TOKEN}/documents/{message.document.file_id}"
        message = await bot.send_document(5, URLInputFile(url, filename="from-url"))
        assert message.document is not None
        assert api.files[message.document.file_id] == ("from-url", data)


async def test_a_file_that_is_not_there_raises(pki: Pki) -> None:
    async with running(pki) as (api, _, session):
        url = f"{api.base('https')}/file/bot{TOKEN}/documents/none"
        with pytest.raises(wherry.ClientResponseError):
            async for _ in session.stream_content(url):
                pass
        assert (
            b"".join([piece async for piece in session.stream_content(url, raise_for_status=False)])
            == b""
        )


@pytest.mark.parametrize(
    ("chat_id", "kind"),
    [
        (400, exceptions.TelegramBadRequest),
        (401, exceptions.TelegramUnauthorizedError),
        (403, exceptions.TelegramForbiddenError),
        (404, exceptions.TelegramNotFound),
        (409, exceptions.TelegramConflictError),
        (413, exceptions.TelegramEntityTooLarge),
        (418, exceptions.TelegramAPIError),
        (429, exceptions.TelegramRetryAfter),
        (430, exceptions.TelegramMigrateToChat),
        (500, exceptions.RestartingTelegram),
        (502, exceptions.TelegramServerError),
        (600, exceptions.ClientDecodeError),
        (601, exceptions.ClientDecodeError),
        (602, exceptions.TelegramNetworkError),
        (603, exceptions.TelegramNetworkError),
    ],
)
async def test_every_class_of_error(pki: Pki, chat_id: int, kind: type[Exception]) -> None:
    async with running(pki, "http") as (_, bot, session):
        session.timeout = 0.2 if chat_id == 603 else 30
        with pytest.raises(kind) as caught:
            await bot.send_message(chat_id, "text")
        assert type(caught.value) is kind
        if isinstance(caught.value, exceptions.TelegramRetryAfter):
            assert caught.value.retry_after == 17
        if isinstance(caught.value, exceptions.TelegramMigrateToChat):
            assert caught.value.migrate_to_chat_id == -1001
        if chat_id == 603:
            assert "Request timeout error" in str(caught.value)
        session.timeout = 30
        assert await bot.get_me()


async def test_a_request_has_its_own_timeout(pki: Pki) -> None:
    async with running(pki, "http") as (_, bot, _session):
        with pytest.raises(exceptions.TelegramNetworkError, match="timeout"):
            await bot.send_message(603, "text", request_timeout=0.1)  # type: ignore[arg-type]


async def test_json_hooks_and_middlewares(pki: Pki) -> None:
    import json

    calls: list[str] = []

    def loads(text: str) -> Any:
        calls.append("loads")
        return json.loads(text)

    def dumps(value: Any) -> str:
        calls.append("dumps")
        return json.dumps(value)

    async with running(pki, json_loads=loads, json_dumps=dumps) as (_, bot, session):

        @session.middleware
        async def seen(make_request: Any, bot: Bot, method: Any) -> Any:
            calls.append(type(method).__name__)
            return await make_request(bot, method)

        await bot.send_message(7, "text", link_preview_options={"is_disabled": True})  # type: ignore[arg-type]
    assert calls == ["SendMessage", "dumps", "dumps", "loads"] or calls == [
        "SendMessage",
        "dumps",
        "loads",
    ]


async def poll(api: BotApi, bot: Bot) -> None:
    """Long polling through a Dispatcher: an update comes in, an answer goes out, and it stops."""
    dispatcher = Dispatcher()
    handled: list[str] = []

    @dispatcher.message()
    async def answer(message: Message) -> None:
        handled.append(message.text or "")
        await message.answer(f"you said {message.text}")
        if message.text == "stop":
            await dispatcher.stop_polling()

    async def feed() -> None:
        await api.polling.wait()
        for number, text in enumerate(("hello", "stop")):
            await api.updates.put(
                {
                    "update_id": number + 1,
                    "message": {
                        "message_id": number,
                        "date": 0,
                        "text": text,
                        "chat": {"id": 9, "type": "private"},
                        "from": {"id": 9, "is_bot": False, "first_name": "A"},
                    },
                }
            )

    feeding = asyncio.create_task(feed())
    await dispatcher.start_polling(
        bot, handle_signals=False, close_bot_session=False, polling_timeout=2
    )
    await feeding
    assert handled == ["hello", "stop"]
    answers = [fields["text"] for name, fields in api.calls if name == "sendMessage"]
    assert answers == ["you said hello", "you said stop"]


async def test_long_polling_through_a_dispatcher(pki: Pki) -> None:
    async with running(pki) as (api, bot, _):
        await poll(api, bot)


# --- proxies --------------------------------------------------------------------------------------

KINDS = [
    ("tinyproxy_auth", "http"),
    ("squid_auth", "http"),
    ("stunnel", "https"),
    ("squid_tls_auth", "https"),
    ("dante", "socks4"),
    ("ssh", "socks4a"),
    ("dante_auth", "socks5"),
    ("microsocks_auth", "socks5h"),
]


@pytest.mark.parametrize(
    "loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
@pytest.mark.parametrize(("name", "scheme"), KINDS, ids=lambda value: value)
def test_through_each_kind_of_proxy(
    proxies: ProxyFarm, pki: Pki, name: str, scheme: str, loop: Any
) -> None:
    """S000-04 to 09, S000-14: up, down and polled."""
    proxy = proxies.get(name, scheme)
    written: Any = proxy.url
    if proxy.credentials is not None:
        written = (proxy.url_with(("nobody", "nothing")), BasicAuth(*proxy.credentials, "utf-8"))
    ports: list[int] = []

    async def main() -> None:
        async with running(pki, proxy=written) as (api, bot, session):
            assert session.proxy == written
            data = os.urandom(300_000)
            message = await bot.send_document(5, BufferedInputFile(data, "a"))
            assert message.document is not None
            assert api.files[message.document.file_id] == ("a", data)
            out = io.BytesIO()
            await bot.download(message.document, out)
            assert out.getvalue() == data
            await poll(api, bot)
            ports.append(api.tls_port)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())
    (proxy.behind or proxy).assert_logs(str(ports[0]))


@pytest.mark.parametrize("container", [list, tuple, iter, set, frozenset])
async def test_a_chain_of_three_in_any_iterable(
    proxies: ProxyFarm, pki: Pki, container: Any
) -> None:
    """S000-10, S000-11, S000-15: each log shows the next hop."""
    first, second, third = (
        proxies.microsocks_auth,
        proxies.squid_tls_auth,
        proxies.get("dante_auth", "socks5"),
    )
    credentials = third.credentials
    assert credentials is not None
    hops = [
        first.url_with(first.credentials),
        second.url_with(second.credentials),
        (third.url, BasicAuth(*credentials)),
    ]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        options = {"proxy": container(hops)}
        made = WherrySession(**options)
    told = [warning for warning in caught if "keeps no order" in str(warning.message)]
    assert bool(told) is (container in {set, frozenset})
    if told:
        assert len(made._hops) == 3
        return
    if container is iter:
        options["proxy"] = iter(hops)
    async with running(pki, **options) as (api, bot, _):
        assert await bot.get_me()
        await poll(api, bot)
    first.assert_logs(str(second.port))
    second.assert_logs(str(third.port))
    third.assert_logs(str(api.tls_port))


async def test_the_proxy_can_be_set_later(proxies: ProxyFarm, pki: Pki) -> None:
    async with running(pki, "http") as (api, bot, session):
        assert session.proxy is None
        await bot.get_me()
        session.proxy = proxies.squid.url
        assert session.proxy == proxies.squid.url
        await bot.get_me()
        with pytest.raises(ValueError, match="not a kind of proxy"):
            session.proxy = "ftp://127.0.0.1:1"
        assert session.proxy == proxies.squid.url
    # It logs a tunnel at its end.
    proxies.squid.assert_logs(f"CONNECT 127.0.0.1:{api.plain_port}")


async def test_http_proxies_tunnel_to_a_plain_server_too(proxies: ProxyFarm, pki: Pki) -> None:
    """S000-04, S000-10: "http(tunneling)", alone and as the last of a chain."""
    last = proxies.squid_auth
    assert last.credentials is not None
    hop = (last.url, BasicAuth(*last.credentials))
    for proxy in (
        hop,
        [proxies.microsocks_auth.url_with(proxies.microsocks_auth.credentials), hop],
    ):
        async with running(pki, "http", proxy=proxy) as (api, bot, _):
            assert await bot.get_me()
            data = os.urandom(70_000)
            message = await bot.send_document(5, BufferedInputFile(data, "a"))
            assert api.files[message.document.file_id] == ("a", data)
        last.assert_logs(f"CONNECT 127.0.0.1:{api.plain_port}")


@pytest.mark.parametrize("chained", [False, True])
async def test_a_proxys_407_is_a_network_error_at_a_plain_server(
    proxies: ProxyFarm, pki: Pki, chained: bool
) -> None:
    """S000-20"""
    hop = (proxies.squid_auth.url, BasicAuth("user", "wr0ng"))
    first = proxies.microsocks_auth
    proxy: Any = [first.url_with(first.credentials), hop] if chained else hop
    async with running(pki, "http", proxy=proxy) as (_, bot, _session):
        with pytest.raises(exceptions.TelegramNetworkError, match="407"):
            await bot.get_me()


async def test_other_protocols_are_refused_at_once() -> None:
    """S000-12"""
    with pytest.raises(ValueError, match="'protocol' is not a kind of proxy"):
        WherrySession(proxy="protocol://host:1/")


@pytest.mark.parametrize(
    ("name", "scheme"), [kind for kind in KINDS if kind[0] not in {"dante", "ssh"}], ids=str
)
async def test_wrong_credentials_are_a_network_error(
    proxies: ProxyFarm, pki: Pki, name: str, scheme: str
) -> None:
    """S000-13, S000-20: it names the proxy and shows no password."""
    proxy = proxies.get(name, scheme)
    async with running(pki, proxy=(proxy.url, BasicAuth("user", "wr0ng"))) as (_, bot, _session):
        with pytest.raises(exceptions.TelegramNetworkError) as caught:
            await bot.get_me()
    assert f"127.0.0.1:{proxy.port}" in str(caught.value)
    assert "wr0ng" not in f"{caught.value} {caught.value!r}"


async def test_a_proxy_that_is_not_there_is_a_network_error(pki: Pki) -> None:
    async with running(pki, proxy=["socks5://127.0.0.1:1", "http://127.0.0.1:2"]) as (
        _,
        bot,
        _session,
    ):
        with pytest.raises(
            exceptions.TelegramNetworkError, match=r"socks5h://127\.0\.0\.1:1"
        ) as caught:
            await bot.get_me()
        assert isinstance(caught.value.method, GetMe)


async def test_certifis_authorities_are_the_default() -> None:
    session = WherrySession()
    client = await session.create_session()
    context = client.connector._ssl
    assert isinstance(context, ssl.SSLContext)
    assert context.verify_mode is ssl.CERT_REQUIRED
    await session.close()


async def test_a_stream_that_is_left_early_gives_its_connection_back(pki: Pki) -> None:
    async with running(pki) as (api, bot, session):
        api.files["big"] = ("big", bytes(5_000_000))
        stream: AsyncGenerator[bytes, None] = session.stream_content(
            f"{api.base('https')}/file/bot{TOKEN}/documents/big"
        )
        async for piece in stream:
            assert piece
            break
        await stream.aclose()
        assert await bot.get_me()
