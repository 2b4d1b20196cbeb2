"""haproxy and stunnel: TLS in front of a plain server."""

from __future__ import annotations

from pathlib import Path

from tests.servers.authority import CertificateFiles
from tests.servers.process import RealServer, find_program, free_port

_HAPROXY = """
global
  log stdout format raw local0
  maxconn 2000
defaults
  mode http
  log global
  option httplog
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend http1
  bind 127.0.0.1:{http1} ssl crt {both} alpn http/1.1
  default_backend behind
frontend http2
  bind 127.0.0.1:{http2} ssl crt {both} alpn h2,http/1.1
  default_backend behind
backend behind
  server behind 127.0.0.1:{behind}
"""


class Haproxy(RealServer):
    """haproxy with TLS in front of a plain port: HTTP/1.1 on `port`, HTTP/2 on `http2`."""

    def __init__(self, directory: Path, certificate: CertificateFiles, behind: int) -> None:
        http1, self.http2 = free_port(), free_port()
        super().__init__("haproxy", directory, [http1, self.http2])
        self.log_path = directory / "haproxy.out"
        config = self.write(
            "haproxy.cfg",
            _HAPROXY.format(both=certificate.both, http1=http1, http2=self.http2, behind=behind),
        )
        self.start([find_program("haproxy"), "-db", "-f", config])


class Stunnel(RealServer):
    """stunnel with TLS in front of a plain port."""

    def __init__(self, directory: Path, certificate: CertificateFiles, behind: int) -> None:
        port = free_port()
        super().__init__("stunnel", directory, [port])
        config = self.write(
            "stunnel.conf",
            f"foreground = yes\npid =\noutput = {self.log_path}\ndebug = info\n"
            f"[tests]\naccept = 127.0.0.1:{port}\nconnect = 127.0.0.1:{behind}\n"
            f"cert = {certificate.chain}\nkey = {certificate.key}\n",
        )
        self.start([find_program("stunnel4"), config])
