"""`Fetcher` over HTTP/1.1, HTTP/2 and HTTP/3: the limits of a host hold on connections that carry
many requests at once, and a run goes on where it was ended.
"""

from __future__ import annotations

import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.bulk.site import Loopback
from tests.servers.authority import CertificateFiles
from tests.servers.process import free_ports, wait_for_port

from wherry.bulk import Fetcher, Jsonl

PAGES = 12
RATE = 50.0


APP = """
import asyncio, sys, time

refused = set()

async def app(scope, receive, send):
    while scope["type"] == "lifespan":
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return
    path = scope["path"]
    began = time.monotonic()
    await asyncio.sleep(0.01)
    with open("asked", "a") as asked:
        print(scope["http_version"], path, began, time.monotonic(), file=asked)
    status, fields = 200, []
    if path.endswith("/3") and path not in refused:
        refused.add(path)
        status, fields = 429, [(b"retry-after", b"1")]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": b"this is " + path.encode()})
"""


@dataclass
class Asked:
    """A request, as the server saw it."""

    version: str
    path: str
    began: float
    ended: float


class Origin:
    """Hypercorn, which speaks all three on one port, and answers each `/3` by 429 once."""

    def __init__(self, folder: Path, port: int) -> None:
        self.url = f"https://localhost:{port}"
        self._told = folder / "asked"

    def asked(self, prefix: str) -> list[Asked]:
        """What was asked for below a path, in its order."""
        rows = [line.split() for line in self._told.read_text().splitlines()]
        found = [Asked(row[0], row[1], float(row[2]), float(row[3])) for row in rows]
        found = [each for each in found if each.path.startswith(prefix)]
        return sorted(found, key=lambda each: each.began)


@pytest.fixture(scope="module")
def origin(
    certificate_files: CertificateFiles, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Origin]:
    folder = tmp_path_factory.mktemp("hypercorn")
    (folder / "app.py").write_text(APP)
    (port,) = free_ports(1)
    command = [
        *(sys.executable, "-m", "hypercorn", "app:app", "--quic-bind", f"127.0.0.1:{port}"),
        *("--bind", f"127.0.0.1:{port}", "--keyfile", str(certificate_files.key)),
        *("--certfile", str(certificate_files.chain)),
    ]
    with (folder / "hypercorn.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        wait_for_port("hypercorn", port, folder, [process])
        yield Origin(folder, port)
    finally:
        process.terminate()
        process.wait()


@pytest.mark.parametrize(
    ("protocols", "versions"),
    [
        (("http/1.1",), {"1.1"}),
        (("h2", "http/1.1"), {"2"}),
        (("h3",), {"3"}),
        (("h3", "h2", "http/1.1"), {"2", "3"}),  # Alt-Svc says so in the first answer
    ],
)
async def test_politeness_and_the_checkpoint_hold_over_each_protocol(
    origin: Origin, client_tls: ssl.SSLContext, tmp_path: Path, protocols: Any, versions: set[str]
) -> None:
    prefix = f"/{'-'.join(protocols).replace('/', '')}/"
    urls = [f"{origin.url}{prefix}{page}" for page in range(PAGES)]

    async def run(most: int | None) -> list[Any]:
        async with Fetcher(
            per_host=2,
            rate_per_host=RATE,
            checkpoint=tmp_path / "run.sqlite",
            connector_options={"protocols": protocols, "ssl": client_tls, "resolver": Loopback()},
        ) as fetcher:
            results = []
            async for result in fetcher.fetch(urls, into=Jsonl(tmp_path / "pages")):
                results.append(result)
                if len(results) == most:
                    fetcher.drain()
            return results

    first, second = await run(PAGES // 2), await run(None)
    assert all(result.ok for result in first + second)
    assert sorted(result.url for result in first + second) == sorted(urls)
    asked = origin.asked(prefix)
    assert sorted(each.path for each in asked) == sorted(
        [*(f"{prefix}{page}" for page in range(PAGES)), f"{prefix}3"]
    )
    assert {each.version for each in asked} == versions
    at_once = [sum(each.began <= other.began < each.ended for other in asked) for each in asked]
    assert max(at_once) <= 2
    # Retry-After of the host, and its rate.
    refused, again = [each for each in asked if each.path.endswith("/3")]
    assert again.began - refused.ended >= 0.9
    assert asked[-1].began - asked[0].began >= 0.9 + (PAGES - 4) / RATE
