"""The names of aiohttp-socks over wherry, and aiogram's own session on them."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
from tests.left_out import needs
from tests.servers.origin import running_origin
from tests.servers.pki import Pki
from tests.servers.proxies import PASSWORD, USER, ProxyFarm
from yarl import URL

import wherry
from wherry import ClientSession
from wherry.integrations import aiohttp_socks
from wherry.integrations.aiohttp_socks import (
    ChainProxyConnector,
    ProxyConnector,
    ProxyInfo,
    ProxyType,
)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_connector_goes_through_its_proxies(
    proxies: ProxyFarm, pki: Pki, scheme: str
) -> None:
    first, second = proxies.microsocks_auth, proxies.squid_auth
    infos = [
        ProxyInfo(ProxyType.SOCKS5, "127.0.0.1", first.port, USER, PASSWORD, True),
        ProxyInfo(ProxyType.HTTP, "127.0.0.1", second.port, *second.credentials),  # type: ignore[misc]
    ]
    urls = [first.url_with(first.credentials), second.url_with(second.credentials)]
    connectors = [
        lambda **options: ChainProxyConnector(infos, **options),
        lambda **options: ChainProxyConnector.from_urls(iter(urls), **options),
        lambda **options: ProxyConnector.from_url(urls[0], **options),
        lambda **options: ProxyConnector.from_url(urls[1], **options),
        lambda **options: ProxyConnector(
            "127.0.0.1", proxies.haproxy.port, ProxyType.HTTP, proxy_ssl=pki.client(), **options
        ),
    ]
    async with running_origin(pki.server) as origin:
        for make in connectors:
            connector = make(ssl=pki.client(), limit=3)
            async with (
                ClientSession(connector=connector) as session,
                session.get(origin.url(scheme)) as response,
            ):
                assert response.status == 200
        assert len(origin.requests) == len(connectors)
        # Plain requests too go by a tunnel, as they do there.
        second.assert_logs(f"CONNECT 127.0.0.1:{URL(origin.url(scheme)).port}")
    first.assert_logs(str(second.port))


async def test_failures_can_be_caught_by_their_names(proxies: ProxyFarm) -> None:
    for url, kind in (
        ("socks5://127.0.0.1:1", aiohttp_socks.ProxyConnectionError),
        ("http://127.0.0.1:1", aiohttp_socks.ProxyError),
        (proxies.squid_auth.url, aiohttp_socks.ProxyError),
    ):
        async with ClientSession(connector=ProxyConnector.from_url(url)) as session:
            with pytest.raises(kind) as caught:
                await session.get("https://origin.test/")
            assert isinstance(caught.value, wherry.ClientError)


@pytest.mark.parametrize(
    ("info", "scheme"),
    [
        (ProxyInfo(ProxyType.SOCKS4, "h", 1), "socks4"),
        (ProxyInfo(ProxyType.SOCKS4, "h", 1, rdns=True), "socks4a"),
        (ProxyInfo(ProxyType.SOCKS5, "h", 1), "socks5h"),
        (ProxyInfo(ProxyType.SOCKS5, "h", 1, rdns=False), "socks5"),
        (ProxyInfo(ProxyType.HTTP, "h", 1), "http"),
    ],
)
def test_names_are_resolved_where_rdns_says(info: ProxyInfo, scheme: str) -> None:
    assert aiohttp_socks.hop_of(info).scheme == scheme


def test_urls_are_parsed_as_there() -> None:
    assert aiohttp_socks.parse_proxy_url("socks5://u:p%40@h:9") == (
        ProxyType.SOCKS5,
        "h",
        9,
        "u",
        "p@",
    )
    for url in ("https://h", "ftp://h", "socks5h://h"):
        with pytest.raises(ValueError):
            aiohttp_socks.parse_proxy_url(url)


async def test_aiograms_own_session_prepares_its_connectors_with_them(
    proxies: ProxyFarm, pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of what drop-in mode needs for aiogram: drop-in mode puts the modules there, here the
    test does.
    """
    needs("aiogram")
    from aiogram.client.session import aiohttp as session_module

    utils = ModuleType("aiohttp_socks.utils")
    utils.parse_proxy_url = aiohttp_socks.parse_proxy_url  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "aiohttp_socks", aiohttp_socks)
    monkeypatch.setitem(sys.modules, "aiohttp_socks.utils", utils)
    monkeypatch.setattr(session_module, "BasicAuth", wherry.BasicAuth)
    ways: list[Any] = [
        (proxies.microsocks_auth.url, wherry.BasicAuth(USER, PASSWORD)),
        [proxies.squid.url, proxies.dante.url],
    ]
    async with running_origin(pki.server) as origin:
        for way in ways:
            kind, options = session_module._prepare_connector(way)
            connector = kind(ssl=pki.client(), **options)
            async with (
                ClientSession(connector=connector) as session,
                session.get(origin.url("https")) as response,
            ):
                assert response.status == 200
    proxies.squid.assert_logs(str(proxies.dante.port))
