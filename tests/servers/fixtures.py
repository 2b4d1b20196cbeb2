"""Fixtures of the real servers, each started at its first use and once for a run, and of the raw
server.
"""

from __future__ import annotations

import contextlib
import shutil
import ssl
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trustme
from tests.servers.apache import Apache
from tests.servers.authority import (
    NAMES,
    CertificateFiles,
    client_context,
    server_context,
    write_certificate,
)
from tests.servers.http_servers import Caddy, Nghttpd
from tests.servers.names import Dnsmasq, Unbound
from tests.servers.nginx import Nginx
from tests.servers.pki import Pki
from tests.servers.process import RealServer
from tests.servers.proxies import ProxyFarm
from tests.servers.raw import RawServer, Script
from tests.servers.redis_server import RedisServer
from tests.servers.tls_fronts import Haproxy, Stunnel

_S = TypeVar("_S", bound=RealServer)
RawServerFactory = Callable[..., Awaitable[RawServer]]


@contextlib.contextmanager
def open_directory() -> Iterator[Path]:
    """A directory that servers can enter which give up root's rights."""
    # Not below pytest's own directory: each new run of pytest closes that for all but its owner.
    directory = Path(tempfile.mkdtemp(prefix="wherry-tests-"))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def running(make: Callable[..., _S], *args: Any, **kwargs: Any) -> Iterator[_S]:
    """A server in a directory of its own."""
    with open_directory() as directory:
        server = make(directory, *args, **kwargs)
        try:
            yield server
        finally:
            server.stop()


# --- certificates ---------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def ca() -> trustme.CA:
    """The authority that signs the servers' certificates."""
    return trustme.CA()


@pytest.fixture(scope="session")
def server_cert(ca: trustme.CA) -> trustme.LeafCert:
    """A certificate for localhost, 127.0.0.1, ::1 and origin.test."""
    return ca.issue_cert(*NAMES)


@pytest.fixture(scope="session")
def client_cert(ca: trustme.CA) -> trustme.LeafCert:
    """What a client shows who has a certificate."""
    return ca.issue_cert("client@origin.test", common_name="tests-client")


@pytest.fixture(scope="session")
def certificate_files(ca: trustme.CA, server_cert: trustme.LeafCert) -> Iterator[CertificateFiles]:
    """`server_cert` as files."""
    with open_directory() as directory:
        yield write_certificate(ca, server_cert, directory)


@pytest.fixture
def server_tls(server_cert: trustme.LeafCert) -> ssl.SSLContext:
    """A context for servers of Python's."""
    return server_context(server_cert)


@pytest.fixture
def client_tls(ca: trustme.CA) -> ssl.SSLContext:
    """A context for clients that trust the authority."""
    return client_context(ca)


@pytest.fixture
def client_tls_with_cert(ca: trustme.CA, client_cert: trustme.LeafCert) -> ssl.SSLContext:
    """The same, with a client's certificate."""
    return client_context(ca, client_cert)


# --- real servers ---------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def nginx(certificate_files: CertificateFiles) -> Iterator[Nginx]:
    with running(Nginx, certificate_files) as server:
        yield server


@pytest.fixture(scope="session")
def apache(certificate_files: CertificateFiles) -> Iterator[Apache]:
    with running(Apache, certificate_files) as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    with running(RedisServer) as server:
        yield server


@pytest.fixture(scope="session")
def haproxy(certificate_files: CertificateFiles, nginx: Nginx) -> Iterator[Haproxy]:
    """TLS by haproxy in front of nginx."""
    with running(Haproxy, certificate_files, nginx.port) as server:
        yield server


@pytest.fixture(scope="session")
def stunnel(certificate_files: CertificateFiles, nginx: Nginx) -> Iterator[Stunnel]:
    """TLS by stunnel in front of nginx."""
    with running(Stunnel, certificate_files, nginx.port) as server:
        yield server


@pytest.fixture(scope="session")
def dnsmasq() -> Iterator[Dnsmasq]:
    with running(Dnsmasq) as server:
        yield server


@pytest.fixture(scope="session")
def unbound(certificate_files: CertificateFiles) -> Iterator[Unbound]:
    with running(Unbound, certificate_files) as server:
        yield server


@pytest.fixture(scope="session")
def caddy(certificate_files: CertificateFiles) -> Iterator[Caddy]:
    with running(Caddy, certificate_files) as server:
        yield server


@pytest.fixture(scope="session")
def nghttpd(certificate_files: CertificateFiles) -> Iterator[Nghttpd]:
    with running(Nghttpd, certificate_files) as server:
        yield server


@pytest.fixture(scope="session")
def nghttpd_plain(certificate_files: CertificateFiles) -> Iterator[Nghttpd]:
    """HTTP/2 in the clear, by prior knowledge."""
    with running(Nghttpd, certificate_files, tls=False) as server:
        yield server


# --- proxies --------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def pki() -> Pki:
    """The authority of the proxies and of the origins behind them."""
    return Pki()


@pytest.fixture(scope="session")
def proxies(pki: Pki) -> Iterator[ProxyFarm]:
    """Every real proxy."""
    with open_directory() as directory:
        farm = ProxyFarm(directory, pki.authority)
        try:
            yield farm
        finally:
            farm.close()


# --- the raw server -------------------------------------------------------------------------------


@pytest.fixture
async def raw_server() -> AsyncIterator[RawServerFactory]:
    """``await raw_server(script, context=None)`` starts a `RawServer`; all end with the test."""
    started: list[RawServer] = []

    async def start(
        script: Script | Sequence[bytes], context: ssl.SSLContext | None = None, **options: Any
    ) -> RawServer:
        server = RawServer(script)
        started.append(server)
        return await server.start(context, **options)

    yield start
    for server in started:
        await server.stop()
