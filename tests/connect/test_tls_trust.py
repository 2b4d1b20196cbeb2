"""What is kept of TLS is found by all that it was trusted under, and a context of the program's is
never changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import ssl
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import trustme
import uvloop
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from wherry.client.session import ClientSession
from wherry.connect.connect_request import ConnectRequest
from wherry.connect.connector import TCPConnector
from wherry.connect.route import ProxyHop
from wherry.connect.tls import contexts as tls
from wherry.connect.tls import sessions as tls_sessions
from wherry.connect.tls.contexts import AlpnContext, Fingerprint, first_words, hello_says, policy_of
from wherry.connect.tls.sessions import Handshake, Resumable, SessionTable, shows_certificate
from wherry.errors import (
    ClientConnectorCertificateError,
    ClientProxyConnectionError,
    ClientSSLError,
    ServerFingerprintMismatch,
)

from .conftest import Serve, answer_ok, fetch

LOOPS = [asyncio.SelectorEventLoop, uvloop.new_event_loop]
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
Ways = tuple[ProxyHop, ...]


def on(
    new_loop: Callable[[], asyncio.AbstractEventLoop], main: Callable[[], Awaitable[None]]
) -> None:
    async def run() -> None:
        # Clients that refuse servers.
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        await main()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(run())


def server_with(ca: trustme.CA, *names: str, **changes: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(*(names or ("localhost",))).configure_cert(context)
    for name, value in changes.items():
        setattr(context, name, value)
    return context


def trusting(ca: trustme.CA, **changes: Any) -> ssl.SSLContext:
    context = ssl.create_default_context()
    ca.configure_trust(context)
    for name, value in changes.items():
        setattr(context, name, value)
    return context


def unchecked() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers with what the server knows of the session: begun or resumed, the client's name, the
    protocol.
    """
    await reader.readuntil(b"\r\n\r\n")
    secured = writer.get_extra_info("ssl_object")
    shown = secured.getpeercert() or {}
    who = shown["subjectAltName"][0][1] if shown else "nobody"
    begun = "resumed" if secured.session_reused else "begun"
    body = f"{begun} {who} {secured.selected_alpn_protocol()}".encode()
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    await reader.read()


class Proxy:
    """An HTTP proxy that opens tunnels."""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        _, _, port = head.split()[1].rpartition(b":")
        theirs, back = await asyncio.open_connection("127.0.0.1", int(port))
        try:
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            await asyncio.gather(self.pass_on(reader, back), self.pass_on(theirs, writer))
        finally:
            back.transport.abort()

    @staticmethod
    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
            writer.write_eof() if writer.can_write_eof() else writer.close()


async def way(kind: str, serve: Serve, proxy_context: ssl.SSLContext) -> Ways:
    if kind == "direct":
        return ()
    if kind == "http proxy":
        return (ProxyHop("http", "127.0.0.1", await serve(Proxy())),)
    return (ProxyHop("https", "localhost", await serve(Proxy(), ssl=proxy_context), ssl=False),)


# --- sessions: the policy of the moment -----------------------------------------------------------


@pytest.mark.parametrize("reserved", [False, True])
@pytest.mark.parametrize("kind", ["direct", "http proxy", "https proxy"])
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("new_loop", LOOPS)
def test_a_context_that_checks_more_than_before_checks(
    new_loop, version, kind, reserved, ca
) -> None:
    async def main() -> None:
        serve = Serve()
        stranger = await serve(tell, ssl=server_with(trustme.CA(), maximum_version=version))
        other_name = await serve(tell, ssl=server_with(ca, "other.test", maximum_version=version))
        hops = await way(kind, serve, server_with(ca))
        resumption = True if reserved else None
        async with TCPConnector(force_close=True, tls_resumption=resumption) as connector:
            mine = unchecked()
            again = b"resumed" if reserved else b"begun"
            assert (
                await fetch(connector, f"https://localhost:{stranger}/", ssl=mine, hops=hops)
            ).body[:5] == b"begun"
            assert (
                await fetch(connector, f"https://localhost:{stranger}/", ssl=mine, hops=hops)
            ).body.startswith(again)
            mine.verify_mode = ssl.CERT_REQUIRED
            with pytest.raises(ClientConnectorCertificateError):
                await fetch(connector, f"https://localhost:{stranger}/", ssl=mine, hops=hops)
            mine = trusting(ca, check_hostname=False)
            assert (
                await fetch(connector, f"https://localhost:{other_name}/", ssl=mine, hops=hops)
            ).status == 200
            mine.check_hostname = True
            with pytest.raises(ClientConnectorCertificateError):
                await fetch(connector, f"https://localhost:{other_name}/", ssl=mine, hops=hops)
        await serve.stop()

    on(new_loop, main)


@pytest.mark.parametrize("limit", [1, 100])
@pytest.mark.parametrize("kind", ["request", "connector", "https proxy"])
async def test_a_kept_connection_is_not_trusted_under_what_its_context_demands_since(
    serve, ca, kind, limit
) -> None:
    port = await serve(answer_ok, ssl=server_with(trustme.CA()))
    mine, hops, said = unchecked(), (), {}
    if kind == "https proxy":
        proxy = await serve(Proxy(), ssl=server_with(trustme.CA()))
        hops, said = (ProxyHop("https", "localhost", proxy, ssl=mine),), {"ssl": False}
    elif kind == "request":
        said = {"ssl": mine}
    url = f"https://localhost:{port}/"
    async with TCPConnector(limit=limit, **({} if said else {"ssl": mine})) as connector:
        for _ in range(2):
            assert (await fetch(connector, url, hops=hops, **said)).status == 200
        assert connector.stats().reused == 1
        mine.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF  # nothing, while nothing is checked
        assert (await fetch(connector, url, hops=hops, **said)).status == 200
        assert connector.stats().reused == 1
        assert (await fetch(connector, url, hops=hops, **said)).status == 200
        assert connector.stats().reused == 2
        mine.verify_mode = ssl.CERT_REQUIRED
        with pytest.raises((ClientConnectorCertificateError, ClientProxyConnectionError)):
            await fetch(connector, url, hops=hops, **said)
        assert connector.stats().reused == 2


def test_what_a_context_demands_is_asked_of_the_context_that_decides(monkeypatch) -> None:
    """truststore's answers for another one, and takes the place of Python's own class."""

    class Facade(ssl.SSLContext):
        demanded = ssl.CERT_REQUIRED

        @property
        def verify_mode(self) -> ssl.VerifyMode:
            return self.demanded

    context = Facade(ssl.PROTOCOL_TLS_CLIENT)
    monkeypatch.setattr(ssl, "SSLContext", Facade)
    before = tls.demands_of(context)
    context.demanded = ssl.CERT_NONE
    assert tls.demands_of(context) != before


