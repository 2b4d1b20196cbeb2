"""Over which way a request goes: TLS policy, proxies and Host, as what a kept response is found by.

An answer that came without checks, through somebody's proxy, or from a host that the request named
otherwise, is trusted as far as that way is, and serves nobody who goes another.  This looks at
requests and routes; it keeps nothing but a name for each SSLContext and session that it met.
"""

from __future__ import annotations

import hashlib
import secrets
import ssl
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet

from wherry.client.origin import authority_of
from wherry.connect.route import ProxyHop, Route
from wherry.connect.tls.contexts import Fingerprint
from wherry.middlewares.cache_key import Asker

if TYPE_CHECKING:
    from wherry.client.request import ClientRequest


class PartitionNames:
    """Names what a request goes by.

    Contexts and sessions are named at random, for as long as they live: what two of them trust
    cannot be seen, so none is taken for another, not even one of an earlier run of the program.

    Args:
        credential_headers: Further fields that say who asks.
    """

    def __init__(self, credential_headers: frozenset[str] = frozenset()) -> None:
        self._credentials = credential_headers
        self._names: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
        self._known_inside: WeakSet[Any] = WeakSet()

    def asker(self, request: ClientRequest) -> Asker:
        """Who asks, and over which way."""
        session = request.session
        connector = session.connector
        facts: list[Any] = []
        if connector is not None:
            route = connector.route_for(
                request.url,
                ssl=request.ssl,
                server_hostname=request.server_hostname,
                hops=request.hops,
            )
            facts = self._of_route(route)
        host = request.headers.get("Host")
        if host is not None and _host(request, host) != _host(request, authority_of(request.url)):
            facts.append(("host", _host(request, host)))
        partition = (
            hashlib.sha256(repr(facts).encode("utf-8", "surrogateescape")).hexdigest()[:32]
            if facts
            else ""
        )
        return Asker(
            partition, self._name(session), session in self._known_inside, self._credentials
        )

    def note_inside(self, request: ClientRequest) -> None:
        """The credentials of this session come in further inside than the cache sees."""
        self._known_inside.add(request.session)

    def _of_route(self, route: Route) -> list[Any]:
        facts: list[Any] = []
        policy = self._of_tls(route.ssl) if route.is_tls and route.forward is None else ""
        if policy:
            facts.append(("tls", policy))
        if route.server_hostname is not None:
            facts.append(("name", route.server_hostname))
        if route.path is not None:
            facts.append(("path", route.path))
        hops = route.hops if route.forward is None else (*route.hops, route.forward)
        facts.extend(
            self._of_hop(hop, route.ssl if hop is route.forward else hop.ssl) for hop in hops
        )
        return facts

    def _of_hop(self, hop: ProxyHop, option: Any) -> tuple[Any, ...]:
        policy = self._of_tls(option) if hop.scheme == "https" else ""
        return (
            "proxy",
            hop.scheme,
            hop.host,
            hop.port,
            hop.username,
            hop.password,
            hop.headers,
            policy,
        )

    def _of_tls(self, option: Any) -> str:
        if option is True or option is None:
            return ""
        if isinstance(option, Fingerprint):
            return f"fingerprint {option.fingerprint.hex()}"
        if isinstance(option, ssl.SSLContext):
            # What the program may change of a context is looked at each time.
            return " ".join(
                str(fact)
                for fact in (
                    self._name(option),
                    int(option.verify_mode),
                    option.check_hostname,
                    int(option.verify_flags),
                    int(option.options),
                    int(option.minimum_version),
                    int(option.maximum_version),
                )
            )
        return "unchecked"

    def _name(self, thing: Any) -> str:
        name = self._names.get(thing)
        if name is None:
            name = self._names[thing] = secrets.token_hex(16)
        return name


def _host(request: ClientRequest, authority: str) -> str:
    """An authority in one form (RFC 9110 4.2.3)."""
    implied = ":443" if request.url.scheme in ("https", "wss") else ":80"
    return authority.strip().lower().removesuffix(implied)
