"""Tunnels: from the hops of a route to a stream that ends at its origin.

Each hop is dialled through those before it, spoken to in its own protocol (TLS first where it wants
it), and asked for the next.  Here is the I/O, and here failures get the name of the hop where they
happened; what is said and what an answer means is in `proxy.http` and `proxy.socks`.  Never shows a
credential, and never sees a request.
"""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from wherry.connect.connect_request import ConnectRequest
from wherry.connect.dial_settings import DialSettings, certificate_name, hop_key, timed_out
from wherry.connect.handshake_stream import HandshakeStream
from wherry.connect.proxy.http import (
    MAX_HEAD,
    MAX_INTERIM,
    NotHttp,
    authority,
    connect_answer,
    connect_head,
    forward_fields,
)
from wherry.connect.proxy.proxy_argument import KINDS, proxy_hops
from wherry.connect.proxy.socks import Refusal, Steps, literal, socks4, socks5
from wherry.connect.route import ProxyHop, Route
from wherry.connect.tls.contexts import selected_protocol
from wherry.connect.tls.start_tls import start_tls
from wherry.errors import (
    ClientConnectorAddressBlocked,
    ClientConnectorError,
    ClientHttpProxyError,
    ClientProxyConnectionError,
    ConnectionTimeoutError,
    ServerFingerprintMismatch,
    proxied,
)
from wherry.protocol.debug_log import PROXY
from wherry.protocol.heads import ResponseHead
from wherry.redaction import shown_fields

__all__ = ("TunnelInfo", "forward_fields", "open_tunnel", "proxy_failure", "proxy_hops")

DialFirst = Callable[[ProxyHop], Awaitable[HandshakeStream]]

# Proxies that are asked for a tunnel by CONNECT.
HTTP_SCHEMES = frozenset({"http", "https"})
# What a SOCKS proxy says of one address, and need not be so of the next.
OTHERS_MAY_DO = frozenset(
    {
        errno.ECONNABORTED,
        errno.ENETUNREACH,
        errno.EHOSTUNREACH,
        errno.ECONNREFUSED,
        errno.ETIMEDOUT,
        errno.EAFNOSUPPORT,
    }
)
# A proxy is spoken to in HTTP/1.1 (RFC 9110 9.3.6).
PROXY_PROTOCOLS = ("http/1.1",)


def socks4_steps(hop: ProxyHop, host: str, port: int) -> Steps:
    return socks4(host, port, hop.username)


def socks5_steps(hop: ProxyHop, host: str, port: int) -> Steps:
    return socks5(host, port, hop.username, hop.password)


# How each other kind is asked for a tunnel.  Every kind of `KINDS` is here, or one of
# `HTTP_SCHEMES`, but for MASQUE, which has no tunnel of bytes (`connect.quic.through_proxy`).
HANDSHAKES: dict[str, Callable[[ProxyHop, str, int], Steps]] = {
    "socks4": socks4_steps,
    "socks4a": socks4_steps,
    "socks5": socks5_steps,
    "socks5h": socks5_steps,
}


class TunnelInfo(NamedTuple):
    """What was asked of a proxy that answered with an error, as
    `ClientHttpProxyError.request_info`.

    Args:
        url: The end of the tunnel.
        method: "CONNECT".
        headers: Header fields that were sent, without the credentials.
        real_url: The proxy, without its credentials.
    """

    url: URL
    method: str
    headers: CIMultiDictProxy[str]
    real_url: URL

    def __reduce__(self) -> tuple[Any, ...]:
        pairs = [*self.headers.items()]
        return _tunnel_info, (self.url, self.method, pairs, self.real_url)

    def __repr__(self) -> str:
        """As errors show it: a program's own fields for its proxy may hold secrets."""
        return (
            f"{type(self).__name__}(url={self.url!r}, method={self.method!r}, "
            f"headers={shown_fields(self.headers)}, real_url={self.real_url!r})"
        )


