"""QUIC over an event loop that cannot watch sockets, as Windows' Proactor: datagrams go by
`create_datagram_endpoint`.
"""

from __future__ import annotations

import asyncio
import errno
import os
import ssl
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

import pytest
from tests.servers.authority import CertificateFiles
from tests.servers.http_servers import Caddy

import wherry

pytest.importorskip("qh3", reason="HTTP/3 needs the extra http3, whose package is not here")
pytest.importorskip("aioquic", reason="the HTTP/3 servers of the tests are made of aioquic")

from tests.servers.http3 import http3_server, response


class Proactor(asyncio.SelectorEventLoop):
    """A loop that has transports for datagrams, and nothing for bare sockets."""

    def _refuse(self, *_: Any) -> NoReturn:
        raise NotImplementedError

    add_reader = remove_reader = add_writer = remove_writer = _refuse  # type: ignore[assignment]


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=Proactor) as runner:
        runner.run(main())


def session_with(tls: ssl.SSLContext, **options: Any) -> wherry.ClientSession:
    connector = wherry.TCPConnector(
        protocols=("h3",), ssl=tls, resolver=wherry.ThreadedResolver(), **options
    )
    return wherry.ClientSession(connector=connector)


def test_requests_go_by_datagram_endpoints(caddy: Caddy, client_tls: ssl.SSLContext) -> None:
    body = os.urandom(700_000)
    (caddy.files / "carried").write_bytes(body)

    async def main() -> None:
        async with session_with(client_tls) as session:
            for host in ("localhost", "127.0.0.1"):  # of localhost, ::1 refuses first
                url = f"https://{host}:{caddy.tls}"

                async def ask(path: str, url: str = url) -> bytes:
                    async with session.get(url + path) as got:
                        assert got.version == (3, 0)
                        read: bytes = await got.read()
                        return read

                assert await ask("/files/carried") == body
                assert (
                    await asyncio.gather(*(ask("/x") for _ in range(20)))
                    == [b"HTTP/3.0 GET /x"] * 20
                )
            assert session.connector is not None
            assert session.connector.stats().open == 2
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main)


@pytest.mark.parametrize("local", [None, ("127.0.0.1", 0)])
def test_uploads_and_a_local_address(
    certificate_files: CertificateFiles, client_tls: ssl.SSLContext, local: Any
) -> None:
    async def main() -> None:
        async with (
            http3_server(
                lambda peer, stream, request: peer.send(stream, response(b"%d" % len(request))),
                certificate_files,
            ) as server,
            session_with(client_tls, local_addr=local) as session,
        ):
            async with session.post(server.url(), data=bytes(200_000)) as got:
                assert int(await got.read()) > 200_000
            (connection,) = session.connector.pool.all_connections()  # type: ignore[union-attr]
            assert connection.transport.get_extra_info("peername")[1] == server.port

    run(main)


@pytest.mark.parametrize(("code", "lives"), [(errno.EMSGSIZE, True), (errno.EHOSTUNREACH, False)])
def test_what_the_system_says_is_heard(
    certificate_files: CertificateFiles, client_tls: ssl.SSLContext, code: int, lives: bool
) -> None:
    async def main() -> None:
        async with (
            http3_server(
                lambda peer, stream, request: peer.send(stream, response(b"hello")),
                certificate_files,
            ) as server,
            session_with(client_tls) as session,
        ):
            for _ in range(2):
                async with session.get(server.url()) as got:
                    assert await got.read() == b"hello"
                (connection,) = session.connector.pool.all_connections()  # type: ignore[union-attr]
                carrier = connection.transport._carrier
                for _ in range(4):
                    carrier.error_received(OSError(code, "said so"))
            assert len(server.peers) == (1 if lives else 2)

    run(main)


def test_nobody_there_is_an_error(client_tls: ssl.SSLContext) -> None:
    async def main() -> None:
        async with session_with(client_tls) as session:
            with pytest.raises(wherry.ClientConnectorError):
                await session.get("https://127.0.0.1:9/", timeout=wherry.ClientTimeout(total=20))

    run(main)
