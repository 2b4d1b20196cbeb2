"""`OAuth2ClientCredentials`: a bearer token by the client credentials grant (RFC 6749 4.4), kept
and renewed.

It knows the token endpoint and one place for the token.  The token goes to the origins that it is
meant for and to nobody else, whoever redirects there.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Iterable
from time import monotonic
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus
from weakref import WeakKeyDictionary

from yarl import URL

from wherry.auth.basic import BasicAuth
from wherry.client.origin import origin_of, origins_of
from wherry.errors import ClientError, ClientPayloadError
from wherry.protocol.grammar import decimal

if TYPE_CHECKING:
    from wherry.client.middleware import ClientHandlerType
    from wherry.client.request import ClientRequest
    from wherry.client.response import ClientResponse
    from wherry.client.session import ClientSession

# A token is renewed so many seconds before it ends: a request takes time too.
LEEWAY = 30.0
# How much of an error response is read.
_MAX_ANSWER = 256 * 1024
# RFC 6750 2.1, leniently: what can stand in a field without being quoted.
_IS_TOKEN = re.compile(r"[\x21-\x7e]+").fullmatch
# RFC 6749 5.2: what an error may be made of.
_NOT_SHOWN = re.compile(r"[^\x20-\x7e]")
# Seconds: where `expires_in` says nothing, and at most.
_USUAL_LIFE = 3600.0
_LONGEST_LIFE = 2**31
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class OAuth2Error(ClientError):
    """The token endpoint gave no token.

    Args:
        message: What happened, for a person.
        error: The error code of RFC 6749 5.2, "" where none came.
    """

    def __init__(self, message: str, error: str = "") -> None:
        super().__init__(message)
        self.error = error


class OAuth2ClientCredentials:
    """Authorizes requests with a bearer token that it fetches by the client credentials grant.

    The token is fetched at the first request and again shortly before it ends, or when a server
    refuses it: once, however many requests wait for it.

    Args:
        token_url: The token endpoint; https, or a loopback address.
        client_id: The client's identifier.
        client_secret: Its secret.
        scope: Scopes, as a string or several.
        origins: Where the token may go: URLs, of which scheme, host and port count.  By default to
            the origin of the first request that the middleware meets.
        extra: More parameters of the token request (``{"audience": ...}``).
        auth_method: How the client tells who it is: "basic" (RFC 6749 2.3.1) or "post", in the
            body.
        leeway: Seconds before its end at which a token is renewed.

    Raises:
        ValueError: The endpoint is not to be trusted with a secret, or an argument makes no sense.
    """

    def __init__(
        self,
        token_url: str | URL,
        client_id: str,
        client_secret: str,
        *,
        scope: str | Iterable[str] = (),
        origins: str | URL | Iterable[str | URL] | None = None,
        extra: dict[str, str] | None = None,
        auth_method: str = "basic",
        leeway: float = LEEWAY,
    ) -> None:
        self._token_url = URL(token_url)
        if self._token_url.scheme != "https" and self._token_url.host not in _LOOPBACK:
            raise ValueError(f"a token endpoint must be https (RFC 6749 3.2): {self._token_url}")
        if auth_method not in {"basic", "post"}:
            raise ValueError(f'auth_method is "basic" or "post", not {auth_method!r}')
        self._id = client_id
        self._secret = client_secret
        self._form = {"grant_type": "client_credentials", **(extra or {})}
        scopes = scope if isinstance(scope, str) else " ".join(scope)
        if scopes:
            self._form["scope"] = scopes
        self._origins = origins_of(origins)
        self._auth_method = auth_method
        self._leeway = leeway
        self._token: str | None = None
        self._ends_at = 0.0
        # A lock belongs to an event loop, the token to none.
        self._fetching: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = (
            WeakKeyDictionary()
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._id!r} at {origin_of(self._token_url)}>"

    async def __call__(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        """Send `request` with a token; once more with a new one if it is refused.

        Raises:
            OAuth2Error: The token endpoint gave no token.
        """
        origin = origin_of(request.url)
        if self._origins is None:
            self._origins = frozenset({origin})
        if origin not in self._origins:
            return await handler(request)
        token = await self._current(request.session, None)
        request.headers["Authorization"] = f"Bearer {token}"
        response = await handler(request)
        replayable = request.payload is None or request.payload.replayable
        if response.status != 401 or origin_of(request.url) != origin or not replayable:
            return response
        # RFC 6750 3.1: the token was revoked, or ended before its time.  The answer goes first: the
        # token may have to come over the connection that it holds.
        response.release()
        renewed = await self._current(request.session, token)
        request.headers["Authorization"] = f"Bearer {renewed}"
        return await handler(request)

    async def _current(self, session: ClientSession, refused: str | None) -> str:
        """The token, fetched if there is none, or none but the one that was refused."""
        if self._token is not None and self._token != refused and monotonic() < self._ends_at:
            return self._token
        loop = asyncio.get_running_loop()
        fetching = self._fetching.get(loop)
        if fetching is None:
            fetching = self._fetching[loop] = asyncio.Lock()
        # Who comes first fetches for all; if it is cancelled or fails, the next in line tries.
        async with fetching:
            if self._token is None or self._token == refused or monotonic() >= self._ends_at:
                begun = monotonic()
                self._token, lifetime = await self._fetch(session)
                self._ends_at = begun + max(lifetime - self._leeway, lifetime / 2)
            return self._token

    async def _fetch(self, session: ClientSession) -> tuple[str, float]:
        """(token, seconds that it lives), from the token endpoint."""
        form = dict(self._form)
        auth = None
        if self._auth_method == "basic":
            # RFC 6749 2.3.1: both are form-encoded first, so the name may hold a colon.
            auth = BasicAuth(quote_plus(self._id), quote_plus(self._secret))
        else:
            form |= {"client_id": self._id, "client_secret": self._secret}
        async with session.post(
            self._token_url,
            data=form,
            headers={"Accept": "application/json"},
            auth=auth,
            middlewares=(),
            # A secret follows no redirect, and the status is judged here.
            allow_redirects=False,
            raise_for_status=False,
            max_body_size=_MAX_ANSWER,
        ) as response:
            try:
                answer = await response.json(content_type=None)
            except (ValueError, RecursionError):
                answer = None
            except ClientPayloadError as exc:
                raise OAuth2Error(
                    f"{origin_of(self._token_url)} gave no token: status {response.status}, {exc}"
                ) from exc
            return self._read(response.status, answer if isinstance(answer, dict) else {})

    def _read(self, status: int, answer: dict[str, Any]) -> tuple[str, float]:
        token = answer.get("access_token")
        if status != 200 or not isinstance(token, str) or not token:
            error = _shown(answer.get("error"), 100)
            told = (
                f"{error} {_shown(answer.get('error_description'), 300)}".strip()
                or "no access_token in it"
            )
            raise OAuth2Error(
                f"{origin_of(self._token_url)} gave no token: status {status}, {told}", error
            )
        if _IS_TOKEN(token) is None:
            raise OAuth2Error(
                f"{origin_of(self._token_url)} gave a token with characters that no header field "
                "may have"
            )
        kind = answer.get("token_type", "bearer")
        if not isinstance(kind, str) or kind.lower() != "bearer":
            raise OAuth2Error(
                f"{origin_of(self._token_url)} gave a token of an unknown type: "
                f"{_shown(kind, 100)!r}"
            )
        return token, _lifetime(answer.get("expires_in"))


def _shown(value: Any, most: int) -> str:
    """What a server says of an error, without what could do something to a terminal or a log (RFC
    6749 5.2).
    """
    return _NOT_SHOWN.sub("?", value[:most]) if isinstance(value, str) else ""


def _lifetime(value: Any) -> float:
    """The seconds that a token lives (RFC 6749 5.1), an hour where that is not said."""
    if isinstance(value, str):
        value = decimal(value, _LONGEST_LIFE)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return _USUAL_LIFE
    if isinstance(value, float) and math.isnan(value):
        return _USUAL_LIFE
    return float(min(max(value, 0), _LONGEST_LIFE))
