"""caddy (HTTP/1.1, 2 and 3) and nghttpd (HTTP/2)."""

from __future__ import annotations

import socket
from pathlib import Path

from tests.servers.authority import CertificateFiles
from tests.servers.process import RealServer, find_program, free_port

_CADDYFILE = """
{{
  admin off
  auto_https disable_redirects
  skip_install_trust
  storage file_system {directory}/storage
  log {{
    output file {log}
  }}
}}
http://127.0.0.1:{plain} {{
  bind 127.0.0.1
  log
  respond "{{http.request.proto}} {{http.request.method}} {{http.request.uri}}"
}}
https://localhost:{tls}, https://127.0.0.1:{tls} {{
  bind 127.0.0.1
  tls {chain} {key}
  log
  handle_path /files/* {{
    root * {directory}/files
    file_server
  }}
  respond "{{http.request.proto}} {{http.request.method}} {{http.request.uri}}"
}}
"""


class Caddy(RealServer):
    """caddy: in the clear on `port`; on `tls` HTTP/1.1 and HTTP/2 by TCP, HTTP/3 by UDP."""

    def __init__(self, directory: Path, certificate: CertificateFiles) -> None:
        plain, self.tls = free_port(), free_port(socket.SOCK_DGRAM)
        super().__init__("caddy", directory, [plain, self.tls])
        self.files = directory / "files"
        self.files.mkdir()
        config = self.write(
            "Caddyfile",
            _CADDYFILE.format(
                directory=directory,
                log=self.log_path,
                plain=plain,
                tls=self.tls,
                chain=certificate.chain,
                key=certificate.key,
            ),
        )
        home = {
            "HOME": str(directory),
            "XDG_DATA_HOME": str(directory),
            "XDG_CONFIG_HOME": str(directory),
        }
        self.start(
            [find_program("caddy"), "run", "--adapter", "caddyfile", "--config", config], home
        )


class Nghttpd(RealServer):
    """nghttpd: HTTP/2 over TLS, or with `tls=False` in the clear from the first byte on."""

    def __init__(self, directory: Path, certificate: CertificateFiles, *, tls: bool = True) -> None:
        port = free_port()
        super().__init__("nghttpd", directory, [port])
        self.log_path = directory / "nghttpd.out"
        self.files = directory / "files"
        self.files.mkdir()
        (self.files / "index.html").write_text("nghttpd\n")
        command: list[str | Path] = [
            find_program("nghttpd"),
            "--address=127.0.0.1",
            "-v",
            "-d",
            self.files,
        ]
        command += (
            [str(port), certificate.key, certificate.chain] if tls else ["--no-tls", str(port)]
        )
        self.start(command)
