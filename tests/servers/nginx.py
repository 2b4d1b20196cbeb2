"""nginx: plain, TLS 1.2 and 1.3, client certificates, a Unix socket, few requests a connection,
HTTP/2.
"""

from __future__ import annotations

from pathlib import Path

from tests.servers.authority import CertificateFiles
from tests.servers.process import RealServer, find_program, free_port

JSON = b'{"message": "Hello, World!", "count": 12345, "ok": 1}\n'

_STATUSES = (204, 400, 401, 403, 404, 429, 500, 502, 503)

# `/` tells what nginx saw, line by line; `/json` gives 54 bytes; `/files/` serves the directory
# `files`, `/listed/` too with an index.
_LOCATIONS = """
    default_type text/plain;
    location = / {{ return 200 "$request_method $request_uri\\nhost $http_host\\nprotocol $server_protocol\\n\
tls $ssl_protocol\\nresumed $ssl_session_reused\\nclient $ssl_client_s_dn\\nrequest $connection_requests\\n"; }}
    location = /json {{ default_type application/json; return 200 '{json}'; }}
    location /files/ {{ alias {files}/; gzip on; gzip_types text/plain; gzip_min_length 1; }}
    location /listed/ {{ alias {files}/; autoindex on; }}
    location = /moved {{ return 302 /json; }}
"""

_CONFIG = """
daemon off;
user root;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/error.log warn;
events {{ worker_connections 2048; }}
http {{
  log_format way '$connection $connection_requests "$request" $status port=$server_port tls=$ssl_protocol '
                 'resumed=$ssl_session_reused client="$ssl_client_s_dn" length=$request_length';
  access_log {log} way;
  client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
  keepalive_requests 1000000; keepalive_timeout 60s; client_max_body_size 200m;
  ssl_certificate {chain}; ssl_certificate_key {key};
  ssl_protocols TLSv1.2 TLSv1.3;
  ssl_session_cache shared:tests:1m;
  server {{ listen 127.0.0.1:{plain} backlog=1024; {locations} }}
  server {{ listen unix:{socket}; {locations} }}
  server {{ listen 127.0.0.1:{tls12} ssl; ssl_protocols TLSv1.2; {locations} }}
  server {{ listen 127.0.0.1:{tls13} ssl; ssl_protocols TLSv1.3; {locations} }}
  server {{ listen 127.0.0.1:{client_cert} ssl; ssl_client_certificate {authority}; ssl_verify_client on; {locations} }}
  server {{ listen 127.0.0.1:{five_requests}; keepalive_requests 5; {locations} }}
  server {{ listen 127.0.0.1:{http2} ssl http2; {locations} }}
}}
"""


class Nginx(RealServer):
    """A running nginx.

    `port` is the plain one; `tls12`, `tls13`, `client_cert`, `five_requests` (keepalive_requests 5)
    and `http2` are the others; `socket_path` is its Unix socket, `files` the directory that it
    serves under /files/.
    """

    def __init__(self, directory: Path, certificate: CertificateFiles) -> None:
        names = ("plain", "tls12", "tls13", "client_cert", "five_requests", "http2")
        ports = {name: free_port() for name in names}
        super().__init__("nginx", directory, list(ports.values()))
        self.tls12, self.tls13 = ports["tls12"], ports["tls13"]
        self.client_cert, self.five_requests, self.http2 = (
            ports["client_cert"],
            ports["five_requests"],
            ports["http2"],
        )
        self.socket_path = directory / "nginx.sock"
        self.files = directory / "files"
        self.files.mkdir()
        locations = _LOCATIONS.format(json=JSON.decode(), files=self.files) + "".join(
            f"location = /status/{code} {{ return {code}; }}\n" for code in _STATUSES
        )
        config = self.write(
            "nginx.conf",
            _CONFIG.format(
                directory=directory,
                log=self.log_path,
                socket=self.socket_path,
                locations=locations,
                chain=certificate.chain,
                key=certificate.key,
                authority=certificate.authority,
                **ports,
            ),
        )
        self.start(
            [find_program("nginx"), "-p", directory, "-e", directory / "error.log", "-c", config]
        )
