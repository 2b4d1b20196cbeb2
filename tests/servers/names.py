"""dnsmasq and unbound: DNS servers that know the names of the tests."""

from __future__ import annotations

import socket
from pathlib import Path

from tests.servers.authority import CertificateFiles
from tests.servers.process import RealServer, find_program, free_port

# `origin.test` has both families, `two.test` two addresses, and `absent.test` none.
ADDRESSES = {
    "origin.test": ["127.0.0.1", "::1"],
    "two.test": ["127.0.0.1", "127.0.0.2"],
    "six.test": ["::1"],
}


class Dnsmasq(RealServer):
    """dnsmasq; asks nobody else, and logs each question."""

    def __init__(self, directory: Path) -> None:
        port = free_port(socket.SOCK_DGRAM)
        super().__init__("dnsmasq", directory, [port])
        records = "".join(
            f"host-record={name},{address}\n"
            for name, addresses in ADDRESSES.items()
            for address in addresses
        )
        config = self.write(
            "dnsmasq.conf",
            f"keep-in-foreground\nport={port}\nlisten-address=127.0.0.1\nbind-interfaces\nno-resolv\nno-hosts\n"
            f"no-dhcp-interface=lo\nuser=root\npid-file={directory}/dnsmasq.pid\nlocal=/test/\n"
            f"log-queries\nlog-facility={self.log_path}\nlocal-ttl=1\n{records}",
        )
        self.start([find_program("dnsmasq"), f"--conf-file={config}"])


class Unbound(RealServer):
    """unbound; DNS on `port`, DNS over HTTPS (RFC 8484) at /dns-query on `https`."""

    def __init__(self, directory: Path, certificate: CertificateFiles) -> None:
        port, self.https = free_port(socket.SOCK_DGRAM), free_port()
        super().__init__("unbound", directory, [port, self.https])
        records = "".join(
            f'  local-data: "{name}. 1 IN {"AAAA" if ":" in address else "A"} {address}"\n'
            for name, addresses in ADDRESSES.items()
            for address in addresses
        )
        config = self.write(
            "unbound.conf",
            f"server:\n  interface: 127.0.0.1@{port}\n  interface: 127.0.0.1@{self.https}\n  https-port: {self.https}\n"
            f'  tls-service-key: "{certificate.key}"\n  tls-service-pem: "{certificate.chain}"\n'
            '  chroot: ""\n  username: ""\n  use-syslog: no\n  log-queries: yes\n  num-threads: 1\n'
            f'  logfile: "{self.log_path}"\n  pidfile: "{directory}/unbound.pid"\n  directory: "{directory}"\n'
            '  do-daemonize: no\n  do-not-query-localhost: no\n  module-config: "iterator"\n'
            '  access-control: 127.0.0.0/8 allow\n  local-zone: "test." static\n'
            f"{records}remote-control:\n  control-enable: no\n",
        )
        self.start([find_program("unbound"), "-d", "-c", config])
