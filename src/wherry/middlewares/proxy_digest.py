"""`ProxyDigestAuthMiddleware`: answers Digest challenges (RFC 7616) of an HTTP proxy.

A plain request that a proxy forwards brings the challenge as its response.  A tunnel is dialled
below the client, where no middleware is known: the request lends the dialler a function that
answers (`connect_request.ProxyAnswer`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from wherry.auth.challenge import parse_challenges
from wherry.auth.digest import DigestChallenge, choose_challenge, choose_qop, respond
from wherry.client.request import ClientRequest, extensions_of
from wherry.middlewares.digest import DigestUser, check_replayable

if TYPE_CHECKING:
    from wherry.client.middleware import ClientHandlerType
    from wherry.client.response import ClientResponse
    from wherry.connect.route import ProxyHop


class ProxyDigestAuthMiddleware(DigestUser):
    """Digest authentication with an HTTP proxy, for what it forwards and for the tunnels that it
    opens.

    The credentials are for the first proxy that asks, or forwards, and no other sees them.  Give
    the proxy itself without credentials: those would be sent to it by Basic authentication.

    Args:
        login: The user's name.
        password: The password.

    Raises:
        ValueError: A part is None, or the name holds a colon (RFC 7616 3.4.2 joins with colons).

    Example::

        digest = ProxyDigestAuthMiddleware(login="user", password="password")
        proxy = "http://proxy.example:3128"
        async with ClientSession(proxy=proxy, middlewares=(digest,)) as session:
            async with session.get("http://example.com/") as response:
                print(response.status)
    """

    def __init__(self, login: str, password: str) -> None:
        super().__init__(login, password)
        self._home: ProxyHop | None = None
        self._challenge: DigestChallenge | None = None

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} {self._login!r} for "
            f"{self._home or 'the first proxy that it meets'}>"
        )

    async def __call__(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        """Send `request`, and send it once more if its proxy asks who sends it.

        Raises:
            ClientError: The body cannot be sent again.
        """
        hop = forwarder_of(request)
        if hop is None and request.hops:
            extensions_of(request).proxy_answer = self._answer_for_tunnel
        if hop is None or self._home not in (None, hop):
            return await handler(request)
        self._home = hop
        if self._challenge is not None:
            await self._authorize(request, self._challenge)
        response = await handler(request)
        challenge = _challenge_in(response)
        # A middleware further in may have sent the request another way.
        if challenge is None or forwarder_of(request) != hop:
            return response
        self._challenge = challenge
        response.release()
        check_replayable(request, hop)
        await self._authorize(request, challenge)
        response = await handler(request)
        # Refused: this 407 is what the request gets, and it brings the nonce for the next one.
        self._challenge = _challenge_in(response) or self._challenge
        return response

    def _answer_for_tunnel(
        self, hop: ProxyHop, target: str, challenges: Sequence[str]
    ) -> str | None:
        """What to say to a proxy that is asked for a tunnel; see `ProxyAnswer`."""
        if not _is_for_digest(hop) or self._home not in (None, hop):
            return None
        if challenges:
            challenge = choose_challenge(parse_challenges(challenges))
            if challenge is None:
                return None
            self._home, self._challenge = hop, challenge
        challenge = self._challenge
        if challenge is None or self._home is None:
            return None
        qop, count = choose_qop(challenge.qops, 0), self._count(challenge.nonce)
        return respond(
            challenge, self._login, self._password, "CONNECT", target, qop=qop, count=count
        ).value

    async def _authorize(self, request: ClientRequest, challenge: DigestChallenge) -> None:
        url = request.url
        # RFC 7616 3.4: `uri` is what the request line has, and a proxy is sent all of the URL (RFC
        # 9112 3.2.2).
        target = f"{url.scheme}://{url.host_port_subcomponent}{url.raw_path_qs}"
        request.headers["Proxy-Authorization"] = (
            await self._answer(request, challenge, target)
        ).value


def forwarder_of(request: ClientRequest) -> ProxyHop | None:
    """The proxy that forwards a request, None where a tunnel or no proxy at all leads to the
    origin.
    """
    if not request.hops or request.url.scheme != "http" or request.upgrade is not None:
        return None
    return request.hops[-1] if _is_for_digest(request.hops[-1]) else None


def _is_for_digest(hop: ProxyHop) -> bool:
    return hop.scheme in ("http", "https") and hop.username is None


def _challenge_in(response: ClientResponse) -> DigestChallenge | None:
    if response.status != 407:
        return None
    return choose_challenge(parse_challenges(response.headers.getall("Proxy-Authenticate", ())))
