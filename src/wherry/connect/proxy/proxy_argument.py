"""What a program may write as `proxy=`, and the hops that it means.

Pure: every documented form becomes a tuple of `ProxyHop`, in the order in which they are passed.
Knows URLs and credentials; never opens anything, and never puts a password into a message.
Credentials are taken by their shape (`login`, `password`, `encoding`), so this room need not know
which room makes them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, NoReturn, Protocol, TypeAlias

from yarl import URL

from wherry.connect.route import ProxyHop, decoded_host
from wherry.errors import InvalidURL
from wherry.protocol.grammar import is_token
from wherry.protocol.heads import has_bytes
from wherry.types import LooseHeaders

# Fields that follow from the CONNECT itself (RFC 9110 9.3.6: it has no content) or that this client
# writes.
FORBIDDEN_FIELDS = frozenset({"content-length", "transfer-encoding"})


def check_basic(hop: ProxyHop) -> None:
    # RFC 7617 2: the user-id ends at the first colon.
    if ":" in str(hop.username):
        raise ValueError(
            f"the user name for {hop} has a colon, which Basic credentials cannot carry"
        )


def check_socks5(hop: ProxyHop) -> None:
    # RFC 1929 2: a byte counts each of them.
    if len(str(hop.username).encode()) > 255 or len((hop.password or "").encode()) > 255:
        raise ValueError(f"the user name and the password for {hop} may each have 255 bytes")


def check_socks4(hop: ProxyHop) -> None:
    if "\0" in str(hop.username):
        raise ValueError(f"the user name for {hop} has a NUL, which ends it in SOCKS4")


class ProxyKind(NamedTuple):
    """What is known of a kind of proxy before it is dialled.

    How it is asked for a tunnel is in `tunnel.HANDSHAKES`.

    Args:
        port: Where it listens if its URL does not say.
        check_credentials: Refuses, by a ValueError, those that its protocol cannot carry.
        takes_fields: Whether it takes header fields (`proxy_headers=`).
        wants_address: Whether names are resolved here, for it is given addresses only.
        only_ipv4: Whether these must be IPv4.
    """

    port: int
    check_credentials: Callable[[ProxyHop], None]
    takes_fields: bool = False
    wants_address: bool = False
    only_ipv4: bool = False


# By the scheme of its URL.
KINDS: dict[str, ProxyKind] = {
    "http": ProxyKind(80, check_basic, takes_fields=True),
    "https": ProxyKind(443, check_basic, takes_fields=True),
    "socks4": ProxyKind(1080, check_socks4, wants_address=True, only_ipv4=True),
    "socks4a": ProxyKind(1080, check_socks4),
    "socks5": ProxyKind(1080, check_socks5, wants_address=True),
    "socks5h": ProxyKind(1080, check_socks5),
    "masque+https": ProxyKind(443, check_basic, takes_fields=True),  # carries HTTP/3 alone
}


class Credentials(Protocol):
    """A login and a password, as BasicAuth has them."""

    @property
    def login(self) -> str: ...
    @property
    def password(self) -> str: ...


# What `proxy=` takes: one hop, or a chain of them in its order; patterns of URLs with these; or
# what gives them for a URL.
_Hop: TypeAlias = str | URL | ProxyHop | tuple[str | URL, Credentials | None]
_Chain: TypeAlias = _Hop | Iterable[_Hop] | None
Proxy: TypeAlias = _Chain | Mapping[str, _Chain] | Callable[[URL], _Chain]


def proxy_hops(
    proxy: Any,
    proxy_auth: Credentials | None = None,
    proxy_headers: LooseHeaders | None = None,
    proxy_ssl: Any = None,
) -> tuple[ProxyHop, ...]:
    """The hops that `proxy=` means.

    Args:
        proxy: None; a URL; a `ProxyHop`; a ``(url, BasicAuth)`` pair, which is one hop; or any
            iterable of these, a chain in its order.
        proxy_auth: Credentials of a single proxy; they win over those of its URL.
        proxy_headers: More header fields for a single HTTP proxy.
        proxy_ssl: For https:// hops: True, False, an SSLContext or a Fingerprint; None for
            what holds for the origin.

    Raises:
        InvalidURL: (a ValueError) No such kind of proxy, or no host, or a bad port.
        ValueError: `proxy_auth` or `proxy_headers` with a chain, or with a proxy that cannot take
            them.
        TypeError: Something else than the forms above.
    """
    if proxy is None:
        return ()
    if isinstance(proxy, str | URL | ProxyHop) or is_pair(proxy):
        members = [proxy]
    elif isinstance(proxy, Iterable) and not isinstance(proxy, bytes | bytearray | Mapping):
        members = list(proxy)
        if not members:
            raise ValueError("proxy= is an empty chain; give None for no proxy")
        if len(members) > 1 and isinstance(proxy, set | frozenset):
            warnings.warn(
                f"proxy= is a set of {len(members)} hops, and a set keeps no order: give a list",
                UserWarning,
                2,
            )
    else:
        raise TypeError(
            "proxy= must be a URL, a (URL, BasicAuth) pair or an iterable of these, not "
            f"{type(proxy)!r}"
        )
    if len(members) > 1:
        if proxy_auth is not None:
            raise ValueError(
                "proxy_auth= goes with one proxy; in a chain write (url, BasicAuth) for each hop"
            )
        if proxy_headers:
            raise ValueError(
                "proxy_headers= goes with one proxy; in a chain give a ProxyHop with its headers"
            )
    return tuple(one_hop(member, proxy_auth, proxy_headers, proxy_ssl) for member in members)


def hops_of(
    proxy: Any,
    proxy_auth: Credentials | None = None,
    proxy_headers: LooseHeaders | None = None,
    proxy_ssl: Any = None,
) -> tuple[ProxyHop, ...]:
    """As `proxy_hops`, for what a program writes as `proxy=`: "" is no proxy, as in curl."""
    if isinstance(proxy, str | URL) and not str(proxy):
        return ()
    return proxy_hops(proxy, proxy_auth, proxy_headers, proxy_ssl)


def is_pair(value: Any) -> bool:
    """Whether `value` is a ``(url, BasicAuth)`` pair: one hop and not a chain of two."""
    return (
        isinstance(value, tuple | list)
        and not isinstance(value, ProxyHop)
        and len(value) == 2
        and isinstance(value[0], str | URL)
        and (value[1] is None or has_credentials(value[1]))
    )


def has_credentials(value: Any) -> bool:
    """Whether `value` has the shape of a BasicAuth."""
    return isinstance(getattr(value, "login", None), str) and isinstance(
        getattr(value, "password", None), str
    )


def one_hop(
    member: Any, proxy_auth: Credentials | None, proxy_headers: LooseHeaders | None, proxy_ssl: Any
) -> ProxyHop:
    """One member of a chain as a hop."""
    if is_pair(member):
        member, own = member
        proxy_auth = own or proxy_auth
    if isinstance(member, ProxyHop):
        if member.scheme not in KINDS:
            refuse(f"{member.scheme}://{member.host}", f"{member.scheme!r} is not a kind of proxy")
        hop = member if proxy_ssl is None else member._replace(ssl=proxy_ssl)
    elif isinstance(member, str | URL):
        hop = hop_of_url(member, proxy_ssl)
    else:
        raise TypeError(
            f"a hop of proxy= must be a URL or a (URL, BasicAuth) pair, not {type(member)!r}"
        )
    if proxy_auth is not None:
        if not has_credentials(proxy_auth):
            raise ValueError("proxy_auth must be None or BasicAuth() tuple")
        encoding = getattr(proxy_auth, "encoding", None) or hop.encoding
        hop = hop._replace(
            username=proxy_auth.login, password=proxy_auth.password, encoding=encoding
        )
    if proxy_headers:
        if not KINDS[hop.scheme].takes_fields:
            raise ValueError(f"proxy_headers= needs an HTTP proxy, and {hop} is none")
        hop = hop._replace(headers=(*hop.headers, *field_pairs(proxy_headers)))
    check_credentials(hop)
    return hop


def hop_of_url(value: str | URL, proxy_ssl: Any = None) -> ProxyHop:
    """A proxy's URL as a hop; its path is of no meaning.

    Raises:
        InvalidURL: The scheme is not a proxy's, the host is missing or the port is none.
    """
    try:
        url = value if isinstance(value, URL) else URL(value)
        port = url.explicit_port
    except (ValueError, IndexError):
        # The parser's own message may hold the whole authority, password included.
        refuse(without_credentials(str(value)), "this is not a URL of a proxy")
    scheme = url.scheme
    if scheme not in KINDS:
        refuse(
            without_credentials(str(value)),
            f"{scheme!r} is not a kind of proxy; there are {', '.join(KINDS)}: say "
            "http://HOST:PORT for a usual one"
            if scheme
            else f"a proxy's URL begins with its kind, one of {', '.join(KINDS)}",
        )
    host = url.raw_host
    if not host:
        refuse(without_credentials(str(value)), "a proxy's URL needs a host")
    if port == 0:
        refuse(without_credentials(str(value)), "port 0 cannot be connected to")
    username, password = url.user, url.password
    if username is None and password is not None:
        username = ""
    return ProxyHop(
        scheme, decoded_host(host), port or KINDS[scheme].port, username, password, (), proxy_ssl
    )


def field_pairs(fields: LooseHeaders) -> tuple[tuple[str, str], ...]:
    """Header fields for a proxy as pairs, checked.

    Raises:
        ValueError: A name is not a token, a value has a line break, or the field would speak of
            framing.
    """
    items = fields.items() if isinstance(fields, Mapping) else fields
    pairs = []
    for name, value in items:
        name, value = str(name), str(value)
        lower = name.lower()
        if not is_token(name):
            raise ValueError(f"proxy_headers= has a name that is not a token: {name!r}")
        if any(mark in value for mark in "\r\n\0") or not has_bytes(value):
            raise ValueError(
                "proxy_headers= has a line break, NUL or half a surrogate pair in the value of "
                f"{name}"
            )
        if lower in FORBIDDEN_FIELDS:
            raise ValueError(f"proxy_headers= cannot set {name}: a CONNECT has no body")
        if lower != "host":
            pairs.append((name, value.strip(" \t")))
    return tuple(pairs)


def check_credentials(hop: ProxyHop) -> None:
    """Refuse credentials that the hop's protocol cannot carry, before anything is dialled."""
    if hop.username is not None:
        KINDS[hop.scheme].check_credentials(hop)


def without_credentials(text: str) -> str:
    """A URL as it can be shown."""
    head, mark, rest = text.rpartition("@")
    if not mark:
        return text
    scheme, slashes, _ = head.partition("://")
    return f"{scheme}://{rest}" if slashes else rest


def refuse(shown: str, reason: str) -> NoReturn:
    # `from None`: the parser's error shows the credentials.
    raise InvalidURL(shown, reason) from None
