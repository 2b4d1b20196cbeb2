"""Alternative services (RFC 7838): what a server says of other places where it speaks HTTP/3, and
what is kept of that.

Pure: fields and moments in, values out.  A store belongs to one connector, is bounded, and is kept
under everything that its answers were trusted under: the origin, what was said of TLS, and the name
that was checked.  An alternative is a hint about the way and nothing more: its certificate must be
the origin's.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import ssl
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from os import PathLike
from pathlib import Path
from typing import Any, Final, NamedTuple

from wherry.connect.route import Origin, Route
from wherry.private_files import write_private
from wherry.protocol.grammar import decimal, elements, match_token, read_parameters, read_string
from wherry.protocol.heads import ResponseHead

# RFC 7838 3.1: how long an alternative is fresh that does not say so, in seconds.
DEFAULT_MAX_AGE: Final = 24 * 60 * 60
# Nobody is believed for longer than this.
_LONGEST_MAX_AGE: Final = 30 * 24 * 60 * 60
# Alternatives of one field that are looked at; the best come first.
_MOST_ALTERNATIVES: Final = 16
# For how long an alternative that failed is left alone: this, doubled with each failure.
FIRST_PAUSE: Final = 300.0
LONGEST_PAUSE: Final = 2 * 24 * 60 * 60.0
# RFC 6335 6: ports that a system gives to its services only.
_FIRST_UNPRIVILEGED_PORT: Final = 1024

# Of the files that `save` writes.
_VERSION: Final = 1

_is_host = re.compile(r"[A-Za-z0-9._-]{1,253}").fullmatch


class Alternative(NamedTuple):
    """Where HTTP/3 is spoken for an origin.

    Args:
        host: A name or an address.
        port: The UDP port.
        known_by: What said so, for people: "Alt-Svc", "HTTPS record", or "a guess" where every
            origin is tried.
    """

    host: str
    port: int
    known_by: str = "Alt-Svc"


class TrustKey(NamedTuple):
    """What an alternative is kept under: all that the answer which named it was trusted under.

    Args:
        origin: Whose answer it was.
        ssl: What was said of TLS.
        server_hostname: The name that was checked, None for the origin's.
    """

    origin: Origin
    ssl: Any
    server_hostname: str | None


class Advertised(NamedTuple):
    """One alternative as a field says it.

    Args:
        protocol: Its ALPN identifier.
        host: Its host, "" for the origin's own.
        port: Its port.
        max_age: Seconds that it is fresh.
        persists: Whether it outlives a change of network.
    """

    protocol: str
    host: str
    port: int
    max_age: int
    persists: bool


def parse_alt_svc(values: Iterable[str]) -> list[Advertised]:
    """The alternatives of an Alt-Svc field, in order of wish; none for ``clear``.

    What is malformed is passed over, and so are parameters that nobody knows.

    >>> parse_alt_svc(['h3=":443"; ma=60', 'h2="b.test:8443"; persist=1'])[0][:4]
    ('h3', '', 443, 60)
    """
    values = list(values)
    if any(value.strip(" \t") == "clear" for value in values):
        return []
    read = (_read_alternative(item) for item in elements(values)[:_MOST_ALTERNATIVES])
    return [found for found in read if found is not None]


def _read_alternative(text: str) -> Advertised | None:
    name = match_token(text)
    if name is None or not text.startswith("=", name.end()):
        return None
    authority = read_string(text, name.end() + 1)
    if authority is None:
        return None
    place = _read_authority(authority[0])
    parameters, end = read_parameters(text, authority[1])
    if place is None or text[end:].strip(" \t"):
        return None
    found = {key.lower(): value for key, value in reversed(parameters)}
    age = decimal(found.get("ma"), _LONGEST_MAX_AGE) if "ma" in found else DEFAULT_MAX_AGE
    if age is None:
        return None
    return Advertised(_unquoted(name[0]), *place, age, found.get("persist") == "1")


def _read_authority(text: str) -> tuple[str, int] | None:
    host, colon, digits = text.rpartition(":")
    port = decimal(digits, 65536)
    if not colon or port is None or not 0 < port < 65536:
        return None
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            return None
    elif host and not _is_host(host):
        return None
    return host, port


def _unquoted(name: str) -> str:
    """An ALPN identifier out of a token (RFC 7838 3): percent-encoded where it has to be."""
    return re.sub("%([0-9A-Fa-f]{2})", lambda found: chr(int(found[1], 16)), name)


def usable(advertised: Iterable[Advertised], origin: Origin) -> Advertised | None:
    """The first alternative that HTTP/3 may be tried at."""
    for found in advertised:
        if found.protocol != "h3":
            continue
        same_host = not found.host or found.host == origin.host
        # RFC 7838 9.1: who may not open an origin's own port must not speak for it on another.
        if not (same_host and origin.port < _FIRST_UNPRIVILEGED_PORT <= found.port):
            return found
    return None


class _Entry:
    """Where an origin says it speaks HTTP/3, and whether that worked."""

    __slots__ = ("alternative", "expires", "failures", "networks", "paused_until", "persists")

    def __init__(self, alternative: Alternative, expires: float, persists: bool) -> None:
        self.alternative = alternative
        self.expires = expires
        self.persists = persists
        self.failures = 0
        self.paused_until = 0.0
        # Our own address there, by family: another one is another network.
        self.networks: dict[int, str] = {}


def _is_authentic(route: Route) -> bool:
    """Whether the answers of a route come from whom its URL names (RFC 7838 2.1)."""
    if not route.is_tls or route.hops or route.ssl is False:
        return False
    return not isinstance(route.ssl, ssl.SSLContext) or route.ssl.verify_mode == ssl.CERT_REQUIRED


class AltSvcStore:
    """The alternatives of one connector.

    Args:
        max_size: How many origins are remembered at most; whoever was learned longest ago goes
            first.
        clock: Gives the moment, in seconds, for `save` and `load`.

    Set `tries_all` to try HTTP/3 with origins of which nothing is known too, at their own hosts and
    ports, as a person does who asks for it by hand.
    """

    __slots__ = ("__weakref__", "_asked", "_clock", "_entries", "_max_size", "tries_all")

    def __init__(self, max_size: int = 1000, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.tries_all: bool = False
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._asked: dict[Hashable, float] = {}  # until when the DNS need not be asked again
        self._max_size = max_size

    def __len__(self) -> int:
        return len(self._entries)

    @staticmethod
    def key(route: Route) -> TrustKey:
        """What an answer of the route's origin is trusted under."""
        return TrustKey(route.origin, route.ssl, route.server_hostname)

    def hear(self, route: Route, head: ResponseHead, *, by_http3: bool, now: float) -> None:
        """What a response says of other ways to its origin (RFC 7838 3), if it is authentic.

        Args:
            route: Whose answer it is.
            head: Its head.
            by_http3: Whether it came from an alternative.
            now: The moment, in seconds.
        """
        if not _is_authentic(route):
            return
        if by_http3 and head.status == 421:
            self.forget(self.key(route))
            if self.tries_all:
                self.failed(self.key(route), now)
            return
        values = head.get_all(b"alt-svc")
        if values:
            said = parse_alt_svc(value.decode("latin-1") for value in values)
            self.learn(self.key(route), route.origin, said, now)

    def learn(
        self, key: Hashable, origin: Origin, advertised: Iterable[Advertised], now: float
    ) -> None:
        """An answer of the origin names these alternatives, in place of all before (RFC 7838 3.1).

        Args:
            key: What the answer was trusted under.
            origin: Whose answer it was.
            advertised: What its field says.
            now: The moment, in seconds.
        """
        found = usable(advertised, origin)
        if found is None or not found.max_age:
            self._entries.pop(key, None)
            return
        alternative = Alternative(found.host or origin.host, found.port)
        entry = self._entries.get(key)
        if entry is None or entry.alternative != alternative:
            failures = 0 if entry is None else entry.failures
            entry = _Entry(alternative, 0.0, found.persists)
            entry.failures = failures  # an origin cannot shake its failures off by a new port
        entry.expires = now + found.max_age
        entry.persists = found.persists
        self._keep(key, entry)

    def _keep(self, key: Hashable, entry: _Entry) -> None:
        self._entries[key] = entry
        self._entries.move_to_end(key)
        if len(self._entries) > self._max_size:
            self._entries.popitem(last=False)

    def find(self, key: Hashable, now: float) -> Alternative | None:
        """Where HTTP/3 is to be tried now."""
        entry = self._entries.get(key)
        if entry is not None and now >= entry.expires and now >= entry.paused_until:
            del self._entries[key]
            entry = None
        if entry is None:
            return self._guess(key) if self.tries_all else None
        return None if now < entry.paused_until else entry.alternative

    def _guess(self, key: Hashable) -> Alternative | None:
        """The origin itself, of which nothing is known."""
        if not isinstance(key, TrustKey):
            return None
        return Alternative(key.origin.host, key.origin.port, "a guess")

    def may_ask(self, key: Hashable, now: float) -> bool:
        """Whether the DNS is to be asked about an origin: nothing is known of it, and nobody was
        asked of late.
        """
        entry = self._entries.get(key)
        if entry is not None and now < max(entry.expires, entry.paused_until):
            return False
        return now >= self._asked.get(key, now)

    def learn_record(
        self, key: Hashable, found: Alternative | None, seconds: float, now: float
    ) -> None:
        """What the DNS says of an origin; what the origin itself has said meanwhile counts for
        more.

        Args:
            key: What is asked for.
            found: Where HTTP/3 is spoken, None where nothing says so.
            seconds: For how long that holds.
            now: The moment, in seconds.
        """
        if not self.may_ask(key, now):
            return
        if len(self._asked) >= self._max_size:
            self._asked.clear()
        self._asked[key] = now + seconds
        if found is not None and seconds > 0:
            before = self._entries.get(key)
            entry = _Entry(found, now + seconds, persists=False)
            entry.failures = 0 if before is None else before.failures
            self._keep(key, entry)

    def failed(self, key: Hashable, now: float) -> None:
        """HTTP/3 did not work there: leave it alone, longer each time."""
        entry = self._entries.get(key)
        if entry is None and self.tries_all and (guess := self._guess(key)) is not None:
            entry = _Entry(guess, now + DEFAULT_MAX_AGE, persists=False)
            self._keep(key, entry)
        if entry is not None and now >= entry.paused_until:
            entry.paused_until = now + min(FIRST_PAUSE * 2.0**entry.failures, LONGEST_PAUSE)
            entry.failures = min(entry.failures + 1, 20)

    def succeeded(self, key: Hashable) -> None:
        """HTTP/3 works there: what failed before is forgotten."""
        entry = self._entries.get(key)
        if entry is not None:
            entry.failures = 0

    def forget(self, key: Hashable) -> None:
        """The alternative does not answer for the origin (421: RFC 7838 6)."""
        self._entries.pop(key, None)

    def network_changed(self) -> None:
        """The way to everybody is another one (RFC 7838 2.2): failures are forgotten, and what was
        not said to persist.
        """
        self._asked.clear()
        for key in tuple(self._entries):
            self._network_changed(key)

    def _network_changed(self, key: Hashable) -> None:
        self._asked.pop(key, None)
        entry = self._entries[key]
        if entry.persists:
            entry.failures, entry.paused_until = 0, 0.0
            entry.networks.clear()
        else:
            del self._entries[key]

    def connected_from(self, key: Hashable, local_address: str) -> None:
        """A new connection to an origin was made: if it left from another address than those
        before, the network is another one.

        Args:
            key: What its answers are trusted under.
            local_address: Our own address; of IPv6 the network's half counts, for hosts change
                the other one by themselves (RFC 8981).
        """
        entry = self._entries.get(key)
        if entry is None:
            return
        address = ipaddress.ip_address(local_address.partition("%")[0])
        network = str(address)
        if address.version == 6:
            network = str(ipaddress.ip_network((address, 64), strict=False))
        if entry.networks.setdefault(address.version, network) != network:
            self._network_changed(key)

    def clear(self) -> None:
        """Forget everything: a server may have told users apart by what it named."""
        self._entries.clear()
        self._asked.clear()

    def clear_domain(self, domain: str) -> None:
        """Forget what origins of `domain` and of the domains under it have named."""
        domain = domain.removeprefix(".").lower()
        self._asked.clear()
        for key in tuple(self._entries):
            if isinstance(key, TrustKey):
                host = key.origin.host.lower().rstrip(".")
                if host == domain or host.endswith(f".{domain}"):
                    del self._entries[key]

    # --- files ------------------------------------------------------------------------------------

    def save(self, file_path: str | PathLike[str]) -> None:
        """Write what was learned to a JSON file that only the user may read (mode 0600).

        What was learned under an SSLContext or a Fingerprint of the program's own is left out: a
        file cannot say what it was trusted under.
        """
        now, today = self._clock(), time.time()
        records = [
            {
                "origin": list(key.origin),
                "server_hostname": key.server_hostname,
                "host": entry.alternative.host,
                "port": entry.alternative.port,
                "expires": today + entry.expires - now,
                "persists": entry.persists,
                "networks": entry.networks,
            }
            for key, entry in self._entries.items()
            if isinstance(key, TrustKey)
            and key.ssl is True
            and entry.expires > now
            and entry.alternative.known_by == "Alt-Svc"
        ]
        text = json.dumps({"version": _VERSION, "alternatives": records}, indent=1)
        write_private(file_path, text.encode())

    def load(self, file_path: str | PathLike[str]) -> None:
        """Replace what is known by what `save` wrote, as far as its time has not ended.

        Raises:
            ValueError: The file is something else; the store is unchanged then.
        """
        now, today = self._clock(), time.time()
        try:
            data = json.loads(Path(file_path).read_bytes())
            if data["version"] != _VERSION:
                raise ValueError(f"version {data['version']!r}")
            loaded = [_loaded(record, now - today) for record in data["alternatives"]]
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as exc:
            said = f"{os.fspath(file_path)} is not a file of alternatives: {exc!r:.200}"
            raise ValueError(said) from exc
        self._entries.clear()
        for key, entry in loaded:
            if now < entry.expires <= now + _LONGEST_MAX_AGE:
                self._keep(key, entry)


