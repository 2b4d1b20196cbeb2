"""Real HTTP/2 origins on loopback: nginx, Apache httpd, nghttpd, haproxy, caddy and hypercorn.

Each serves the same few files and, where it can, takes an upload.  They run beside the tests as
processes, are started together, and end with the test session.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.servers.pki import Pki
from tests.servers.process import Farm, find_program, free_ports, wait_for_port

from wherry import Http2Options

SMALL = b'{"message": "Hello, World!", "id": 12345, "ok": true}\n'
LARGE = bytes(range(256)) * 4096 * 2  # 2 MiB

# haproxy 2.6 can forget, under load, a connection on which more is wanted than its buffers hold; a
# frame wakes it.
MODEST = Http2Options(ping_interval=0.5, initial_window=128 * 1024, connection_window=256 * 1024)

HYPERCORN_APP = """
import asyncio

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while True:
            message = await receive()
            if message["type"] != "websocket.receive":
                return
            await send({"type": "websocket.send", "text": message.get("text"), "bytes": message.get("bytes")})
    size = 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    path = scope["path"]
    body = LARGE if path == "/large" else SMALL if path == "/small" else str(size).encode()
    headers = [(b"content-type", b"application/json"), (b"x-version", scope["http_version"].encode())]
    trailers = path == "/trailers"
    if not trailers:
        headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": 200, "headers": headers, "trailers": trailers})
    await send({"type": "http.response.body", "body": body})
    if trailers:
        await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"1")], "more_trailers": False})

SMALL = %r
LARGE = bytes(range(256)) * 4096 * 2
"""


class Http2Server:
    """One real server.

    Args:
        name: Whose it is.
        tls_port: Its port with TLS and ALPN.
        plain_port: Its port for prior knowledge (h2c), None where it has none.
        counts_uploads: POST to /upload answers with how many bytes came.
    """

    def __init__(
        self, name: str, tls_port: int, plain_port: int | None, *, counts_uploads: bool
    ) -> None:
        self.name = name
        self.tls_port = tls_port
        self.plain_port = plain_port
        self.counts_uploads = counts_uploads


class Http2Servers(Farm):
    """Every real HTTP/2 server, started together.

    Args:
        directory: Where their files go.
        pki: Who signs their certificates.
    """

    def __init__(self, directory: Path, pki: Pki) -> None:
        self.pki = pki
        super().__init__(directory)

    def start_all(self) -> None:
        directory = self.directory
        self.www = directory / "www"
        self.www.mkdir()
        (self.www / "small").write_bytes(SMALL)
        (self.www / "large").write_bytes(LARGE)
        certificate = self.pki.authority.issue_cert("localhost", "127.0.0.1")
        self.key, self.chain, self.pem = (
            directory / name for name in ("server.key", "server.crt", "server.pem")
        )
        certificate.private_key_pem.write_to_path(self.key)
        self.chain.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
        certificate.private_key_and_cert_chain_pem.write_to_path(self.pem)
        for parent in (directory, *directory.parents[:2]):
            parent.chmod(0o755)
        for path in directory.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        ports = free_ports(11)
        self.add(["hypercorn"], self._hypercorn, ports[0], ports[1])
        self.add(["nginx"], self._nginx, ports[2], ports[3])
        self.add(["apache"], self._apache, ports[4], ports[5])
        self.add(["nghttpd"], self._nghttpd, ports[6])
        self.add(["haproxy"], self._haproxy, ports[7], ports[8], ports[1])
        self.add(["caddy"], self._caddy, ports[9], ports[10], ports[1])
        for server in [one for one in vars(self).values() if isinstance(one, Http2Server)]:
            for port in (server.tls_port, server.plain_port):
                if port is not None:
                    wait_for_port(server.name, port, self.directory, self.processes)

    def _start(self, name: str, command: list[str]) -> None:
        self.run(name, command, {"HOME": str(self.directory), "XDG_DATA_HOME": str(self.directory)})

    def _config(self, name: str, text: str) -> str:
        path = self.directory / name
        path.write_text(text)
        path.chmod(0o644)
        return str(path)

    # --- one by one -------------------------------------------------------------------------------

    def _nginx(self, tls: int, plain: int) -> Http2Server:
        temporary = " ".join(
            f"{kind}_temp_path {self.directory}/nginx-{kind};"
            for kind in ("proxy", "fastcgi", "uwsgi", "scgi")
        )
        config = f"""
            daemon off; master_process off; pid {self.directory}/nginx.pid; error_log {self.directory}/nginx.err;
            events {{}}
            http {{
                access_log off; default_type application/json; root {self.www}; client_max_body_size 0;
                client_body_temp_path {self.directory}/nginx-body; {temporary}
                ssl_certificate {self.chain}; ssl_certificate_key {self.key};
                error_page 405 =200 $uri; http2_max_concurrent_streams 8; keepalive_requests 100;
                server {{ listen 127.0.0.1:{tls} ssl http2; }}
                server {{ listen 127.0.0.1:{plain} http2; }}
            }}"""
        self._start(
            "nginx",
            [
                find_program("nginx"),
                "-p",
                str(self.directory),
                "-c",
                self._config("nginx.conf", config),
            ],
        )
        return Http2Server("nginx", tls, plain, counts_uploads=False)

    def _apache(self, tls: int, plain: int) -> Http2Server:
        modules = "/usr/lib/apache2/modules"
        names = [
            "mpm_event",
            "authn_core",
            "authz_core",
            "http2",
            "mime",
            "dir",
            "ssl",
            "socache_shmcb",
        ]
        load = "\n".join(f"LoadModule {name}_module {modules}/mod_{name}.so" for name in names)
        config = f"""{load}
            ServerRoot {self.directory}
            ServerName localhost
            PidFile {self.directory}/apache.pid
            DefaultRuntimeDir {self.directory}
            Mutex file:{self.directory}
            TypesConfig /dev/null
            ErrorLog {self.directory}/apache.err
            Listen 127.0.0.1:{tls}
            Listen 127.0.0.1:{plain}
            StartServers 1
            ServerLimit 1
            ThreadsPerChild 16
            MaxRequestWorkers 16
            DocumentRoot {self.www}
            Protocols h2 h2c http/1.1
            <Directory {self.www}>
                Require all granted
            </Directory>
            <VirtualHost 127.0.0.1:{tls}>
                SSLEngine on
                SSLCertificateFile {self.chain}
                SSLCertificateKeyFile {self.key}
            </VirtualHost>"""
        self._start(
            "apache",
            [find_program("apache2"), "-DFOREGROUND", "-f", self._config("apache.conf", config)],
        )
        return Http2Server("apache", tls, plain, counts_uploads=False)

    def _nghttpd(self, tls: int) -> Http2Server:
        command = [
            find_program("nghttpd"),
            "-a",
            "127.0.0.1",
            "-d",
            str(self.www),
            "--trailer",
            "x-sum: 1",
        ]
        self._start("nghttpd", [*command, str(tls), str(self.key), str(self.chain)])
        return Http2Server("nghttpd", tls, None, counts_uploads=False)

    def _haproxy(self, tls: int, plain: int, backend: int) -> Http2Server:
        config = f"""
