"""apache2: digest and basic authentication, HTTP/2 over TLS and in the clear."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tests.servers.authority import CertificateFiles
from tests.servers.process import RealServer, find_program, free_port

MODULES = Path("/usr/lib/apache2/modules")
REALM = "tests"

_CONFIG = """
ServerRoot {directory}
ServerName localhost
PidFile {directory}/apache.pid
DefaultRuntimeDir {directory}
Mutex file:{directory} default
User www-data
Group www-data
{modules}
ErrorLog {directory}/error.log
LogFormat "%k \\"%r\\" %>s port=%p user=%u protocol=%H auth=\\"%{{Authorization}}i\\"" way
CustomLog {log} way
KeepAlive On
MaxKeepAliveRequests 0
StartServers 1
MinSpareThreads 2
MaxSpareThreads 25
ThreadsPerChild 25
ServerLimit 1
MaxRequestWorkers 25
Listen 127.0.0.1:{plain}
Listen 127.0.0.1:{tls}
DocumentRoot {files}
<Directory {files}>
  Require all granted
</Directory>
<Directory {files}/digest>
  AuthType Digest
  AuthName "{realm}"
  AuthDigestProvider file
  AuthDigestQop auth
  AuthDigestDomain /digest/
  AuthUserFile {directory}/users.digest
  Require valid-user
</Directory>
<Directory {files}/once>
  AuthType Digest
  AuthName "{realm}"
  AuthDigestProvider file
  AuthDigestNonceLifetime 1
  AuthUserFile {directory}/users.digest
  Require valid-user
</Directory>
<VirtualHost 127.0.0.1:{plain}>
  Protocols h2c http/1.1
</VirtualHost>
<VirtualHost 127.0.0.1:{tls}>
  Protocols h2 http/1.1
  SSLEngine on
  SSLCertificateFile {chain}
  SSLCertificateKeyFile {key}
  SSLCACertificateFile {authority}
  <Location /certified>
    SSLVerifyClient require
  </Location>
</VirtualHost>
"""


class Apache(RealServer):
    """A running apache2.

    /index.txt is open, /digest/index.txt wants `user` and `password` by digest, /once/index.txt
    with nonces that live for one second; `name` is another user with that password.  `tls` speaks
    HTTP/2 and 1.1; there, /certified/index.txt wants a client's certificate, for which it asks
    after the handshake: HTTP/2 forbids that.
    """

    user = "user"
    name = "Jäsøn Doe"
    password = "pass:word"

    def __init__(self, directory: Path, certificate: CertificateFiles) -> None:
        plain, self.tls = free_port(), free_port()
        super().__init__("apache", directory, [plain, self.tls])
        self.files = directory / "files"
        self.files.mkdir(parents=True)
        (self.files / "index.txt").write_text("open\n")
        for guarded in ("digest", "once", "certified"):
            (self.files / guarded).mkdir()
            (self.files / guarded / "index.txt").write_text("guarded\n")
        lines = ""
        for login in (self.user, self.name):
            digest = hashlib.md5(f"{login}:{REALM}:{self.password}".encode()).hexdigest()
            lines += f"{login}:{REALM}:{digest}\n"
        self.write("users.digest", lines)
        names = (
            "mpm_event authn_core authn_file authz_core authz_user auth_digest ssl http2 "
            "socache_shmcb"
        )
        modules = "\n".join(
            f"LoadModule {name}_module {MODULES}/mod_{name}.so" for name in names.split()
        )
        config = self.write(
            "apache.conf",
            _CONFIG.format(
                directory=directory,
                modules=modules,
                log=self.log_path,
                plain=plain,
                tls=self.tls,
                files=self.files,
                realm=REALM,
                chain=certificate.chain,
                key=certificate.key,
                authority=certificate.authority,
            ),
        )
        self.start([find_program("apache2"), "-f", config, "-DFOREGROUND"])