@pytest.mark.parametrize("kind", ["direct", "http proxy", "https proxy"])
@pytest.mark.parametrize("reserved", [False, True])
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("new_loop", LOOPS)
def test_a_server_sees_the_client_certificate_of_now(
    new_loop, version, reserved, kind, ca, tmp_path
) -> None:
    """Also where the program says that its contexts do not change, and changes one."""

    def certificate(name: str) -> Path:
        path = tmp_path / f"{name}.pem"
        ca.issue_cert(name).private_key_and_cert_chain_pem.write_to_path(path)
        return path

    async def main() -> None:
        serve = Serve()
        server = server_with(ca, verify_mode=ssl.CERT_OPTIONAL, maximum_version=version)
        ca.configure_trust(server)
        port = await serve(tell, ssl=server)
        hops = await way(kind, serve, server_with(ca))
        mine = trusting(ca)
        seen = []
        async with TCPConnector(
            force_close=True, tls_resumption=True if reserved else None
        ) as connector:
            for name in ("", "first@x.test", "", "second@x.test", ""):
                if name:
                    mine.load_cert_chain(certificate(name))
                seen.append(
                    (
                        await fetch(connector, f"https://localhost:{port}/", ssl=mine, hops=hops)
                    ).body.split()[:2]
                )
        await serve.stop()
        assert seen == [
            [b"begun", b"nobody"],
            *2 * [[b"begun", b"first@x.test"]],
            *2 * [[b"begun", b"second@x.test"]],
        ]

    on(new_loop, main)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (
            "verify_flags",
            ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT | ssl.VERIFY_CRL_CHECK_LEAF,
        ),
        ("minimum_version", ssl.TLSVersion.TLSv1_3),
        ("maximum_version", ssl.TLSVersion.TLSv1_2),
        ("options", ssl.OP_ALL | ssl.OP_NO_TICKET),
        ("hostname_checks_common_name", False),
        ("post_handshake_auth", True),
    ],
)
async def test_a_session_is_kept_under_the_whole_policy_that_can_be_seen(
    serve, ca, name, value
) -> None:
    port = await serve(tell, ssl=server_with(ca))
    mine = unchecked()
    mine.verify_flags = ssl.VERIFY_DEFAULT
    async with TCPConnector(force_close=True, tls_resumption=True) as connector:
        for begun in (b"begun", b"resumed"):
            assert (await fetch(connector, f"https://localhost:{port}/", ssl=mine)).body.split()[
                0
            ] == begun
        setattr(mine, name, value)
        assert (await fetch(connector, f"https://localhost:{port}/", ssl=mine)).body.split()[
            0
        ] == b"begun"


async def test_a_context_that_may_show_a_certificate_later_resumes_nothing(serve, ca) -> None:
    port = await serve(tell, ssl=server_with(ca))
    mine = trusting(ca, post_handshake_auth=True)
    async with TCPConnector(force_close=True, tls_resumption=True) as connector:
        for _ in range(3):
            assert (await fetch(connector, f"https://localhost:{port}/", ssl=mine)).body.split()[
                0
            ] == b"begun"


@pytest.mark.parametrize("version", VERSIONS)
async def test_no_session_is_resumed_once_the_server_asked_who_the_client_is(
    serve, ca, version
) -> None:
    server = server_with(ca, verify_mode=ssl.CERT_OPTIONAL, maximum_version=version)
    ca.configure_trust(server)
    port = await serve(tell, ssl=server)
    async with TCPConnector(force_close=True) as connector:
        for _ in range(3):
            assert (
                await fetch(connector, f"https://localhost:{port}/", ssl=False)
            ).body == b"begun nobody None"
        assert len(connector._settings.sessions) == 0


# --- sessions: which contexts, and which way ------------------------------------------------------


