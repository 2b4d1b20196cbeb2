"""CPU a request over HTTP/2: 54 bytes of JSON from nginx over TLS, many streams in flight, against other clients.

Usage: python benchmarks/http2.py [--rounds 5] [--requests 4000] [--streams 32] [--clients wherry,pyreqwest]

Each measurement is a fresh process that is pinned to core 0; nginx is pinned to core 1.  Rounds are interleaved, so
that what the machine does meanwhile falls on every client alike; the figures are medians of the process's CPU time
(user and system) a request.  A client that is not installed is left out.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BODY = b'{"message": "Hello, World!", "id": 12345, "ok": true}\n'
assert len(BODY) == 54
LOOPS = ("asyncio", "uvloop")
Get = Callable[[], Awaitable[bytes]]


# --- the clients: each makes `get`, and closes what it opened ------------------------------------------------


async def wherry(url: str, ca: str, run: Callable[[Get], Awaitable[None]]) -> None:
    sys.path.insert(0, str(ROOT / "src"))
    from wherry import ClientSession, TCPConnector

    context = ssl.create_default_context(cafile=ca)
    async with ClientSession(connector=TCPConnector(ssl=context, protocols=("h2", "http/1.1"))) as session:

        async def get() -> bytes:
            async with session.get(url) as response:
                return await response.read()

        async with session.get(url) as response:
            assert response.version == (2, 0)
        await run(get)


async def pyreqwest(url: str, ca: str, run: Callable[[Get], Awaitable[None]]) -> None:
    from pyreqwest.client import ClientBuilder

    builder = ClientBuilder().http2(True).add_root_certificate_pem(Path(ca).read_bytes())
    async with builder.build() as client:

        async def get() -> bytes:
            response = await client.get(url).build().send()
            return bytes(await response.bytes())

        response = await client.get(url).build().send()
        assert "2" in str(response.version)
        await run(get)


async def httpx(url: str, ca: str, run: Callable[[Get], Awaitable[None]]) -> None:
    import httpx as library

    limits = library.Limits(max_connections=1)
    async with library.AsyncClient(
        http2=True, http1=False, verify=ssl.create_default_context(cafile=ca), limits=limits, timeout=60
    ) as client:

        async def get() -> bytes:
            return (await client.get(url)).content

        assert (await client.get(url)).http_version == "HTTP/2"
        await run(get)


async def niquests(url: str, ca: str, run: Callable[[Get], Awaitable[None]]) -> None:
    import niquests as library

    async with library.AsyncSession(disable_http1=True, disable_http3=True) as session:

        async def get() -> bytes:
            return (await session.get(url, verify=ca)).content

        assert (await session.get(url, verify=ca)).http_version == 20
        await run(get)


async def curl_cffi(url: str, ca: str, run: Callable[[Get], Awaitable[None]]) -> None:
    from curl_cffi import requests

    async with requests.AsyncSession(verify=ca, http_version="v2", max_clients=64) as session:

        async def get() -> bytes:
            return (await session.get(url)).content

        await session.get(url)
        await run(get)


CLIENTS = {client.__name__: client for client in (wherry, pyreqwest, curl_cffi, niquests, httpx)}


async def measure(name: str, url: str, ca: str, requests: int, streams: int) -> float:
    """Microseconds of CPU a request."""
    result = 0.0

    async def run(get: Get) -> None:
        nonlocal result

        async def worker(count: int) -> None:
            for _ in range(count):
                assert len(await get()) == len(BODY)

        await asyncio.gather(*(worker(5) for _ in range(streams)))
        each = max(requests // streams, 1)
        begin = time.process_time()
        await asyncio.gather(*(worker(each) for _ in range(streams)))
        result = (time.process_time() - begin) / (each * streams) * 1e6

    await CLIENTS[name](url, ca, run)
    return result


# --- the server, and the table -------------------------------------------------------------------------------


def start_nginx(directory: Path) -> tuple[subprocess.Popen[bytes], int]:
    import trustme

    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    authority.cert_pem.write_to_path(directory / "ca.pem")
    certificate.private_key_pem.write_to_path(directory / "key.pem")
    (directory / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    (directory / "www").mkdir()
    (directory / "www" / "json").write_bytes(BODY)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    temporary = " ".join(f"{kind}_temp_path {kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (directory / "nginx.conf").write_text(f"""
        daemon off; master_process off; pid nginx.pid; error_log error.log; events {{}}
        http {{ access_log off; keepalive_requests 100000000; default_type application/json; {temporary}
            server {{ listen 127.0.0.1:{port} ssl http2; root www;
                      ssl_certificate cert.pem; ssl_certificate_key key.pem; }} }}""")
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    command = [program, "-p", str(directory), "-c", str(directory / "nginx.conf")]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(process.pid, {cores[-1]})
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            time.sleep(0.02)
    return process, port


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=4000)
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--clients", default=",".join(CLIENTS))
    parser.add_argument("--one", nargs=4, metavar=("CLIENT", "LOOP", "URL", "CA"), help="measure once, in this process")
    arguments = parser.parse_args()
    if arguments.one:
        name, loop, url, ca = arguments.one
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        work = measure(name, url, ca, arguments.requests, arguments.streams)
        if loop == "uvloop":
            import uvloop

            print(json.dumps(uvloop.run(work)), flush=True)
        else:
            print(json.dumps(asyncio.run(work)), flush=True)
        os._exit(0)  # threads of some clients do not outlive the interpreter's end in order
    clients = [name for name in arguments.clients.split(",") if name == "wherry" or importlib.util.find_spec(name)]
    loops = [loop for loop in LOOPS if loop == "asyncio" or importlib.util.find_spec(loop)]
    figures: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as directory:
        process, port = start_nginx(Path(directory))
        try:
            for _ in range(arguments.rounds):
                for loop in loops:
                    for name in clients:
                        # The slow ones need fewer requests to be measured as well.
                        count = arguments.requests if name in {"wherry", "pyreqwest"} else arguments.requests // 5
                        options = ["--requests", str(count), "--streams", str(arguments.streams)]
                        one = ["--one", name, loop, f"https://localhost:{port}/json", f"{directory}/ca.pem"]
                        command = [sys.executable, __file__, *options, *one]
                        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
                        if done.returncode:
                            print(f"{name} on {loop}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
                        else:
                            figures.setdefault((name, loop), []).append(json.loads(done.stdout))
        finally:
            process.terminate()
            process.wait()
    print(f"HTTP/2, {arguments.streams} streams, {len(BODY)} bytes over TLS: CPU microseconds a request")
    print(f"{'':12}" + "".join(f"{loop:>12}{'ratio':>8}" for loop in loops))
    for name in clients:
        row = f"{name:12}"
        for loop in loops:
            mine, base = figures.get((name, loop)), figures.get(("wherry", loop))
            value = statistics.median(mine) if mine else None
            ratio = f"{value / statistics.median(base):.1f}" if value and base else "-"
            row += f"{'-' if value is None else format(value, '.0f'):>12}{ratio:>8}"
        print(row)


if __name__ == "__main__":
    main()
