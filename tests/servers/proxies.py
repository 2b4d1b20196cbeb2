"""Real proxies on loopback: squid, tinyproxy, dante, microsocks, ssh, and TLS by haproxy and
stunnel.

Each runs with a configuration of ours in a temporary directory, and keeps a log, which proves the
way that was taken.  They run beside the tests as processes and end with the test session.
"""

from __future__ import annotations

import getpass
import glob
import os
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

import trustme
from tests.servers.process import (
    Farm,
    find_program,
    free_ports,
    needed,
    program_path,
    wait_for_port,
)

USER, PASSWORD = "user", "pa:ss@wörd/%"
# Proxies whose files take no such characters.
PLAIN_PASSWORD = "pass.word-1"


class RealProxy:
    """One port of a proxy that runs.

    Args:
        name: Whose it is.
        scheme: How it is spoken to.
        port: Its port on 127.0.0.1.
        log: The file that it writes to.
        credentials: The user and the password that it wants.
        behind: The proxy that it stands in front of, for TLS.
    """

    def __init__(
        self,
        name: str,
        scheme: str,
        port: int,
        log: Path,
        credentials: tuple[str, str] | None = None,
        behind: RealProxy | None = None,
    ) -> None:
        self.name = name
        self.scheme = scheme
        self.port = port
        self.log_file = log
        self.credentials = credentials
        self.behind = behind

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def url_with(self, credentials: tuple[str, str] | None) -> str:
        """The URL with credentials in it, percent-encoded."""
        if credentials is None:
            return self.url
        user, password = (quote(part, safe="") for part in credentials)
        return f"{self.scheme}://{user}:{password}@127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return self.log_file.read_bytes().decode(errors="replace") if self.log_file.exists() else ""

    def assert_logs(self, word: str, seconds: float = 20.0) -> str:
        """The first line of the log with `word` in it; it comes at once or soon."""
        end = time.monotonic() + seconds
        while True:
            for line in self.log.splitlines():
                if word in line:
                    return line
            assert time.monotonic() < end, (
                f"{self.name} logged nothing of {word!r}: {self.log[-1000:]}"
            )
            time.sleep(0.01)  # a file has no event to wait for


DIGEST_HELPER = "/usr/lib/squid/digest_file_auth"


def nss_wrapper() -> str | None:
    """The library that gives dante users of ours."""
    return next(iter(glob.glob("/usr/lib/*/libnss_wrapper.so")), None)


def dante_is_there() -> bool:
    return program_path("danted") is not None and nss_wrapper() is not None


