"""Libraries that are written for aiohttp, unchanged, in drop-in mode: each does real work on
loopback.
"""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path

import pytest
from tests.integrations.dropin import run_program
from tests.servers.origin import running_origin
from tests.servers.pki import Pki
from tests.servers.proxies import ProxyFarm
from yarl import URL

CASES = {
    "aiobotocore": "500000 [('a.bin', 500000), ('b.bin', 5000000)] NoSuchKey",
    "discord": "['ahoy', 'pong'] True",
    "gql": "BREST no such port True [1, 2, 3] [4, 5]",
    "slack_sdk": "ahoy ['conversations.list', 'conversations.list', 'e1'] user_not_found True land",
    "aiohttp_retry": "3 {'tries': 6, 'body': 'cargo'} whole 200",
    "aioresponses": "200 {'a': 1} full 500 no [7, 7, 6]",
    "aiodocker": "['one\\n', 'two\\n'] [b'ready', (1, b'out'), (2, b'err'), 300000, 'c1']",
}


@pytest.mark.parametrize("library", list(CASES))
def test_a_library_does_its_work(library: str, tmp_path: Path) -> None:
    assert run_program(f"use_{library}.py", str(tmp_path)) == CASES[library]


async def test_aiohttp_socks_itself_goes_through_its_proxies(
    proxies: ProxyFarm, pki: Pki, tmp_path: Path
) -> None:
    first, second = proxies.microsocks_auth, proxies.squid_auth
    links = [first.url_with(first.credentials), second.url_with(second.credentials)]
    authority = tmp_path / "ca.pem"
    pki.authority.cert_pem.write_to_path(str(authority))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        refused = unused.getsockname()[1]
        async with running_origin(pki.server) as origin:
            told = [
                links[0],
                links,
                origin.url("http"),
                origin.url("https"),
                str(authority),
                refused,
            ]
            printed = await asyncio.to_thread(run_program, "use_aiohttp_socks.py", json.dumps(told))
            assert len(origin.requests) == 8
            second.assert_logs(f"CONNECT 127.0.0.1:{URL(origin.url('http')).port}")
    # Four answers over two connections each; then who refused the connection, and who the
    # credentials.
    assert printed == "200 200 200 200 2 200 200 200 200 2 ProxyConnectionError ProxyError"
    first.assert_logs(str(second.port))


def test_a_session_that_overrides_request_answers_from_its_cache(tmp_path: Path) -> None:
    first = "(False, 1), (True, 1), (False, 2), (True, 2), (False, 3), 4"
    second = first.translate(str.maketrans({"1": "5", "2": "6", "3": "7", "4": "8"}))
    assert run_program("use_aiohttp_client_cache.py", str(tmp_path)) == f"[{first}] [{second}] True"