def _loaded(record: dict[str, Any], offset: float) -> tuple[TrustKey, _Entry]:
    """What one record of a file says.

    Args:
        record: The record.
        offset: The store's time less the time of day, in seconds.

    Raises:
        Exception: It is malformed.
    """
    scheme, host, port = record["origin"]
    origin = Origin(scheme, _name(host), _port(port))
    name = record["server_hostname"]
    key = TrustKey(origin, True, None if name is None else _name(name))
    alternative = Alternative(_name(record["host"]), _port(record["port"]))
    if scheme != "https" or usable([Advertised("h3", *alternative[:2], 1, False)], origin) is None:
        raise ValueError(f"no alternative of {origin}")
    expires = float(record["expires"]) + offset
    entry = _Entry(alternative, expires, record["persists"] is True)
    for family, network in record["networks"].items():
        entry.networks[int(family)] = str(ipaddress.ip_network(network)).removesuffix("/32")
    return key, entry


def _name(value: Any) -> str:
    if isinstance(value, str) and (_is_host(value) or ipaddress.ip_address(value)):
        return value
    raise ValueError(f"no host: {value!r:.100}")


def _port(value: Any) -> int:
    if type(value) is int and 0 < value < 65536:
        return value
    raise ValueError(f"no port: {value!r:.100}")


class AlternativeTrial:
    """An alternative that is being used, and has not given a response yet.

    Args:
        store: Where it was found.
        key: Under what.
        clock: Gives the moment.
    """

    __slots__ = ("_clock", "_key", "_store")

    def __init__(self, store: AltSvcStore, key: Hashable, clock: Callable[[], float]) -> None:
        self._store = store
        self._key = key
        self._clock = clock

    def passed(self) -> None:
        """The alternative gave a response: use it again."""
        self._store.succeeded(self._key)

    def failed(self) -> None:
        """The alternative did not work: leave it alone for a while."""
        self._store.failed(self._key, self._clock())