@pytest.fixture
def known_ca(ca: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """An authority that the system trusts, so that wherry's own contexts do."""
    path = tmp_path / "system.pem"
    ca.cert_pem.write_to_path(path)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    monkeypatch.setattr(tls, "_contexts", {})
    return ca


@pytest.mark.parametrize("option", [True, False])
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("new_loop", LOOPS)
def test_wherrys_own_contexts_resume(new_loop, version, option, known_ca) -> None:
    async def main() -> None:
        serve = Serve()
        port = await serve(tell, ssl=server_with(known_ca, maximum_version=version))
        url = f"https://localhost:{port}/"
        async with TCPConnector(force_close=True) as connector:
            said = [(await fetch(connector, url, ssl=option)).body.split()[0] for _ in range(4)]
        async with TCPConnector(force_close=True, tls_resumption=False) as connector:
            never = [(await fetch(connector, url, ssl=option)).body.split()[0] for _ in range(3)]
        await serve.stop()
        assert said == [b"begun", b"resumed", b"resumed", b"resumed"]
        assert never == [b"begun"] * 3

    on(new_loop, main)


async def test_a_context_of_the_programs_resumes_nothing_unless_the_program_says_so(
    serve, ca
) -> None:
    port = await serve(tell, ssl=server_with(ca))
    for resumption, again in ((None, b"begun"), (False, b"begun"), (True, b"resumed")):
        for mine in (trusting(ca), unchecked()):
            async with TCPConnector(
                force_close=True, ssl=mine, tls_resumption=resumption
            ) as connector:
                assert (await fetch(connector, f"https://localhost:{port}/")).body.split()[
                    0
                ] == b"begun"
                assert (await fetch(connector, f"https://localhost:{port}/")).body.split()[
                    0
                ] == again


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_users_of_one_proxy_have_no_session_in_common(serve, ca, scheme) -> None:
    """What a proxy keeps apart, TLS must not join: a ticket tells the origin that they are the same
    client.
    """
    port = await serve(tell, ssl=server_with(ca))
    seen_by_proxy = []

    class Watching(Proxy):
        async def __call__(
            self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            secured = writer.get_extra_info("ssl_object")
            seen_by_proxy.append(secured is not None and secured.session_reused)
            await super().__call__(reader, writer)

    proxy = await serve(Watching(), ssl=server_with(ca) if scheme == "https" else None)
    users = [
        ProxyHop(scheme, "localhost", proxy, user, "secret", ssl=False) for user in ("a", "b", "c")
    ]
    url = f"https://localhost:{port}/"
    async with TCPConnector(force_close=True) as connector:
        for hops in ((), *((hop,) for hop in users)):
            assert (await fetch(connector, url, ssl=False, hops=hops)).body.split()[0] == b"begun"
        assert seen_by_proxy == [False] * 3
        for hops in ((), *((hop,) for hop in users)):
            assert (await fetch(connector, url, ssl=False, hops=hops)).body.split()[0] == b"resumed"
        assert seen_by_proxy[3:] == [scheme == "https"] * 3


async def test_users_whom_only_an_answer_to_the_proxy_names_resume_nothing(serve, ca) -> None:
    port = await serve(tell, ssl=server_with(ca))
    hop = ProxyHop("https", "localhost", await serve(Proxy(), ssl=server_with(ca)), ssl=False)
    async with TCPConnector(force_close=True) as connector:
        route = connector.route_for(URL(f"https://localhost:{port}/"), ssl=False, hops=(hop,))
        for user in ("a", "b"):
            connect_request = ConnectRequest(
                route, 5.0, answer=lambda *told, user=user: f"Digest username={user}"
            )
            connection = await connector.pool.acquire(connect_request)
            assert connection.transport is not None
            assert not connection.transport.get_extra_info("ssl_object").session_reused
            connection.close()
            await connection.wait_closed()
        assert len(connector._settings.sessions) == 0


async def test_what_was_said_of_tls_keeps_sessions_apart(serve, known_ca) -> None:
    """Another name, another port, a fingerprint, other protocols: each begins from nothing."""
    leaf = known_ca.issue_cert("localhost", "other.test")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)
    port, other_port = await serve(tell, ssl=context), await serve(tell, ssl=context)
    right = Fingerprint(digest_of(leaf))
    url = f"https://localhost:{port}/"
    async with TCPConnector(force_close=True) as connector:
        for asked in (
            {"ssl": False},
            {"ssl": True},
            {"ssl": right},
            {"ssl": False, "server_hostname": "other.test"},
            {"ssl": False, "server_hostname": "third.test"},
        ):
            assert (await fetch(connector, url, **asked)).body.split()[0] == b"begun", asked
        assert (await fetch(connector, f"https://localhost:{other_port}/", ssl=False)).body.split()[
            0
        ] == b"begun"
        with pytest.raises(ServerFingerprintMismatch):
            await fetch(connector, url, ssl=Fingerprint(b"0" * 32))
        assert (await fetch(connector, url, ssl=right)).body.split()[0] == b"resumed"
        with pytest.raises(ClientConnectorCertificateError):
            await fetch(connector, url, ssl=True, server_hostname="third.test")


def digest_of(leaf: trustme.LeafCert) -> bytes:
    return hashlib.sha256(
        ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())
    ).digest()


async def test_a_failed_handshake_forgets_the_session(serve, ca) -> None:
    """The server may have lost its keys: the next one begins from nothing."""
    port = await serve(tell, ssl=server_with(ca))
    fingerprint = Fingerprint(b"0" * 32)
    async with TCPConnector(force_close=True) as connector:
        url = f"https://localhost:{port}/"
        route = connector.route_for(URL(f"https://localhost:{port}/"), ssl=fingerprint)
        with pytest.raises(ServerFingerprintMismatch):
            await fetch(connector, url, ssl=fingerprint)
        assert len(connector._settings.sessions) == 0
        await fetch(connector, url, ssl=False)
        assert len(connector._settings.sessions) == 1
        assert route not in [key[0] for key in connector._settings.sessions._known]


async def test_sessions_are_bounded(serve, ca) -> None:
    names = [f"h{number}.test.example" for number in range(tls_sessions.MAX_SESSIONS + 3)]
    port = await serve(ssl=server_with(ca, "*.test.example"))
    async with TCPConnector(force_close=True) as connector:
        for name in names:
            await fetch(connector, f"https://127.0.0.1:{port}/", ssl=False, server_hostname=name)
        kept = [key[-1] for key in connector._settings.sessions._known]
        assert kept == names[3:], "the oldest go first"
        assert (
            await fetch(
                connector, f"https://127.0.0.1:{port}/", ssl=False, server_hostname=names[3]
            )
        ).status == 200
        assert connector._settings.sessions._known.popitem()[0][-1] == names[3], (
            "who is used again is kept"
        )


async def test_a_session_is_taken_up_for_a_minute_and_then_a_newer_one_is_asked_for(
    serve, ca, monkeypatch
) -> None:
    """RFC 8446 C.4: who reuses a ticket can be recognized by it."""
    now = 1000.0
    monkeypatch.setattr(tls_sessions.time, "monotonic", lambda: now)
    port = await serve(tell, ssl=server_with(ca))
    async with TCPConnector(force_close=True) as connector:
        await fetch(connector, f"https://localhost:{port}/", ssl=False)
        (known,) = connector._settings.sessions._known.values()
        first = known.last_session()
        assert first is not None
        now += tls_sessions.SESSION_REUSE
        assert known.last_session() is first
        await fetch(connector, f"https://localhost:{port}/", ssl=False)
        assert known.session is first, "it was resumed, and serves again"
        now += 0.5
        second = known.last_session()
        assert second is not first
        assert known.asked == now


# --- a context of the program's stays as it is ----------------------------------------------------


class Watched(ssl.SSLContext):
    """A context that notes who changes it."""

    changed: list[str]

    def set_alpn_protocols(self, protocols: Any) -> None:
        self.changed.append("set_alpn_protocols")
        super().set_alpn_protocols(protocols)

    def __setattr__(self, name: str, value: Any) -> None:
        if "changed" in self.__dict__ and name != "changed":
            self.changed.append(name)
        super().__setattr__(name, value)


def watched(ca: trustme.CA) -> Watched:
    mine = Watched(ssl.PROTOCOL_TLS_CLIENT)
    ca.configure_trust(mine)
    mine.changed = []
    return mine


@contextlib.contextmanager
def unchanged(context: Watched) -> Iterator[None]:
    before = (
        policy_of(context),
        hello_says(first_words(context.wrap_bio, "localhost")),
        offers(context),
    )
    yield
    assert context.changed == []
    assert (
        policy_of(context),
        hello_says(first_words(context.wrap_bio, "localhost")),
        offers(context),
    ) == before


def offers(context: ssl.SSLContext) -> bool:
    """Whether a ClientHello of the context has ALPN (RFC 7301 3.1)."""
    return b"\x08http/1.1" in first_words(context.wrap_bio, "localhost")