class ProxyFarm(Farm):
    """Every real proxy, started together."""

    def __init__(self, directory: Path, authority: trustme.CA) -> None:
        self.authority = authority
        super().__init__(directory)

    def start_all(self) -> None:
        self.directory.chmod(0o777)
        certificate = self.authority.issue_cert("localhost", "127.0.0.1")
        self.pem = self.directory / "server.pem"
        certificate.private_key_and_cert_chain_pem.write_to_path(self.pem)
        self.key = self.directory / "server.key"
        certificate.private_key_pem.write_to_path(self.key)
        self.chain = self.directory / "server.crt"
        self.chain.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
        for path in (self.pem, self.key, self.chain):
            path.chmod(0o644)
        ports = iter(free_ports(18))
        self.add(["tinyproxy"], self._tinyproxy, "tinyproxy", next(ports), None)
        self.add(
            ["tinyproxy_auth"],
            self._tinyproxy,
            "tinyproxy-auth",
            next(ports),
            (USER, PLAIN_PASSWORD),
        )
        squids = ["squid", "squid_auth", "squid_tls", "squid_tls_auth"]
        self.add(squids, self._squid, [next(ports) for _ in squids])
        self.add(["microsocks"], self._microsocks, "microsocks", next(ports), None)
        self.add(
            ["microsocks_auth"], self._microsocks, "microsocks-auth", next(ports), (USER, PASSWORD)
        )
        self.add(["haproxy"], lambda port: self._haproxy(port, self.tinyproxy), next(ports))
        self.add(["stunnel"], lambda port: self._stunnel(port, self.tinyproxy_auth), next(ports))
        sshd = next(ports)
        self.add(["ssh"], self._ssh, next(ports), sshd)
        account = ("dante-user", PLAIN_PASSWORD)
        if dante_is_there():
            self.add(["dante"], self._dante, "dante", next(ports), None)
            self.add(["dante_auth"], self._dante, "dante-auth", next(ports), account)
            self.dante_socks4 = self.__dict__.get("dante")
        else:
            # Not every release of Debian has it: others stand in, so that no kind of SOCKS goes
            # untested.
            self.add(["dante"], self._microsocks, "microsocks-for-dante", next(ports), None)
            self.add(
                ["dante_auth"], self._microsocks, "microsocks-for-dante-auth", next(ports), account
            )
            self.add(["dante_socks4"], self._ssh_client, "ssh-for-dante", next(ports), sshd)
        every = [value for value in vars(self).values() if isinstance(value, RealProxy)]
        for proxy in every:
            wait_for_port(proxy.name, proxy.port, self.directory, self.processes)

    def get(self, name: str, scheme: str) -> RealProxy:
        """The proxy of that name (an attribute), spoken to in that way."""
        proxy: RealProxy = getattr(
            self, f"{name}_socks4" if (name, scheme) == ("dante", "socks4") else name
        )
        return RealProxy(
            proxy.name, scheme, proxy.port, proxy.log_file, proxy.credentials, proxy.behind
        )

    # --- one by one -------------------------------------------------------------------------------

    def _tinyproxy(self, name: str, port: int, credentials: tuple[str, str] | None) -> RealProxy:
        log = self.directory / f"{name}.log"
        config = self.directory / f"{name}.conf"
        lines = [
            f"Port {port}",
            "Listen 127.0.0.1",
            "Timeout 60",
            "Allow 127.0.0.1",
            "MaxClients 100",
        ]
        lines += [f'LogFile "{log}"', "LogLevel Info", "DisableViaHeader Yes"]
        if credentials:
            lines.append(f"BasicAuth {credentials[0]} {credentials[1]}")
        config.write_text("\n".join(lines) + "\n")
        self.run(name, [find_program("tinyproxy"), "-d", "-c", str(config)])
        return RealProxy(name, "http", port, log, credentials)

    def _squid(self, ports: list[int]) -> tuple[RealProxy, RealProxy, RealProxy, RealProxy]:
        home = self.directory / "squid"
        home.mkdir()
        home.chmod(0o777)
        log = home / "access.log"
        helper = home / "auth.sh"
        # basic_ncsa_auth reads crypt(3) hashes; this helper needs none: it compares.
        helper.write_text(
            "#!/bin/sh\nwhile read -r pair; do\n"
            f'  if [ "$pair" = "{USER} {PLAIN_PASSWORD}" ]; then echo OK; else echo ERR; fi\ndone\n'
        )
        helper.chmod(0o755)
        config = home / "squid.conf"
        accounts = home / "accounts"
        accounts.write_text(f"{USER}:{PLAIN_PASSWORD}\n")
        digest = (
            f"auth_param digest program {DIGEST_HELPER} {accounts}\nauth_param digest realm squid\n"
        )
        digest = (
            digest + "auth_param digest children 1 startup=1\n"
            if Path(DIGEST_HELPER).exists()
            else ""
        )
        plain, auth, tls, tls_auth = ports
        tls_options = f"tls-cert={self.chain} tls-key={self.key}"
        config.write_text(
            f"http_port 127.0.0.1:{plain} name=plain\n"
            f"http_port 127.0.0.1:{auth} name=auth\n"
            f"https_port 127.0.0.1:{tls} name=tls {tls_options}\n"
            f"https_port 127.0.0.1:{tls_auth} name=tlsauth {tls_options}\n"
            f"auth_param basic program {helper}\n"
            "auth_param basic children 1 startup=1\n"
            f"{digest}"
            "acl known proxy_auth REQUIRED\n"
            "acl guarded myportname auth tlsauth\n"
            "http_access deny guarded !known\n"
            "http_access allow all\n"
            "cache deny all\n"
            "logformat way %ts.%03tu %>a %Ss/%03>Hs %rm %ru %un port=%lp sent=%>h\n"
            f"access_log stdio:{log} way\n"
            "logfile_rotate 0\nbuffered_logs off\nlog_mime_hdrs off\n"
            f"cache_log {home / 'cache.log'}\n"
            f"pid_filename {home / 'squid.pid'}\ncoredump_dir {home}\n"
            "visible_hostname squid.test\nshutdown_lifetime 0 seconds\npinger_enable off\n"
            "via off\nforwarded_for delete\nnetdb_filename none\nworkers 1\n"
        )
        self.run("squid", [find_program("squid"), "-N", "-f", str(config)])
        account = (USER, PLAIN_PASSWORD)
        return (
            RealProxy("squid", "http", plain, log),
            RealProxy("squid-auth", "http", auth, log, account),
            RealProxy("squid-tls", "https", tls, log),
            RealProxy("squid-tls-auth", "https", tls_auth, log, account),
        )

    def _microsocks(self, name: str, port: int, credentials: tuple[str, str] | None) -> RealProxy:
        command = [find_program("microsocks"), "-i", "127.0.0.1", "-p", str(port)]
        if credentials:
            command += ["-u", credentials[0], "-P", credentials[1]]
        return RealProxy(name, "socks5", port, self.run(name, command), credentials)

    def _dante(self, name: str, port: int, credentials: tuple[str, str] | None) -> RealProxy:
        log = self.directory / f"{name}.log"
        config = self.directory / f"{name}.conf"
        method = "username" if credentials else "none"
        privileges = "user.privileged: root\nuser.unprivileged: root\n" if os.geteuid() == 0 else ""
        config.write_text(
            f"logoutput: {log}\n"
            f"internal: 127.0.0.1 port = {port}\nexternal: 127.0.0.1\nexternal.rotation: none\n"
            f"clientmethod: none\nsocksmethod: {method}\n"
            f"{privileges}"
            "client pass { from: 127.0.0.0/8 to: 0.0.0.0/0 log: error }\n"
            "socks pass { from: 127.0.0.0/8 to: 0.0.0.0/0 log: connect error }\n"
        )
        environ = None
        if credentials:
            environ = self._accounts(name, credentials)
        self.run(
            name,
            [find_program("danted"), "-f", str(config), "-p", str(self.directory / f"{name}.pid")],
            environ,
        )
        return RealProxy(name, "socks5", port, log, credentials)

    def _accounts(self, name: str, credentials: tuple[str, str]) -> dict[str, str]:
        """Dante asks the system for its users; nss_wrapper lets it ask files of ours."""
        user, password = credentials
        hashed = subprocess.run(
            ["openssl", "passwd", "-6", password], capture_output=True, text=True, check=True
        ).stdout.strip()
        passwd, group, shadow = (
            self.directory / f"{name}.{kind}" for kind in ("passwd", "group", "shadow")
        )
        passwd.write_text(f"root:x:0:0:root:/root:/bin/sh\n{user}:x:54321:54321:{user}:/:/bin/sh\n")
        group.write_text(f"root:x:0:\n{user}:x:54321:\n")
        shadow.write_text(f"root:*:19000:0:99999:7:::\n{user}:{hashed}:19000:0:99999:7:::\n")
        library = needed("libnss-wrapper", nss_wrapper())
        return {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "LD_PRELOAD": library,
            "NSS_WRAPPER_PASSWD": str(passwd),
            "NSS_WRAPPER_GROUP": str(group),
            "NSS_WRAPPER_SHADOW": str(shadow),
        }

    def _ssh(self, port: int, server_port: int) -> RealProxy:
        """OpenSSH's dynamic forwarding speaks SOCKS4a, which dante does not; the log is the
        server's.
        """
        home = self.directory / "ssh"
        home.mkdir(mode=0o755)
        keygen = find_program("ssh-keygen")
        for name in ("host", "user"):
            subprocess.run(
                [keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(home / name)], check=True
            )
        config = home / "sshd.conf"
        config.write_text(
            f"Port {server_port}\nListenAddress 127.0.0.1\nHostKey {home / 'host'}\n"
            f"AuthorizedKeysFile {home / 'user.pub'}\nStrictModes no\nUsePAM no\nPidFile none\n"
            "PermitRootLogin prohibit-password\nPasswordAuthentication no\nAllowTcpForwarding yes\nLogLevel DEBUG1\n"
        )
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd asks for it
        self.run("sshd", [find_program("sshd"), "-D", "-e", "-f", str(config)])
        wait_for_port("sshd", server_port, self.directory, self.processes)
        return self._ssh_client("ssh", port, server_port)

    def _ssh_client(self, name: str, port: int, server_port: int) -> RealProxy:
        """One `ssh -D` at the server that `_ssh` started."""
        user = self.directory / "ssh" / "user"
        client = [
            find_program("ssh"),
            "-N",
            "-F",
            "none",
            "-D",
            f"127.0.0.1:{port}",
            "-p",
            str(server_port),
        ]
        client += ["-i", str(user), "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=no"]
        client += [
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "BatchMode=yes",
            f"{getpass.getuser()}@127.0.0.1",
        ]
        self.run(name, client)
        return RealProxy(name, "socks4a", port, self.directory / "sshd.out")

    def _haproxy(self, port: int, behind: RealProxy) -> RealProxy:
        config = self.directory / "haproxy.cfg"
        config.write_text(
            "global\n  log stdout format raw local0\n  maxconn 200\n"
            "defaults\n  mode tcp\n  log global\n  option tcplog\n"
            "  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n"
            f"frontend tls\n  bind 127.0.0.1:{port} ssl crt {self.pem} alpn http/1.1\n  default_backend plain\n"
            f"backend plain\n  server behind 127.0.0.1:{behind.port}\n"
        )
        log = self.run("haproxy", [find_program("haproxy"), "-db", "-f", str(config)])
        return RealProxy("haproxy", "https", port, log, behind.credentials, behind)

    def _stunnel(self, port: int, behind: RealProxy) -> RealProxy:
        config = self.directory / "stunnel.conf"
        log = self.directory / "stunnel.log"
        config.write_text(
            f"foreground = yes\npid =\noutput = {log}\ndebug = info\n"
            f"[tls]\naccept = 127.0.0.1:{port}\nconnect = 127.0.0.1:{behind.port}\n"
            f"cert = {self.chain}\nkey = {self.key}\n"
        )
        self.run("stunnel", [find_program("stunnel4"), str(config)])
        return RealProxy("stunnel", "https", port, log, behind.credentials, behind)