def _tunnel_info(url: URL, method: str, pairs: list[tuple[str, str]], real_url: URL) -> TunnelInfo:
    """A copy, or what comes out of a pickle: multidict's proxies go through neither."""
    return TunnelInfo(url, method, proxied(pairs), real_url)


async def open_tunnel(
    route: Route,
    hops: Sequence[ProxyHop],
    dial_first: DialFirst,
    settings: DialSettings,
    connect_request: ConnectRequest,
) -> HandshakeStream:
    """A stream through `hops`; its other end is the route's origin, still without the origin's TLS.

    Args:
        route: The way to go.
        hops: The proxies to pass, at least one.
        dial_first: Opens a stream to the first of them, directly.
        settings: The connector's.
        connect_request: Whose connection this will be; its `sock_connect` limits all hops together.

    Raises:
        ClientConnectorAddressBlocked: `allow_address` refused every address of the first hop.
        ClientProxyConnectionError: A hop could not be reached, or did not speak its protocol.
        ClientHttpProxyError: An HTTP hop answered with an error.
        ConnectionTimeoutError: The hops took longer than `connect_request.sock_connect`.
    """
    ends = [(hop.host, hop.port) for hop in hops[1:]] + [(route.origin.host, route.origin.port)]
    if connect_request.answer is None:
        return await pass_hops(list(hops), ends, dial_first, settings, connect_request)
    answers = [
        connect_request.answer(hop, authority(*end), ())
        for hop, end in zip(hops, ends, strict=True)
    ]
    challenged: set[int] = set()
    while True:
        told = [
            hop if field is None else authorized(hop, field)
            for hop, field in zip(hops, answers, strict=True)
        ]
        try:
            return await pass_hops(told, ends, dial_first, settings, connect_request)
        except ClientHttpProxyError as exc:
            at = next(
                (
                    index
                    for index, hop in enumerate(hops)
                    if exc.request_info.real_url == URL(str(hop))
                ),
                -1,
            )
            field = None
            if exc.status == 407 and at >= 0 and at not in challenged and exc.headers is not None:
                field = connect_request.answer(
                    hops[at], authority(*ends[at]), exc.headers.getall("Proxy-Authenticate", ())
                )
            if field is None:
                raise
            challenged.add(at)  # each is answered once
            answers[at] = field


async def pass_hops(
    hops: list[ProxyHop],
    ends: list[tuple[str, int]],
    dial_first: DialFirst,
    settings: DialSettings,
    connect_request: ConnectRequest,
) -> HandshakeStream:
    """A stream through `hops`, each of which opens a tunnel to its end.

    A SOCKS proxy that is given addresses is given one after the other, each by a new connection.
    """
    addresses: dict[int, list[str]] = {}
    while True:
        try:
            return await pass_once(hops, ends, dial_first, settings, connect_request, addresses)
        except OtherAddress as exc:
            del addresses[exc.index][0]


class OtherAddress(Exception):
    """A SOCKS proxy could not reach an address, and there are others of that name.

    Args:
        index: Which of the hops it is.
    """

    def __init__(self, index: int) -> None:
        self.index = index
        super().__init__(index)


async def pass_once(
    hops: list[ProxyHop],
    ends: list[tuple[str, int]],
    dial_first: DialFirst,
    settings: DialSettings,
    connect_request: ConnectRequest,
    addresses: dict[int, list[str]],
) -> HandshakeStream:
    """The same, with the first of the addresses that are left.

    Args:
        hops: The proxies.
        ends: What each is asked for.
        dial_first: Opens a stream to the first of them.
        settings: The connector's.
        connect_request: Whose connection this will be.
        addresses: Of which hop's end which addresses are to be tried; filled here.

    Raises:
        OtherAddress: The first of them was no good, and there are more.
    """
    try:
        stream = await dial_first(hops[0])
    except ClientConnectorAddressBlocked:
        raise  # refused by the program's own guard, so no failure of the proxy
    except ClientConnectorError as exc:
        raise proxy_failure(hops[0], exc) from exc
    passed: list[ProxyHop] = []
    try:
        for hop, (host, port) in zip(hops, ends, strict=True):
            passed.append(hop)
            await pass_hop(stream, tuple(passed), host, port, settings, connect_request, addresses)
            if PROXY.on:
                PROXY.say("%s gave a tunnel to %s", hop, authority(host, port))
    except BaseException:
        stream.abort()
        raise
    return stream