global
    maxconn 200
    log stderr local0 warning
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend front
    bind 127.0.0.1:{tls} ssl crt {self.pem} alpn h2,http/1.1
    bind 127.0.0.1:{plain} proto h2
    default_backend back
backend back
    server one 127.0.0.1:{backend}
"""
        self._start(
            "haproxy", [find_program("haproxy"), "-db", "-f", self._config("haproxy.cfg", config)]
        )
        return Http2Server("haproxy", tls, plain, counts_uploads=True)

    def _caddy(self, tls: int, plain: int, backend: int) -> Http2Server:
        config = f"""{{
    admin off
    auto_https off
    skip_install_trust
    servers {{
        protocols h1 h2 h2c
    }}
}}
https://localhost:{tls}, https://127.0.0.1:{tls} {{
    bind 127.0.0.1
    tls {self.chain} {self.key}
    reverse_proxy 127.0.0.1:{backend}
}}
http://localhost:{plain}, http://127.0.0.1:{plain} {{
    bind 127.0.0.1
    reverse_proxy 127.0.0.1:{backend}
}}
"""
        path = self._config("Caddyfile", config)
        self._start(
            "caddy", [find_program("caddy"), "run", "--config", path, "--adapter", "caddyfile"]
        )
        return Http2Server("caddy", tls, plain, counts_uploads=True)

    def _hypercorn(self, tls: int, plain: int) -> Http2Server:
        self._config("http2_app.py", HYPERCORN_APP % SMALL)
        certificates = ["--keyfile", str(self.key), "--certfile", str(self.chain)]
        binds = ["--bind", f"127.0.0.1:{tls}", "--insecure-bind", f"127.0.0.1:{plain}"]
        self._start(
            "hypercorn", [sys.executable, "-m", "hypercorn", *binds, *certificates, "http2_app:app"]
        )
        return Http2Server("hypercorn", tls, plain, counts_uploads=True)


SERVER_NAMES = ("nginx", "apache", "nghttpd", "haproxy", "caddy", "hypercorn")


@pytest.fixture(scope="session")
def http2_servers(tmp_path_factory: pytest.TempPathFactory, pki: Pki) -> Iterator[Http2Servers]:
    """Every real HTTP/2 origin."""
    servers = Http2Servers(tmp_path_factory.mktemp("http2"), pki)
    try:
        yield servers
    finally:
        servers.close()
