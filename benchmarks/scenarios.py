"""What is measured, and against which server: the scenarios, and nginx with a configuration of its
own.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MIB = 2**20
ORIGINS = 100
# Under it every path answers, each time with another head and another body.
UNLIKE = "/api/"
LATENCY = "p50/p99 ms, us CPU a request, MiB of growth"


@dataclass(frozen=True)
class Scenario:
    """One row of the table.

    Args:
        name: Its name on the command line.
        title: What a person reads.
        requests: How many are made, after a warm-up.
        tasks: How many are in flight.
        path: What is asked for.
        tls: Whether over TLS.
        kind: "json", "post", "orjson", "params", "headers", "session", "http2", "cookies",
            "middlewares", "traced", "latency", "download", "upload", "multipart", "connect",
            "hosts" or "memory".
        unit: What the figure is.
        limit: Connections at most.
        origins: Among how many the requests are spread.
        tls_version: The newest that is spoken, "" for the newest there is.
    """

    name: str
    title: str
    requests: int
    tasks: int
    path: str = "/json"
    tls: bool = False
    kind: str = "json"
    unit: str = "us CPU a request"
    limit: int = 100
    origins: int = 1
    tls_version: str = ""


SCENARIOS = (
    Scenario("unlike", "unlike: a new URL and a new head each time", 8_000, 32, UNLIKE),
    Scenario(
        "unlike-params", "unlike, with params= and headers=", 8_000, 32, UNLIKE, kind="params"
    ),
    Scenario("unlike-tls", "unlike, over TLS", 8_000, 32, UNLIKE, tls=True),
    Scenario("unlike-http2", "unlike, HTTP/2 over TLS", 8_000, 32, UNLIKE, tls=True, kind="http2"),
    Scenario(
        "headers-read",
        "unlike, three headers and the status read",
        8_000,
        32,
        UNLIKE,
        kind="headers",
    ),
    Scenario(
        "session-auth",
        "unlike, 10 cookies, auth=, timeout= and a middleware",
        8_000,
        32,
        UNLIKE,
        kind="session",
    ),
    Scenario("post-unlike", "unlike, POST of JSON", 8_000, 32, UNLIKE, kind="post"),
    Scenario("post-orjson", "unlike, POST of JSON by orjson", 8_000, 32, UNLIKE, kind="orjson"),
    Scenario("small", "54-byte JSON, 32 in flight", 12_000, 32),
    Scenario("serial", "one after the other", 4_000, 1),
    Scenario("post", "POST of JSON, 32 in flight", 8_000, 32, kind="post"),
    Scenario("tls", "over TLS, 32 in flight", 8_000, 32, tls=True),
    Scenario("http2", "HTTP/2 over TLS, 32 streams", 8_000, 32, tls=True, kind="http2"),
    Scenario("cookies", "session with 30 cookies", 6_000, 32, kind="cookies"),
    Scenario("middlewares", "5 middlewares that do nothing", 6_000, 32, kind="middlewares"),
    Scenario("traced", "4 trace listeners that do nothing", 6_000, 32, kind="traced"),
    Scenario("redirects", "3 redirects", 3_000, 16, path="/r3"),
    Scenario("latency", "500 tasks, limit 100", 20_000, 500, kind="latency", unit=LATENCY),
    Scenario(
        "origins",
        "500 tasks, limit 100, 50 origins",
        20_000,
        500,
        kind="latency",
        unit=LATENCY,
        origins=50,
    ),
    Scenario(
        "connect", "a new TLS 1.3 connection each", 400, 4, path="/close", tls=True, kind="connect"
    ),
    Scenario(
        "connect12",
        "a new TLS 1.2 connection each",
        400,
        4,
        path="/close",
        tls=True,
        kind="connect",
        tls_version="1.2",
    ),
    Scenario(
        "hosts",
        "100 hosts at once, a new connection each",
        2_000,
        100,
        "/close",
        kind="hosts",
        origins=100,
    ),
    Scenario(
        "memory",
        "1000 connections that carried requests",
        3_000,
        1_000,
        UNLIKE,
        kind="memory",
        unit="KiB a connection",
        limit=1_000,
    ),
    Scenario("download", "100 MiB down", 2, 1, path="/100M", kind="download", unit="ms CPU"),
    Scenario("upload", "100 MiB up from a file", 2, 1, path="/up", kind="upload", unit="ms CPU"),
    Scenario(
        "multipart", "100 MiB up as multipart", 2, 1, path="/up", kind="multipart", unit="ms CPU"
    ),
)

CONFIGURATION = """
daemon off; worker_processes 1; worker_rlimit_nofile 8192;
pid {root}/pid; error_log {root}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000; client_max_body_size 0; sendfile on;
  client_body_temp_path {root}/t1; proxy_temp_path {root}/t2; fastcgi_temp_path {root}/t3;
  uwsgi_temp_path {root}/t4; scgi_temp_path {root}/t5;
  ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:s:1m; ssl_session_tickets on;
  ssl_certificate {root}/cert.pem; ssl_certificate_key {root}/key.pem;
  server {{
    listen 127.0.0.1:{port} backlog=4096; {listens}
    listen 127.0.0.1:{tls_port} ssl http2 backlog=4096;
    root {root}/files; default_type application/json;
    location /json {{ return 200 '{{"id": 12345, "name": "wherry", "ok": true, "n": [1,2]}}'; }}
    location /api/ {{
      add_header X-Request-Id $request_id; add_header ETag '"$request_id"';
      add_header Cache-Control "private, max-age=0"; add_header X-RateLimit-Limit 5000;
      add_header X-RateLimit-Remaining $connection_requests; add_header X-RateLimit-Reset $msec;
      add_header Vary "Accept, Accept-Encoding"; add_header X-Content-Type-Options nosniff;
      add_header Strict-Transport-Security "max-age=31536000"; add_header X-Frame-Options DENY;
      return 200 '{{"id": "$request_id", "uri": "$request_uri", "at": "$time_iso8601", "text":
        "{text}", "tags": [1, 2, 3, "four", null, true]}}';
    }}
    location /close {{ keepalive_timeout 0; return 200 '{{}}'; }}
    location /r3 {{ return 302 /r2; }} location /r2 {{ return 302 /r1; }}
    location /r1 {{ return 302 /json; }}
  }}
}}
"""


@dataclass(frozen=True)
class Server:
    """Where nginx listens, and the authority that signed its certificate."""

    port: int
    tls_port: int
    sink_port: int
    authority: Path
    upload: Path

    def urls(self, scenario: Scenario) -> list[str]:
        """What is asked for, in turn."""
        url = self.url(scenario)
        if scenario.origins == 1:
            return [url]
        return [
            url.replace("127.0.0.1", address) for address in other_addresses()[: scenario.origins]
        ]

    def url(self, scenario: Scenario) -> str:
        if scenario.kind in {"upload", "multipart"}:
            return f"http://127.0.0.1:{self.sink_port}{scenario.path}"
        if scenario.tls:
            return f"https://localhost:{self.tls_port}{scenario.path}"
        return f"http://127.0.0.1:{self.port}{scenario.path}"


def other_addresses() -> list[str]:
    """Loopback addresses, each an origin of its own."""
    return [f"127.0.1.{at}" for at in range(1, ORIGINS + 1)]


def sink(port: int) -> None:
    """Take uploads in and throw them away: nginx would write them to disk, or not read them."""
    listener = socket.create_server(("127.0.0.1", port))
    buffer = memoryview(bytearray(MIB))
    while True:
        peer, _ = listener.accept()
        with peer, contextlib.suppress(OSError):
            rest = b""
            while head_and_rest := _read_head(peer, rest):
                head, rest = head_and_rest
                length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
                if b"100-continue" in head.lower():
                    peer.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                left = int(length[1]) - len(rest) if length else -1
                tail = rest[-5:]
                while left > 0 if length else tail != b"0\r\n\r\n":
                    count = peer.recv_into(buffer)
                    if not count:
                        break
                    left -= count
                    tail = (tail + bytes(buffer[max(0, count - 5) : count]))[-5:]
                rest = b""
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")


def _read_head(peer: socket.socket, data: bytes) -> tuple[bytes, bytes] | None:
    while b"\r\n\r\n" not in data:
        piece = peer.recv(65536)
        if not piece:
            return None
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def nginx() -> Iterator[Server]:
    """nginx on the first processor, for as long as the block runs."""
    import trustme

    program = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if program is None:
        raise SystemExit("the benchmarks need nginx: apt-get install nginx-light")
    with tempfile.TemporaryDirectory(prefix="wherry-bench-") as name:
        root = Path(name)
        root.chmod(0o755)
        (root / "files").mkdir()
        (root / "files" / "100M").write_bytes(os.urandom(MIB) * 100)
        ca = trustme.CA()
        leaf = ca.issue_cert("localhost", "127.0.0.1")
        leaf.private_key_pem.write_to_path(str(root / "key.pem"))
        for blob in leaf.cert_chain_pems:
            blob.write_to_path(str(root / "cert.pem"), append=True)
        ca.cert_pem.write_to_path(str(root / "ca.pem"))
        port, tls_port, sink_port = _free_port(), _free_port(), _free_port()
        listens = " ".join(
            f"listen {address}:{port} backlog=4096;" for address in other_addresses()
        )
        (root / "nginx.conf").write_text(
            CONFIGURATION.format(
                root=root,
                text="What a body says. " * 25,
                port=port,
                tls_port=tls_port,
                listens=listens,
            )
        )
        command = [program, "-c", str(root / "nginx.conf")]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.sched_setaffinity(process.pid, {0})
        taker = multiprocessing.get_context("spawn").Process(
            target=sink, args=(sink_port,), daemon=True
        )
        taker.start()
        os.sched_setaffinity(taker.pid or 0, {0})
        try:
            deadline = time.monotonic() + 10
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                if time.monotonic() > deadline:
                    raise SystemExit((root / "error.log").read_text())
                time.sleep(0.01)
            yield Server(port, tls_port, sink_port, root / "ca.pem", root / "files" / "100M")
        finally:
            taker.terminate()
            taker.join()
            process.terminate()
            process.wait()