def authorized(hop: ProxyHop, field: str) -> ProxyHop:
    """`hop` with `field` among the fields that its CONNECT carries."""
    return hop._replace(headers=(*hop.headers, ("Proxy-Authorization", field)))


async def pass_hop(
    stream: HandshakeStream,
    hops: tuple[ProxyHop, ...],
    host: str,
    port: int,
    settings: DialSettings,
    connect_request: ConnectRequest,
    addresses: dict[int, list[str]],
) -> None:
    """Ask the last of `hops`, at the other end of `stream`, for a tunnel to `host`; errors name
    it.
    """
    hop, index = hops[-1], len(hops) - 1
    towards = authority(host, port)
    try:
        if hop.scheme == "https":
            await enter_tls(stream, hops, settings, connect_request)
        async with connect_request.time_limit():
            await ask_for_tunnel(
                stream, hop, host, port, settings, connect_request, index, addresses
            )
        if stream.unread:
            # A client speaks first in HTTP and in TLS: these bytes would be taken for an answer.
            raise Refusal(errno.EPROTO, f"{stream.unread} bytes came before anything was asked")
    except TimeoutError as exc:
        if exc.errno is not None:
            raise proxy_failure(hop, exc, towards) from exc
        if isinstance(exc, ConnectionTimeoutError):
            raise
        raise timed_out(
            hop_key(hop), connect_request, f"{hop} gave no tunnel to {towards}"
        ) from exc
    except Refusal as exc:
        if exc.number in OTHERS_MAY_DO and len(addresses.get(index, ())) > 1:
            raise OtherAddress(index) from exc
        raise proxy_failure(hop, OSError(exc.number, exc.reason), towards) from exc
    except ServerFingerprintMismatch as exc:
        raise proxy_failure(hop, OSError(errno.EPROTO, str(exc))) from exc
    except OSError as exc:
        raise proxy_failure(hop, exc, towards) from exc
    except ValueError as exc:
        # No HTTP came, or too much of it.
        raise proxy_failure(hop, OSError(errno.EPROTO, str(exc)), towards) from exc


async def ask_for_tunnel(
    stream: HandshakeStream,
    hop: ProxyHop,
    host: str,
    port: int,
    settings: DialSettings,
    connect_request: ConnectRequest,
    index: int,
    addresses: dict[int, list[str]],
) -> None:
    """Ask in the proxy's own protocol; a name that is resolved on this side is so once."""
    if PROXY.on:
        PROXY.say("asks %s for a tunnel to %s", hop, authority(host, port))
    if hop.scheme in HTTP_SCHEMES:
        await connect_by_http(stream, hop, host, port)
        return
    kind = KINDS[hop.scheme]
    if kind.wants_address and literal(host) is None:
        if index not in addresses:
            addresses[index] = await own_addresses(
                host, port, settings, connect_request, only_ipv4=kind.only_ipv4
            )
        host = addresses[index][0]
    await run_handshake(stream, HANDSHAKES[hop.scheme](hop, host, port))


async def enter_tls(
    stream: HandshakeStream,
    hops: tuple[ProxyHop, ...],
    settings: DialSettings,
    connect_request: ConnectRequest,
) -> None:
    """TLS with the last of `hops`, inside whatever the stream is in already."""
    hop = hops[-1]
    await start_tls(
        stream,
        settings,
        connect_request,
        ssl_option=hop.ssl,
        server_hostname=certificate_name(hop.host),
        protocols=PROXY_PROTOCOLS,
        key=hop_key(hop),
        # The way to this proxy; who is named as its user by an `answer` alone is not a part of
        # that.
        trust=None if connect_request.answer is not None else hops,
        chosen=True,
    )
    chosen = selected_protocol(stream.transport)
    if chosen not in {None, *PROXY_PROTOCOLS}:
        raise NotHttp(f"the proxy chose {chosen!r} by ALPN, which was not offered")