@pytest.mark.parametrize("kind", ["direct", "http proxy", "https proxy with the same context"])
@pytest.mark.parametrize("websocket", [False, True])
@pytest.mark.parametrize("new_loop", LOOPS)
def test_alpn_is_not_left_on_the_programs_own_context(new_loop, websocket, kind, ca) -> None:
    async def main() -> None:
        serve = Serve()
        server = server_with(ca)
        server.set_alpn_protocols(["http/1.1"])
        port = await serve(tell, ssl=server)
        hops: Ways = ()
        mine = watched(ca)
        if kind != "direct":
            is_tls = kind.startswith("https")
            proxy = await serve(Proxy(), ssl=server_with(ca) if is_tls else None)
            hops = (ProxyHop("https" if is_tls else "http", "localhost", proxy),)
        with unchanged(mine):
            async with TCPConnector(
                ssl=mine, protocols=("h2", "http/1.1"), force_close=True
            ) as connector:
                scheme = "wss" if websocket else "https"
                for _ in range(2):
                    answer = await fetch(connector, f"{scheme}://localhost:{port}/", hops=hops)
                    assert answer.body == b"begun nobody http/1.1"
                    shown = answer.connection.transport
                    assert shown is None or shown.get_extra_info("sslcontext") is mine
            _, writer = await asyncio.open_connection("localhost", port, ssl=mine)
            assert writer.get_extra_info("ssl_object").selected_alpn_protocol() is None
            writer.transport.abort()
        await serve.stop()

    on(new_loop, main)


async def test_what_a_context_offers_itself_is_left_to_it(serve, ca) -> None:
    server = server_with(ca)
    server.set_alpn_protocols(["http/1.1"])
    port = await serve(tell, ssl=server)
    mine = trusting(ca)
    mine.set_alpn_protocols(["x", "http/1.1"])
    async with TCPConnector(ssl=mine) as connector:
        assert (
            await fetch(connector, f"https://localhost:{port}/")
        ).body == b"begun nobody http/1.1"
    assert b"\x01x\x08http/1.1" in first_words(mine.wrap_bio, "localhost")


@pytest.mark.parametrize("protocols", [("http/1.1",), ("h2", "http/1.1"), ("h2",)])
async def test_a_context_that_offers_other_protocols_is_the_programs_in_all_else(
    serve, ca, tmp_path, protocols
) -> None:
    """Trust, names, versions, ciphers, certificates, key log; and what is changed later holds from
    then on.
    """
    server = server_with(ca, verify_mode=ssl.CERT_OPTIONAL)
    server.set_alpn_protocols(["h2", "http/1.1"])
    ca.configure_trust(server)
    table = SessionTable()

    async def shake(
        context: ssl.SSLContext, name: str = "localhost", server: ssl.SSLContext = server
    ) -> ssl.SSLObject:
        made = await table.handshake(context, protocols, None, chosen=True)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = made.wrap_bio(incoming, outgoing, server_hostname=name)
        peer = server.wrap_bio(outgoing, incoming, server_side=True)
        for _ in range(3):
            for side in (client, peer):
                with contextlib.suppress(ssl.SSLWantReadError):
                    side.do_handshake()
        peer.write(b"%d" % bool(peer.getpeercert()))
        assert client.selected_alpn_protocol() == protocols[0]
        assert client.context is context
        return client

    mine = trusting(ca)
    assert (await shake(mine)).read() == b"0"
    with pytest.raises(ssl.SSLCertVerificationError):
        await shake(mine, "other.test")
    with pytest.raises(ssl.SSLCertVerificationError):
        await shake(mine, server=server_with(trustme.CA()))
    mine.check_hostname = False
    assert (await shake(mine, "other.test")).version() == "TLSv1.3"
    mine.verify_mode = ssl.CERT_NONE
    mine.maximum_version = ssl.TLSVersion.TLSv1_2
    assert (await shake(mine, "other.test")).version() == "TLSv1.2"
    mine.set_ciphers("ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305")
    assert "CHACHA20" in (await shake(mine)).cipher()[0]
    mine.verify_mode = ssl.CERT_REQUIRED
    mine.check_hostname = True
    with pytest.raises(ssl.SSLCertVerificationError):
        await shake(mine, "other.test")
    pem, log = tmp_path / "client.pem", tmp_path / "keys.log"
    ca.issue_cert("me@x.test").private_key_and_cert_chain_pem.write_to_path(pem)
    mine.load_cert_chain(pem)
    mine.keylog_filename = str(log)
    assert (await shake(mine)).read() == b"1"
    assert log.read_text().count("CLIENT_RANDOM") == 1
    # A second authority that is loaded later is trusted.
    other = trustme.CA()
    second = server_with(other)
    second.set_alpn_protocols(list(protocols))
    with pytest.raises(ssl.SSLCertVerificationError):
        await shake(mine, server=second)
    other.configure_trust(mine)
    await shake(mine, server=second)


async def test_no_setting_that_cannot_be_carried_over_is_lost(serve, ca) -> None:
    """Which curves a context allows is nowhere to be read; then it offers by ALPN what it offers
    itself.
    """
    server = server_with(ca)
    server.set_alpn_protocols(["http/1.1"])
    server.set_ecdh_curve("prime256v1")
    port = await serve(tell, ssl=server)
    mine = trusting(ca)
    mine.set_ecdh_curve("prime256v1")
    async with TCPConnector(ssl=mine, protocols=("h2", "http/1.1")) as connector:
        assert (await fetch(connector, f"https://localhost:{port}/")).body == b"begun nobody None"
    words = first_words(SessionTable().offering(mine, ("h2",)).wrap_bio, "localhost")
    assert hello_says(words) == hello_says(first_words(mine.wrap_bio, "localhost"))


async def test_a_setting_that_comes_after_the_first_request_is_not_lost(ca) -> None:
    mine = trusting(ca)
    offering = SessionTable().offering(mine, ("h2",))
    assert b"\x02h2" in first_words(offering.wrap_bio, "localhost")
    for _ in range(2):
        mine.set_ecdh_curve("secp384r1")
        words = first_words(offering.wrap_bio, "localhost")
        assert hello_says(words) == hello_says(first_words(mine.wrap_bio, "localhost"))
        assert b"\x02h2" not in words


