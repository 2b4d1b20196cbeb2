"""HTTP/3: CPU of the client for a request, wherry beside its peers and its own HTTP/2.

The server has the first processor, each client runs in a fresh process on the last one.  It is
nginx where that was built with HTTP/3, else caddy.  Rounds are interleaved; the figure is the
median of the clients' process time.  A peer that is not installed, or fails, is named and left out.

    python -m benchmarks.http3 [--rounds 3] [--clients wherry ...] [--scenarios http3-small ...]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import os
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

CLIENTS = ("wherry", "wherry-http2", "aioquic", "qh3", "niquests", "curl_cffi", "pyqwest")
LOOPS = ("asyncio", "uvloop")
MIB = 2**20


class Scenario(NamedTuple):
    """What is measured: so many requests, so many in flight, and whether each is the first of a
    connection.
    """

    title: str
    path: str
    requests: int
    tasks: int
    fresh: bool = False
    unit: str = "us"


SCENARIOS = {
    "http3-small": Scenario("54-byte JSON, 32 in flight", "/json", 6000, 32),
    "http3-latency": Scenario("one after the other", "/json", 2000, 1),
    "http3-connect": Scenario("a new connection each", "/json", 60, 1, fresh=True),
    "http3-download": Scenario("100 MiB down", "/large", 1, 1, unit="ms"),
}
Fetch = Callable[[], Awaitable[object]]
Session = contextlib.AbstractAsyncContextManager[Fetch]

CADDYFILE = """
{{
	admin off
	auto_https off
}}
https://localhost:{port} {{
	tls {root}/cert.pem {root}/key.pem
	respond /json `{{"id": 12345, "name": "wherry", "ok": true, "n": [1,2]}}`
	root * {root}/files
	file_server
}}
"""
NGINX = """
daemon off; worker_processes 1; pid {root}/pid; error_log {root}/errors warn;
events {{ worker_connections 1024; }}
http {{
  access_log off; client_body_temp_path {root}/body; proxy_temp_path {root}/proxy;
  fastcgi_temp_path {root}/fastcgi; uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;
  keepalive_requests 1000000; keepalive_timeout 600s; default_type application/json;
  ssl_certificate {root}/cert.pem; ssl_certificate_key {root}/key.pem;
  quic_gso on; http3_max_concurrent_streams 256; http2 on;
  server {{
    listen 127.0.0.1:{port} quic reuseport; listen 127.0.0.1:{port} ssl;
    location = /json {{ return 200 '{{"id": 12345, "name": "wherry", "ok": true, "n": [1,2]}}'; }}
    location / {{ root {root}/files; }}
  }}
}}
"""


def servers() -> list[str]:
    """The servers here that speak HTTP/3."""
    found = []
    nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if nginx is not None:
        built = subprocess.run([nginx, "-V"], capture_output=True, text=True, check=False)
        if "http_v3_module" in built.stderr:
            found.append("nginx")
    return [*found, "caddy"] if shutil.which("caddy") else found


def command(server: str, root: Path, port: int) -> list[str]:
    """How a server is started; its configuration is written."""
    text = (NGINX if server == "nginx" else CADDYFILE).format(root=root, port=port)
    configuration = root / "configuration"
    configuration.write_text(text)
    if server == "nginx":
        program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin") or server
        as_root = ["-g", "user root;"] if os.geteuid() == 0 else []
        return [program, *as_root, "-c", str(configuration)]
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(configuration)]


@contextlib.contextmanager
def running(server: str) -> Iterator[tuple[str, str]]:
    """A server, as its URL and its authority's file."""
    import trustme

    with tempfile.TemporaryDirectory(prefix="wherry-http3-") as name:
        root = Path(name)
        (root / "files").mkdir()
        (root / "files" / "large").write_bytes(os.urandom(MIB) * 100)
        ca = trustme.CA()
        leaf = ca.issue_cert("localhost", "127.0.0.1")
        leaf.private_key_pem.write_to_path(str(root / "key.pem"))
        for blob in leaf.cert_chain_pems:
            blob.write_to_path(str(root / "cert.pem"), append=True)
        ca.cert_pem.write_to_path(str(root / "ca.pem"))
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
        process = subprocess.Popen(
            command(server, root, port),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": name},
        )
        os.sched_setaffinity(process.pid, {0})
        try:
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.05)
            yield f"https://localhost:{port}", str(root / "ca.pem")
        finally:
            process.terminate()
            process.wait()