async def connect_by_http(stream: HandshakeStream, hop: ProxyHop, host: str, port: int) -> None:
    """Ask an HTTP proxy for a tunnel by CONNECT (RFC 9110 9.3.6)."""
    stream.write(connect_head(hop, host, port))
    for _ in range(MAX_INTERIM + 1):
        head = connect_answer(await stream.read_head(MAX_HEAD))
        # RFC 9110 15.2: interim answers may come at any time; 101 was not asked for.
        if head.status == 101 or head.status >= 200:
            break
    else:
        raise NotHttp(f"more than {MAX_INTERIM} interim answers")
    # Whatever the answer says of its length, after a 2xx the tunnel begins (RFC 9110 9.3.6).
    if not 200 <= head.status < 300:
        raise http_refusal(hop, host, port, head)


def http_refusal(hop: ProxyHop, host: str, port: int, head: ResponseHead) -> ClientHttpProxyError:
    """What a caller meets when an HTTP proxy answered with an error."""
    sent = CIMultiDict({"Host": authority(host, port)})
    sent.extend(
        (name, value) for name, value in hop.headers if name.lower() != "proxy-authorization"
    )
    got = CIMultiDict(
        (name.decode("ascii"), value.decode("utf-8", "surrogateescape")) for name, value in head.raw
    )
    end = host if ":" not in host else f"[{host}]"
    info = TunnelInfo(
        URL(f"https://{end}:{port}"), "CONNECT", CIMultiDictProxy(sent), URL(str(hop))
    )
    return ClientHttpProxyError(
        info, (), status=head.status, message=head.reason, headers=CIMultiDictProxy(got)
    )


async def own_addresses(
    host: str,
    port: int,
    settings: DialSettings,
    connect_request: ConnectRequest,
    *,
    only_ipv4: bool,
) -> list[str]:
    """The addresses of `host`, resolved here and not by the proxy, in the order to try them."""
    if settings.names is None:
        raise Refusal(
            errno.EINVAL,
            f"this connector resolves no names, and the proxy is to get {host}'s address",
        )
    try:
        found = [
            result["host"]
            for result in await settings.names.resolve(host, port, connect_request.observer)
        ]
    except OSError as exc:
        raise Refusal(
            exc.errno or errno.EHOSTUNREACH, f"{host} was not found: {exc.strerror or exc}"
        ) from exc
    allow = settings.allow_address
    addresses = [address for text in found if (address := literal(text)) is not None]
    if allow is not None:
        addresses = [address for address in addresses if allow(address)]
    # A proxy with IPv6 has IPv4 too; the contrary is common.
    addresses.sort(key=lambda address: address.version)
    if only_ipv4:
        addresses = [address for address in addresses if address.version == 4]
    if not addresses:
        raise Refusal(errno.EAFNOSUPPORT, f"{host} has no address that may be given to the proxy")
    return [str(address) for address in addresses]


async def run_handshake(stream: HandshakeStream, steps: Steps) -> None:
    """Run a proxy's handshake: send what `steps` yields, and give it the answers."""
    try:
        data, size = next(steps)
        while True:
            if data:
                stream.write(data)
            data, size = steps.send(await stream.read(size))
    except StopIteration:
        return


def proxy_failure(
    hop: ProxyHop, exc: OSError, towards: str | None = None
) -> ClientProxyConnectionError:
    """What a caller meets when `hop` failed with `exc`.

    Args:
        hop: The proxy.
        exc: What happened.
        towards: Where the proxy was asked to connect to, where it got that far.
    """
    cause = exc.os_error if isinstance(exc, ClientConnectorError) else exc
    way = f"{hop} towards {towards}" if towards else str(hop)
    return ClientProxyConnectionError(
        hop_key(hop), OSError(cause.errno, f"{way}: {cause.strerror or cause}")
    )