async def test_a_context_that_makes_tls_objects_in_a_way_of_its_own_is_left_to_it(
    serve, ca
) -> None:
    """truststore's does, to ask the system about certificates."""
    made = []

    class Own(ssl.SSLContext):
        def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
            made.append(args)
            return super().wrap_bio(*args, **kwargs)

    server = server_with(ca)
    server.set_alpn_protocols(["http/1.1"])
    port = await serve(tell, ssl=server)
    mine = Own(ssl.PROTOCOL_TLS_CLIENT)
    ca.configure_trust(mine)
    async with TCPConnector(ssl=mine, protocols=("h2", "http/1.1")) as connector:
        assert (await fetch(connector, f"https://localhost:{port}/")).body == b"begun nobody None"
    assert len(made) == 1
    mine.set_alpn_protocols(["h2", "http/1.1"])
    async with TCPConnector(ssl=mine, protocols=("h2", "http/1.1")) as connector:
        assert (
            await fetch(connector, f"https://localhost:{port}/")
        ).body == b"begun nobody http/1.1"


def test_a_context_of_one_version_or_of_none_that_works_is_used_as_it_is(ca) -> None:
    with pytest.warns(DeprecationWarning, match="TLSv1_2"):
        fixed = ssl.SSLContext(ssl.PROTOCOL_TLSv1_2)
    words = first_words(AlpnContext(fixed, ("h2",)).wrap_bio, "localhost")
    assert hello_says(words) == hello_says(first_words(fixed.wrap_bio, "localhost"))
    broken = trusting(ca)
    broken.set_ciphers("ECDHE-RSA-AES128-SHA256")
    broken.minimum_version = broken.maximum_version = ssl.TLSVersion.TLSv1_3
    offering = AlpnContext(broken, ("h2",))
    assert b"h2" in first_words(offering.wrap_bio, "localhost")
    broken.maximum_version = ssl.TLSVersion.TLSv1_2  # below the least
    broken.minimum_version = ssl.TLSVersion.TLSv1_3
    assert first_words(offering.wrap_bio, "localhost") == b""


def test_offering_contexts_are_bounded_and_made_once() -> None:
    table = SessionTable()
    contexts = [unchecked() for _ in range(2)]
    first = table.offering(contexts[0], ("h2",))
    assert table.offering(contexts[0], ("h2",)) is first
    assert table.offering(contexts[0], ("http/1.1",)) is not first
    with mock.patch.object(tls_sessions, "MAX_SESSIONS", 2):
        table.offering(contexts[1], ("h2",))
        assert len(table._alpn) == 2
        assert table.offering(contexts[0], ("h2",)) is not first
    table.clear()
    assert not table._alpn
    del first
    gc.collect()


# --- what goes out tells whether the server asked -------------------------------------------------


@pytest.mark.parametrize("curve", [None, "secp384r1"])
@pytest.mark.parametrize("has", [False, True])
@pytest.mark.parametrize("asks", [False, True])
@pytest.mark.parametrize(
    ("version", "ciphers"),
    [
        (ssl.TLSVersion.TLSv1_3, ""),
        (ssl.TLSVersion.TLSv1_2, "ECDHE+AES256"),
        (ssl.TLSVersion.TLSv1_2, "ECDHE+CHACHA20"),
        (ssl.TLSVersion.TLSv1_2, "ECDHE+AES128:!AESGCM"),
    ],
)
def test_the_clients_flight_shows_whether_it_was_asked_for_a_certificate(
    ca, tmp_path, version, ciphers, asks, has, curve
) -> None:
    server, client = server_with(ca, maximum_version=version), trusting(ca)
    if ciphers:
        server.set_ciphers(ciphers)
    if curve and version is ssl.TLSVersion.TLSv1_3:
        # The first hello has another share: HelloRetryRequest (RFC 8446 4.1.4).
        server.set_ecdh_curve(curve)
    if asks:
        server.verify_mode = ssl.CERT_OPTIONAL
        ca.configure_trust(server)
    if has:
        ca.issue_cert("me@x.test").private_key_and_cert_chain_pem.write_to_path(tmp_path / "me.pem")
        client.load_cert_chain(tmp_path / "me.pem")
    to_client, to_server, out = ssl.MemoryBIO(), ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, out, server_hostname="localhost")
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    shown = []
    for _ in range(4):
        with contextlib.suppress(ssl.SSLWantReadError):
            ours.do_handshake()
        flight = out.read()
        shown.append(shows_certificate(flight, ours))
        to_server.write(flight)
        with contextlib.suppress(ssl.SSLWantReadError):
            theirs.do_handshake()
    assert any(shown) is asks


@given(st.binary(max_size=200))
def test_no_flight_is_too_strange_to_be_looked_at(flight: bytes) -> None:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).wrap_bio(
        ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="x"
    )
    assert shows_certificate(flight, made) in {True, False}


# --- redirects ------------------------------------------------------------------------------------


async def redirect_to(serve: Serve, where: str, context: ssl.SSLContext, **options: Any) -> int:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 302 Found\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % where.encode()
        )
        await reader.read()

    return await serve(answer, ssl=context, **options)


@pytest.mark.parametrize(
    "said", ["unchecked", "fingerprint", "server_hostname", "client certificate"]
)
async def test_what_was_said_of_tls_is_for_the_first_origin_alone(
    serve, known_ca, tmp_path, said
) -> None:
    """A redirect may lead anywhere: there the session's own policy holds, and no identity is
    shown.
    """
    stranger = trustme.CA()
    first = stranger.issue_cert("localhost")
    first_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    first.configure_cert(first_context)
    # The second is right by the session's policy.
    second = server_with(known_ca, verify_mode=ssl.CERT_OPTIONAL)
    known_ca.configure_trust(second)
    # The third is what only the first origin's options would take.
    third = await serve(tell, ssl=server_with(stranger, "inner.test", "localhost"))
    good = await redirect_to(
        serve, f"https://localhost:{await serve(tell, ssl=second)}/", first_context
    )
    bad = await redirect_to(serve, f"https://localhost:{third}/", first_context)
    options: dict[str, Any]
    if said == "unchecked":
        options = {"ssl": False}
    elif said == "fingerprint":
        options = {"ssl": Fingerprint(digest_of(first))}
    elif said == "server_hostname":
        options = {"ssl": unchecked(), "server_hostname": "inner.test"}
    else:
        mine = trusting(stranger)
        known_ca.configure_trust(mine)
        known_ca.issue_cert("me@x.test").private_key_and_cert_chain_pem.write_to_path(
            tmp_path / "me.pem"
        )
        mine.load_cert_chain(tmp_path / "me.pem")
        options = {"ssl": mine}
    async with ClientSession() as session:
        async with session.get(f"https://localhost:{good}/", **options) as response:
            assert (await response.text()).split()[1] == "nobody"
            assert len(response.history) == 1
        with pytest.raises(ClientSSLError):
            await session.get(f"https://localhost:{bad}/", **options)


