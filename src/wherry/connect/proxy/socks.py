"""The client's half of the SOCKS4, SOCKS4a and SOCKS5 handshakes, without I/O.

A handshake is a generator.  It yields what to send and how many bytes of answer to read next, is
sent these bytes, and returns when the tunnel is open.  Knows no sockets, no hops and no errors of
the client: what is wrong is a `Refusal`, to which the caller adds where it happened.  RFC 1928, RFC
1929; SOCKS4 and 4a are Ying-Da Lee's memos.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Generator

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
# (bytes to send, bytes of answer to read)
Steps = Generator[tuple[bytes, int], bytes, None]

NO_AUTHENTICATION, USER_AND_PASSWORD, NOTHING_ACCEPTED = 0x00, 0x02, 0xFF
IPV4, NAME, IPV6 = 0x01, 0x03, 0x04

# RFC 1928 6: what REP says, and the errno that says the same.
REPLIES = {
    1: (errno.ECONNABORTED, "general failure of the proxy"),
    2: (errno.EACCES, "the proxy's rules do not allow the connection"),
    3: (errno.ENETUNREACH, "the network cannot be reached"),
    4: (errno.EHOSTUNREACH, "the host cannot be reached"),
    5: (errno.ECONNREFUSED, "the connection was refused"),
    6: (errno.ETIMEDOUT, "the time to live ended on the way"),
    7: (errno.EOPNOTSUPP, "the proxy does not know this command"),
    8: (errno.EAFNOSUPPORT, "the proxy does not know this kind of address"),
}
REPLIES_4 = {
    91: (errno.ECONNREFUSED, "the request was rejected, or it failed"),
    92: (errno.EACCES, "the proxy could not reach the client's identd"),
    93: (errno.EACCES, "the client's identd gave another user id"),
}


class Refusal(Exception):
    """The proxy said no, or did not speak its protocol.

    Args:
        number: The errno that says the same.
        reason: What came, for a person.
    """

    def __init__(self, number: int, reason: str) -> None:
        self.number = number
        self.reason = reason
        super().__init__(number, reason)


def literal(host: str) -> Address | None:
    """The address that `host` is, None for a name; a zone ("%eth0") means nothing to a proxy."""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


def socks4(host: str, port: int, user: str | None = None) -> Steps:
    """SOCKS4, and 4a where `host` is a name.

    Args:
        host: The destination: an IPv4 address, or a name that the proxy resolves (4a).
        port: The destination's port.
        user: The user id, which is all that SOCKS4 knows of credentials.
    """
    address = literal(host)
    if address is not None and address.version == 6:
        raise Refusal(errno.EAFNOSUPPORT, "SOCKS4 has no IPv6 addresses")
    if address is None:
        # 4a: an address 0.0.0.x with x not zero says that a name follows.
        packed, name = b"\x00\x00\x00\x01", name_bytes(host) + b"\x00"
    else:
        packed, name = address.packed, b""
    answer = yield (
        b"\x04\x01" + port.to_bytes(2) + packed + (user or "").encode() + b"\x00" + name,
        8,
    )
    version, code = answer[0], answer[1]
    # The memo wants 0; proxies that answer with their version number are known.
    if version not in {0, 4} or not 90 <= code <= 93:
        raise Refusal(errno.EPROTO, f"this is no SOCKS4 answer: {answer!r}")
    if code != 90:
        raise Refusal(*REPLIES_4[code])


def socks5(host: str, port: int, user: str | None = None, password: str | None = None) -> Steps:
    """SOCKS5's CONNECT (RFC 1928 4).

    Args:
        host: The destination: an address, or a name that the proxy resolves.
        port: The destination's port.
        user: The user name, None to offer no credentials.
        password: The password.
    """
    yield from _greet(user, password)
    yield from _ask(b"\x05\x01\x00" + destination(host) + port.to_bytes(2))


def socks5_udp(
    relay: list[tuple[str, int]], user: str | None = None, password: str | None = None
) -> Steps:
    """SOCKS5's UDP ASSOCIATE (RFC 1928 7).

    Args:
        relay: Gets the address where the proxy takes datagrams; a name, or "0.0.0.0", may be said.
        user: The user name, None to offer no credentials.
        password: The password.
    """
    yield from _greet(user, password)
    # RFC 1928 6: zeros where it is not known yet which address datagrams will come from.
    relay.append((yield from _ask(b"\x05\x03\x00\x01" + bytes(6))))


def _greet(user: str | None, password: str | None) -> Steps:
    """Agree on a method, and show credentials if that is it."""
    methods = bytes([NO_AUTHENTICATION] if user is None else [NO_AUTHENTICATION, USER_AND_PASSWORD])
    answer = yield (bytes([5, len(methods)]) + methods, 2)
    if answer[0] != 5:
        raise Refusal(errno.EPROTO, f"this is no SOCKS5 answer: {answer!r}")
    if answer[1] == NOTHING_ACCEPTED:
        wanted = (
            "another kind of credentials" if user is not None else "credentials, and none are given"
        )
        raise Refusal(errno.EACCES, f"the proxy wants {wanted}")
    if answer[1] not in methods:
        raise Refusal(errno.EPROTO, f"the proxy chose a method that was not offered: {answer[1]}")
    if answer[1] == USER_AND_PASSWORD:
        yield from sign_in(user or "", password or "")


def _ask(request: bytes) -> Generator[tuple[bytes, int], bytes, tuple[str, int]]:
    """Send a request; the address in its reply."""
    answer = yield (request, 2)
    if answer[0] != 5:
        raise Refusal(errno.EPROTO, f"this is no SOCKS5 answer: {answer!r}")
    # Proxies are known that send no more than the reply's code before they close, so it is looked
    # at first.
    if answer[1]:
        raise Refusal(*REPLIES.get(answer[1], (errno.EPROTO, f"an unknown reply: {answer[1]}")))
    answer = yield (b"", 2)
    kind = answer[1]
    if kind == NAME:
        length = (yield (b"", 1))[0]
    elif kind in {IPV4, IPV6}:
        length = 4 if kind == IPV4 else 16
    else:
        raise Refusal(errno.EPROTO, f"the reply has an address of an unknown kind: {kind}")
    # For CONNECT the address that the proxy bound is of no use; the tunnel begins after it.
    bound = yield (b"", length + 2)
    named = bound[:length]
    if kind == NAME:
        host = named.decode("latin1")
    else:
        # inet_ntop writes `::ffff:192.0.2.1` on every Python (RFC 5952 5); ipaddress since 3.13.
        host = socket.inet_ntop(socket.AF_INET if kind == IPV4 else socket.AF_INET6, named)
    return host, int.from_bytes(bound[length:])


def sign_in(user: str, password: str) -> Steps:
    """The sub-negotiation of SOCKS5 that shows a user name and a password (RFC 1929)."""
    name, secret = user.encode(), password.encode()
    answer = yield (bytes([1, len(name)]) + name + bytes([len(secret)]) + secret, 2)
    # RFC 1929 2 wants version 1; proxies that answer 5 are known, and only the status decides.
    if answer[0] not in {1, 5}:
        raise Refusal(errno.EPROTO, f"this is no answer to credentials: {answer!r}")
    if answer[1]:
        raise Refusal(errno.EACCES, "the proxy refused the user name or the password")


def destination(host: str) -> bytes:
    """A destination as SOCKS5 writes it: ATYP and DST.ADDR (RFC 1928 5)."""
    address = literal(host)
    if address is None:
        name = name_bytes(host)
        return bytes([NAME, len(name)]) + name
    return bytes([IPV4 if address.version == 4 else IPV6]) + address.packed


def name_bytes(host: str) -> bytes:
    """A host name as proxies take it: A-labels, at most 255 bytes, and no NUL."""
    try:
        name = host.encode("ascii")
    except UnicodeEncodeError:
        try:
            name = host.encode("idna")
        except UnicodeError:
            name = b""
    if not 0 < len(name) < 256 or b"\x00" in name:
        raise Refusal(
            errno.EINVAL, f"a host name that cannot be sent to a SOCKS proxy: {host[:64]!r}"
        )
    return name