# --- the clients: each gives a session, as a context, whose value fetches a URL -------------------


@functools.cache
def context_of(authority: str) -> ssl.SSLContext:
    """A program makes its context once, whatever number of connections it makes."""
    return ssl.create_default_context(cafile=authority)


@contextlib.asynccontextmanager
async def with_wherry(url: str, authority: str, *protocols: str) -> AsyncIterator[Fetch]:
    import wherry

    connector = wherry.TCPConnector(protocols=protocols or ("h3",), ssl=context_of(authority))
    async with wherry.ClientSession(connector=connector) as session:

        async def fetch() -> None:
            async with session.get(url) as response:
                async for _ in response.content.iter_any():
                    pass

        yield fetch


def with_wherry_http2(url: str, authority: str) -> Session:
    return with_wherry(url, authority, "h2")


@contextlib.asynccontextmanager
async def quic_like(package: str, url: str, authority: str) -> AsyncIterator[Fetch]:
    """aioquic's client, or qh3's, which has the same names."""
    from importlib import import_module

    connect = import_module(f"{package}.asyncio.client").connect
    base = import_module(f"{package}.asyncio.protocol").QuicConnectionProtocol
    http3 = import_module(f"{package}.h3.connection").H3Connection
    configuration = import_module(f"{package}.quic.configuration").QuicConfiguration(
        is_client=True, alpn_protocols=["h3"], max_data=16 * MIB, max_stream_data=4 * MIB
    )
    configuration.load_verify_locations(authority)
    place = urlsplit(url)

    class Client(base):  # type: ignore[misc, valid-type]
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.http = http3(self._quic)
            self.waiting: dict[int, asyncio.Future[None]] = {}

        def quic_event_received(self, event: Any) -> None:
            for happened in self.http.handle_event(event):
                if getattr(happened, "stream_ended", False):
                    self.waiting.pop(happened.stream_id).set_result(None)

        async def get(self) -> None:
            stream_id = self._quic.get_next_available_stream_id()
            head = [(b":method", b"GET"), (b":scheme", b"https"), (b":path", place.path.encode())]
            head.insert(2, (b":authority", place.netloc.encode()))
            self.http.send_headers(stream_id, head, end_stream=True)
            self.waiting[stream_id] = done = asyncio.get_running_loop().create_future()
            self.transmit()
            await done

    options = {"configuration": configuration, "create_protocol": Client}
    async with connect(place.hostname, place.port, **options) as client:
        yield client.get


def with_aioquic(url: str, authority: str) -> Session:
    return quic_like("aioquic", url, authority)


def with_qh3(url: str, authority: str) -> Session:
    return quic_like("qh3", url, authority)


@contextlib.asynccontextmanager
async def with_niquests(url: str, authority: str) -> AsyncIterator[Fetch]:
    import niquests

    place = urlsplit(url)
    known = {(place.hostname, place.port): ("", place.port)}
    async with niquests.AsyncSession(
        disable_http1=True, disable_http2=True, quic_cache_layer=known
    ) as session:
        session.verify = authority
        session.trust_env = False

        async def fetch() -> None:
            response = await session.get(url)
            assert response.http_version == 30, response.http_version

        yield fetch


@contextlib.asynccontextmanager
async def with_curl_cffi(url: str, authority: str) -> AsyncIterator[Fetch]:
    from curl_cffi import CurlHttpVersion
    from curl_cffi.requests import AsyncSession

    async with AsyncSession(
        verify=authority, trust_env=False, timeout=300, http_version=CurlHttpVersion.V3ONLY
    ) as session:

        async def fetch() -> None:
            await session.get(url)

        yield fetch