async def test_what_was_said_of_tls_stays_where_a_redirect_stays(serve, ca) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for location in (b"Location: /next\r\n", b""):
            await reader.readuntil(b"\r\n\r\n")
            status = b"302 Found" if location else b"200 OK"
            writer.write(b"HTTP/1.1 %b\r\n%bContent-Length: 0\r\n\r\n" % (status, location))
        await reader.read()

    port = await serve(answer, ssl=server_with(ca))
    async with (
        ClientSession() as session,
        session.get(f"https://localhost:{port}/", ssl=False) as response,
    ):
        assert response.status == 200
        assert len(response.history) == 1


async def test_what_was_said_of_tls_does_not_come_back_with_the_origin(serve, ca) -> None:
    """As a secret that was dropped on the way: who sends the client back does not get its
    certificate used.
    """
    port = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:%d/\r\nContent-Length: 0\r\n\r\n"
            % between
        )
        await reader.read()

    async def back(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 302 Found\r\nLocation: https://localhost:%d/\r\nContent-Length: 0\r\n\r\n"
            % port
        )
        await reader.read()

    between = await serve(back)
    port = await serve(answer, ssl=server_with(ca))
    async with ClientSession() as session:
        with pytest.raises(ClientConnectorCertificateError):
            await session.get(f"https://localhost:{port}/", ssl=False)


async def test_the_same_host_may_ask_for_tls(serve, ca, resolver) -> None:
    """http://h/ leads to https://h/ nearly everywhere, and what was said of TLS can only have been
    meant for that.
    """
    port = await serve(tell, ssl=server_with(ca))

    async def upgrade(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 301 Moved\r\nLocation: https://localhost/\r\nContent-Length: 0\r\n\r\n"
        )
        await reader.read()

    plain = await serve(upgrade)

    class Redirected(TCPConnector):
        async def _resolve_host(self, host: str, port_: int, traces: Any = None) -> Any:
            found = await super()._resolve_host(host, port_, traces)
            return [{**each, "port": {80: plain, 443: port}[port_]} for each in found]

    async with (
        ClientSession(connector=Redirected(resolver=resolver("127.0.0.1"))) as session,
        session.get("http://localhost/", ssl=False) as response,
    ):
        assert (await response.text()).startswith("begun")


# --- addresses of a link --------------------------------------------------------------------------


@pytest.mark.parametrize("zone", ["%lo", "%25lo", "%1", "%251"])
async def test_a_zone_is_for_the_socket_alone(serve, ca, zone) -> None:
    """RFC 9110 4.3.5, RFC 6874 4: the certificate names the address, and nobody else hears the
    zone.
    """
    heads = []

    async def keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await reader.read()

    server = server_with(ca, "::1")
    names = []
    server.sni_callback = lambda secured, name, context: names.append(name)
    port = await serve(keep, host="::1", ssl=server)
    async with (
        ClientSession(connector=TCPConnector(ssl=trusting(ca))) as session,
        session.get(f"https://[::1{zone}]:{port}/") as response,
    ):
        assert response.status == 200
    assert names == [None], "an address is no server name (RFC 6066 3)"
    assert b"Host: [::1]:%d\r\n" % port in heads[0]


async def test_a_zone_does_not_help_a_wrong_certificate(serve, ca) -> None:
    port = await serve(tell, host="::1", ssl=server_with(ca, "::2", "lo"))
    async with TCPConnector(ssl=trusting(ca)) as connector:
        with pytest.raises(ClientConnectorCertificateError):
            await fetch(connector, f"https://[::1%25lo]:{port}/")


# --- what mutations of the code survived ----------------------------------------------------------


class Told:
    """Stands for a TLS object: which session it has, and whether that was resumed."""

    def __init__(self, name: str, version: str, reused: bool) -> None:
        self.name = name
        self.session_reused = reused
        self.asked = 0
        self._version = version

    def version(self) -> str:
        return self._version

    @property
    def session(self) -> Any:
        self.asked += 1
        return f"session of {self.name}"


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_a_session_that_the_server_did_not_take_is_dropped(version: str) -> None:
    first, second, third = (
        Told("first", version, False),
        Told("second", version, True),
        Told("third", version, False),
    )
    known = Resumable(first)  # type: ignore[arg-type]
    assert known.last_session() == "session of first"
    known.succeed(second)  # type: ignore[arg-type]
    assert known.last_session() == "session of first"
    known.succeed(third)  # type: ignore[arg-type]
    assert known.last_session() == "session of third"


@pytest.mark.parametrize(("version", "at_once"), [("TLSv1.2", 1), ("TLSv1.3", 0)])
def test_a_session_of_tls_1_2_is_taken_before_the_server_may_ask_again(
    version: str, at_once: int
) -> None:
    """RFC 5246 7.4.1.1: a handshake in the middle may ask who the client is, and changes it."""
    told = Told("it", version, False)
    known = Resumable(told)  # type: ignore[arg-type]
    assert told.asked == at_once
    known.last_session()
    known.last_session()
    assert told.asked == 1


async def test_the_next_handshake_after_one_that_failed_begins_from_nothing(serve, ca) -> None:
    port = await serve(tell, ssl=server_with(ca))
    async with TCPConnector(force_close=True) as connector:
        for _ in range(2):
            answer = await fetch(connector, f"https://localhost:{port}/", ssl=False)
        assert answer.body.split()[0] == b"resumed"
        table = connector._settings.sessions
        (key,) = table._known
        handshake = await table.handshake(False, ("http/1.1",), key[0])
        handshake.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="localhost")
        handshake.failed()
        assert len(table) == 0
        answer = await fetch(connector, f"https://localhost:{port}/", ssl=False)
        assert answer.body.split()[0] == b"begun"


def test_sealed_records_after_change_cipher_spec_are_not_read_as_messages() -> None:
    """TLS 1.2 seals its Finished in a record of the same type, whose first byte may be any."""
    made = unchecked().wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO())
    spec, sealed = b"\x14\x03\x03\x00\x01\x01", b"\x16\x03\x03\x00\x02\x0b\x00"
    assert not shows_certificate(spec + sealed, made)
    assert shows_certificate(sealed + spec, made)
    assert not shows_certificate(b"\x16\x03\x03\x00\x02\x10\x00" + spec + sealed, made)


def test_what_the_system_may_allow_is_raised_to_tls_1_2(monkeypatch) -> None:
    """OpenSSL's own file of settings may allow older versions, and compression (CRIME)."""
    loose = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    loose.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    loose.options &= ~ssl.OP_NO_COMPRESSION
    monkeypatch.setattr(tls.ssl, "create_default_context", lambda: loose)
    made = tls.make_context(verified=True)
    assert made is loose
    assert made.minimum_version is ssl.TLSVersion.TLSv1_2
    assert made.options & ssl.OP_NO_COMPRESSION


