"""aiohttp-socks itself, whose connectors override `_wrap_create_connection`: one proxy, a chain,
TLS, errors.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys

import aiohttp
from aiohttp_socks import ChainProxyConnector, ProxyConnectionError, ProxyConnector, ProxyError
from yarl import URL

one, chain, plain, secure, ca, refused = json.loads(sys.argv[1])


async def main() -> None:
    assert ProxyConnector.__module__ == "aiohttp_socks.connector"
    assert aiohttp.ClientSession.__module__.startswith("wherry.")
    trust = ssl.create_default_context(cafile=ca)
    got = []
    for connector in (
        ProxyConnector.from_url(one, rdns=True),
        ChainProxyConnector.from_urls(chain),
    ):
        async with aiohttp.ClientSession(connector=connector) as session:
            for url in (plain, secure, secure, plain):
                async with session.get(url, ssl=trust) as response:
                    got.append(response.status)
                    await response.read()
            got.append(connector.stats().opened)
    for url in (f"socks5://127.0.0.1:{refused}", str(URL(one).with_password("wrong"))):
        try:
            async with aiohttp.ClientSession(connector=ProxyConnector.from_url(url)) as session:
                await session.get(f"http://127.0.0.1:{refused}/")
        except (ProxyConnectionError, ProxyError) as error:
            got.append(type(error).__name__)
    print(*got)


asyncio.run(main())