@contextlib.asynccontextmanager
async def with_pyqwest(url: str, authority: str) -> AsyncIterator[Fetch]:
    import pyqwest

    certificate = Path(authority).read_bytes()
    transport = pyqwest.HTTPTransport(
        http_version=pyqwest.HTTPVersion.HTTP3, tls_ca_cert=certificate
    )
    async with transport:
        client = pyqwest.Client(transport)

        async def fetch() -> None:
            await client.get(url)

        yield fetch


# --- one measurement, in a process of its own -----------------------------------------------------


async def measure(client: str, scenario: Scenario, url: str, authority: str) -> float:
    """Process time of one request, in seconds."""
    make: Callable[[str, str], Session] = globals()[f"with_{client.replace('-', '_')}"]

    async def fresh(count: int) -> None:
        for _ in range(count):
            async with make(url, authority) as fetch:
                await fetch()

    async def many(fetch: Fetch, count: int) -> None:
        async def task(each: int) -> None:
            for _ in range(each):
                await fetch()

        await asyncio.gather(*[task(count // scenario.tasks) for _ in range(scenario.tasks)])

    if scenario.fresh:
        await fresh(3)
        begun = time.process_time()
        await fresh(scenario.requests)
        return (time.process_time() - begun) / scenario.requests
    async with make(url, authority) as fetch:
        await many(fetch, max(scenario.tasks, scenario.requests // 10))
        begun = time.process_time()
        await many(fetch, scenario.requests)
        return (time.process_time() - begun) / scenario.requests


def child(client: str, name: str, url: str, authority: str, loop: str) -> None:
    os.sched_setaffinity(0, {(os.cpu_count() or 1) - 1})
    scenario = SCENARIOS[name]
    work = measure(client, scenario, url + scenario.path, authority)
    if loop == "uvloop":
        import uvloop

        print(uvloop.run(work))
    else:
        print(asyncio.run(work))


def run_once(client: str, name: str, server: tuple[str, str], loop: str) -> float | None:
    """One measurement; None where there is none, which is said."""
    line = [sys.executable, "-m", "benchmarks.http3", "--child", client, name, *server, loop]
    try:
        done = subprocess.run(line, capture_output=True, text=True, timeout=300, check=False)
    except subprocess.TimeoutExpired:
        print(f"  {client} on {loop}: {name} took more than 5 minutes", file=sys.stderr)
        return None
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"ended with {done.returncode}"]
        print(f"  {client} on {loop}: {last[0]}", file=sys.stderr)
        return None
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", nargs="+", choices=CLIENTS, default=CLIENTS)
    names = tuple(SCENARIOS)
    parser.add_argument("--scenarios", nargs="+", choices=names, default=names)
    parser.add_argument("--loops", nargs="+", choices=LOOPS, default=LOOPS)
    parser.add_argument("--server", choices=("nginx", "caddy"))
    chosen = parser.parse_args()
    there = servers()
    if not there or chosen.server not in {None, *there}:
        asked = chosen.server or "caddy, nor nginx with its http_v3 module"
        print(f"Not measured, HTTP/3: there is no {asked}", file=sys.stderr)
        return
    server = chosen.server or there[0]
    samples: dict[tuple[str, str, str], list[float]] = {}
    with running(server) as address:
        for _ in range(chosen.rounds):
            for name, client, loop in product(chosen.scenarios, chosen.clients, chosen.loops):
                figure = run_once(client, name, address, loop)
                if figure is not None:
                    samples.setdefault((client, name, loop), []).append(figure)
    print(f"| {server} ({' / '.join(chosen.loops)}) | unit |", " | ".join(chosen.clients), "|")
    print("|---" * (len(chosen.clients) + 2) + "|")
    for name in chosen.scenarios:
        scenario = SCENARIOS[name]
        scale = {"us": 1e6, "ms": 1e3}[scenario.unit]
        cells = [
            " / ".join(
                f"{statistics.median(found) * scale:.0f}"
                if (found := samples.get((client, name, loop)))
                else "-"
                for loop in chosen.loops
            )
            for client in chosen.clients
        ]
        print(f"| {scenario.title} | {scenario.unit} |", " | ".join(cells), "|")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
    else:
        main()