@pytest.mark.parametrize(
    ("platform", "asks_system"), [("win32", True), ("darwin", True), ("linux", False)]
)
def test_the_systems_own_store_is_asked_where_openssl_cannot_read_it(
    monkeypatch, platform: str, asks_system: bool
) -> None:
    class Asking(ssl.SSLContext):
        pass

    plain = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    monkeypatch.setattr(tls.ssl, "create_default_context", lambda: plain)
    monkeypatch.setattr(tls, "truststore", mock.Mock(SSLContext=Asking))
    monkeypatch.setattr(tls.sys, "platform", platform)
    assert isinstance(tls.make_context(verified=True), Asking) is asks_system
    assert not isinstance(tls.make_context(verified=False), Asking)
    monkeypatch.setattr(tls, "truststore", None)
    assert tls.make_context(verified=True) is plain


async def test_a_context_that_is_there_is_not_asked_for_in_a_thread(known_ca, monkeypatch) -> None:
    made = await tls.context_for(True, ("http/1.1",))
    monkeypatch.setattr(tls, "_shared_context", mock.Mock(side_effect=AssertionError))
    assert await tls.context_for(None, ("http/1.1",)) is made


def test_without_tls_no_protocol_was_chosen() -> None:
    plain = mock.Mock(get_extra_info=mock.Mock(return_value=None))
    assert tls.selected_protocol(plain) is None
    told = mock.Mock(selected_alpn_protocol=mock.Mock(side_effect=NotImplementedError))
    own = mock.Mock(get_extra_info=mock.Mock(return_value=told))
    assert tls.selected_protocol(own) is None


@pytest.mark.parametrize("length", [16, 20])
def test_a_fingerprint_by_a_broken_hash_is_named_as_that(length: int) -> None:
    with pytest.raises(ValueError, match="MD5 and SHA-1"):
        Fingerprint(bytes(length))
    with pytest.raises(ValueError, match=f"not of {length + 1}"):
        Fingerprint(bytes(length + 1))


def test_a_fingerprint_asks_nothing_of_a_plain_transport() -> None:
    plain = mock.Mock(get_extra_info=mock.Mock(return_value=None))
    Fingerprint(bytes(32)).check(plain)
    plain.get_extra_info.assert_called_once_with("sslcontext")


class Choosy(ssl.SSLContext):
    """Makes TLS objects for itself alone, as OpenSSL's contexts refuse another's session."""

    given: list[tuple[Any, ...]]

    def wrap_bio(self, *given: Any) -> Any:
        self.given.append(given)
        if given[4:] and given[4] is not None:
            raise ValueError("Session refers to a different SSLContext.")
        return "a TLS object"


def test_a_session_that_the_context_refuses_is_left_out() -> None:
    context = Choosy(ssl.PROTOCOL_TLS_CLIENT)
    context.given = []
    table = mock.Mock(find=mock.Mock(return_value="a session"))
    handshake = Handshake(context, table, "the way")
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    made: Any = handshake.wrap_bio(incoming, outgoing, server_hostname="h.test")
    assert made == "a TLS object"
    assert context.given == [
        (incoming, outgoing, False, "h.test", "a session"),
        (incoming, outgoing, False, "h.test"),
    ]


def test_a_name_that_no_context_takes_is_not_tried_twice() -> None:
    class Refusing(Choosy):
        def wrap_bio(self, *given: Any) -> Any:
            self.given.append(given)
            raise ValueError("no name")

    context = Refusing(ssl.PROTOCOL_TLS_CLIENT)
    context.given = []
    with pytest.raises(ValueError, match="no name"):
        Handshake(context, SessionTable(), "way").wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO())
    assert len(context.given) == 1


async def test_the_key_has_the_policy_of_the_programs_context_whatever_is_offered() -> None:
    """Also where another context stands before it for ALPN, which learns of changes later."""
    table, context = SessionTable(resumption=True), unchecked()
    keys = []
    for change in (ssl.CERT_NONE, ssl.CERT_OPTIONAL, ssl.CERT_REQUIRED):
        context.verify_mode = change
        handshake = await table.handshake(context, ("h2", "http/1.1"), "way", chosen=True)
        assert isinstance(handshake.context, AlpnContext)
        handshake.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="h.test")
        key: Any = handshake._key
        assert policy_of(context) in key
        keys.append(key)
    assert len(set(keys)) == 3


async def test_a_programs_context_for_http_1_is_used_itself_unless_protocols_were_chosen() -> None:
    context = unchecked()
    handshake = await SessionTable().handshake(context, ("http/1.1",), "way")
    assert handshake.context is context
    handshake = await SessionTable().handshake(context, ("http/1.1",), "way", chosen=True)
    assert isinstance(handshake.context, AlpnContext)
    # HTTP/2 without TLS has no name that could be offered.
    handshake = await SessionTable().handshake(context, ("h2c",), "way", chosen=True)
    assert handshake.context is context


def test_a_record_that_ends_with_its_header_says_nothing() -> None:
    made = unchecked().wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO())
    assert not shows_certificate(b"\x16\x03\x03\x00\x00", made)
    assert shows_certificate(b"\x16\x03\x03\x00\x01\x0b", made)


def test_a_certificate_is_seen_behind_a_long_record_and_in_no_sealed_one() -> None:
    made = unchecked().wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO())
    certificate = b"\x16\x03\x03\x00\x02\x0b\x00"
    assert shows_certificate(b"\x16\x03\x03\x01\x2c" + b"\x10" + bytes(299) + certificate, made)
    assert not shows_certificate(b"\x16\x03\x03\x01\x2c" + b"\x10" + bytes(299), made)
    # What is sealed begins with any byte: the size of a Finished alone tells (RFC 8446 4.4.4).
    assert not shows_certificate(b"\x17\x03\x03\x00\x35\x0b" + bytes(52), made)
    assert shows_certificate(b"\x17\x03\x03\x00\x36\x14" + bytes(53), made)
    # TLS 1.2 says it before its ChangeCipherSpec or not at all.
    spec = b"\x14\x03\x03\x00\x01\x01"
    assert shows_certificate(spec + certificate, made) is False
    assert shows_certificate(b"", made) is False


def test_a_context_that_offers_other_protocols_hands_the_session_on() -> None:
    """It is set on the TLS object, and OpenSSL refuses there what is none."""
    offering, session = AlpnContext(unchecked(), ("h2",)), mock.sentinel.session
    with pytest.raises(TypeError, match="SSLSession"):
        offering.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), False, "h.test", session)


def test_what_a_hello_asks_for_is_read_by_its_own_lengths() -> None:
    """RFC 8446 4.1.2; extensions that change from hello to hello are passed over."""

    def extension(kind: int, content: bytes) -> bytes:
        return kind.to_bytes(2) + len(content).to_bytes(2) + content

    ciphers = bytes(range(1, 7))
    for session_id in (b"", b"s" * 32):
        for others in (b"", extension(51, b"share"), extension(35, b"") + extension(21, b"pad")):
            extensions = (
                extension(10, b"curves")
                + others
                + extension(0x1234, b"x" * 300)
                + extension(23, b"")
            )
            body = b"\x03\x03" + b"r" * 32 + bytes([len(session_id)]) + session_id
            body += len(ciphers).to_bytes(2) + ciphers + b"\x01\x00"
            body += len(extensions).to_bytes(2) + extensions
            record = b"\x16\x03\x01" + (len(body) + 4).to_bytes(2)
            record += b"\x01" + len(body).to_bytes(3) + body
            assert hello_says(record) == (
                ciphers,
                {10: b"curves", 0x1234: b"x" * 300, 23: b""},
            )


def test_which_error_a_caller_meets_and_which_protocol_was_chosen() -> None:
    key: Any = mock.Mock(host="h.test", port=443)
    refused = tls.client_error(key, ssl.SSLCertVerificationError("who is that"))
    assert type(refused) is ClientConnectorCertificateError
    broken = tls.client_error(key, ssl.SSLError(1, "broken"))
    assert isinstance(broken, ClientSSLError)
    assert not isinstance(broken, ClientConnectorCertificateError)
    made = mock.Mock(selected_alpn_protocol=mock.Mock(return_value="h2"))
    told = {"ssl_object": made}
    assert tls.selected_protocol(mock.Mock(get_extra_info=told.get)) == "h2"
    assert tls.selected_protocol(mock.Mock(get_extra_info={}.get)) is None


@pytest.mark.parametrize(
    ("cipher", "size"), [("TLS_AES_128_GCM_SHA256", 32), ("TLS_AES_256_GCM_SHA384", 48)]
)
def test_a_finished_is_as_long_as_the_hash_of_its_cipher(cipher: str, size: int) -> None:
    made: Any = mock.Mock(
        version=mock.Mock(return_value="TLSv1.3"),
        cipher=mock.Mock(return_value=(cipher, "TLSv1.3", 128)),
    )
    for length in range(20, 100):
        sealed = b"\x17\x03\x03\x00%c" % length + bytes(length)
        assert shows_certificate(sealed, made) is (length != 4 + size + 1 + 16)


def test_tls_objects_are_of_the_class_that_the_program_chose() -> None:
    class Own(ssl.SSLObject):
        pass

    context = unchecked()
    context.sslobject_class = Own
    offering = AlpnContext(context, ("h2",))
    assert offering.sslobject_class is Own
    assert isinstance(offering.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO()), Own)


async def test_wherrys_own_context_offers_by_itself(known_ca) -> None:
    protocols = ("h2", "http/1.1")
    handshake = await SessionTable().handshake(True, protocols, "way")
    assert handshake.context is await tls.context_for(True, protocols)


@pytest.mark.parametrize(
    ("resumption", "ours", "theirs"),
    [(None, True, False), (True, True, True), (False, False, False)],
)
async def test_whose_sessions_are_kept(known_ca, resumption, ours: bool, theirs: bool) -> None:
    table = SessionTable(resumption)
    for option, keeps in ((True, ours), (False, ours), (unchecked(), theirs)):
        handshake = await table.handshake(option, ("http/1.1",), "way")
        assert (handshake._table is table) is keeps
        # Who must begin from nothing does.
        handshake = await table.handshake(option, ("http/1.1",), None)
        assert handshake._table is None


def test_the_table_keeps_the_newest_of_each_key_and_no_more_than_its_bound(monkeypatch) -> None:
    monkeypatch.setattr(tls_sessions, "MAX_SESSIONS", 2)
    table = SessionTable()
    first, second = Told("first", "TLSv1.3", False), Told("second", "TLSv1.3", False)
    table.remember("a", first)  # type: ignore[arg-type]
    assert table.find("a") == "session of first"
    table.remember("a", second)  # type: ignore[arg-type]
    assert table.find("a") == "session of second"
    table.remember("b", first)  # type: ignore[arg-type]
    assert len(table) == 2
    table.remember("a", first)  # type: ignore[arg-type]
    table.remember("c", first)  # type: ignore[arg-type]
    assert len(table) == 2
    assert table.find("b") is None, "the one that was used longest ago goes"
    contexts = [unchecked() for _ in range(3)]
    made = [table.offering(context, ("h2",)) for context in contexts[:2]]
    assert [table.offering(context, ("h2",)) for context in contexts[:2]] == made
    table.offering(contexts[2], ("h2",))
    assert table.offering(contexts[1], ("h2",)) is made[1]
    last = table.offering(contexts[0], ("h2",))
    assert last is not made[0]
    table.clear()
    assert len(table) == 0
    assert table.find("a") is None
    assert table.offering(contexts[0], ("h2",)) is not last


class Silent(Told):
    """Has no session that could be given to OpenSSL."""

    session = None


async def test_what_a_handshake_leaves_in_the_table() -> None:
    told: Any = Silent("it", "TLSv1.3", False)
    table, context = SessionTable(resumption=True), unchecked()

    async def begun() -> Handshake:
        handshake = await table.handshake(context, ("http/1.1",), "way")
        handshake.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="h.test")
        return handshake

    (await begun()).succeeded(None, identified=False)
    assert len(table) == 0  # it ended before there was anything
    (await table.handshake(context, ("http/1.1",), "way")).succeeded(told, identified=False)
    assert len(table) == 0  # it never began
    Handshake(context).succeeded(told, identified=False)  # nothing may be kept
    Handshake(context).failed()
    (await begun()).succeeded(told, identified=False)
    assert len(table) == 1
    # Who the client is got into the session: what was kept before is of no use either.
    (await begun()).succeeded(told, identified=True)
    assert len(table) == 0
    (await begun()).succeeded(told, identified=False)
    context.post_handshake_auth = True
    after = await begun()
    table.remember(after._key, told)
    assert len(table) == 2
    after.succeeded(told, identified=False)
    assert len(table) == 1
