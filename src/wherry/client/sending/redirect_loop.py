"""One request from hop to hop: redirects are followed, and what a dead kept connection
lost is sent again.

Where a redirect leads, and what may go there, is `redirect_rules.next_hop`'s to say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from multidict import CIMultiDict

from wherry.client.hooks import HOOKS
from wherry.client.middleware import build_client_middlewares
from wherry.client.options import NO_OPTIONS, RequestOptions
from wherry.client.request import ClientRequest
from wherry.client.response import ClientResponse
from wherry.client.sending.attempt import Sender, max_body_size, send
from wherry.client.sending.redirect_rules import REDIRECT_STATUSES, Hop, next_hop
from wherry.client.sending.retry_rules import may_try_again
from wherry.client.timeouts import ClientTimeout
from wherry.errors import ClientConnectionError, ClientResponseError, TooManyRedirects

if TYPE_CHECKING:
    from wherry.client.session import ClientSession


class RedirectLoop:
    """Goes from hop to hop for one call of the program's.

    Args:
        session: Whose defaults, cookies and connections are used.
        options: What the program said besides.
        timeout: The limits that hold.
        traces: Who listens, None for nobody.
    """

    __slots__ = ("_history", "_middlewares", "_options", "_session", "_timeout", "_traces")

    def __init__(
        self, session: ClientSession, options: RequestOptions, timeout: ClientTimeout, traces: Any
    ) -> None:
        self._session = session
        self._options = options
        self._timeout = timeout
        self._traces = traces
        self._middlewares = (
            session._middlewares if options.middlewares is None else options.middlewares
        )
        self._history: list[ClientResponse] = []

    async def follow(self, hop: Hop, response: ClientResponse | None = None) -> ClientResponse:
        """Go from hop to hop until a response is no redirect, or is not to be followed."""
        session, options, traces, history = (
            self._session,
            self._options,
            self._traces,
            self._history,
        )
        # After a ready request, a hop that has nothing but a URL is one as well.
        ready = response is not None and traces is None and not self._middlewares
        if traces is not None and not traces.started:
            # Listeners see the session's fields too, and what they add is sent.
            hop.headers = headers = session._merged_headers(options.headers, hop.url)
            traces.follow(hop.method, hop.url, headers)
            await traces.request_start()
        while True:
            if response is None:
                request = (
                    session._ready_request(hop.url, NO_OPTIONS) if ready and hop.is_plain else None
                )
                response = await self._attempt(hop, request)
            following = None
            if options.allow_redirects and 300 < response.status < 309:
                following = await self._redirected(hop, response)
            if following is None:
                response._history = tuple(history)
                return await accepted(session, response, options)
            hop = following
            response = None
            if traces is not None:
                hop.headers = headers = CIMultiDict(hop.headers or ())
                traces.follow(hop.method, hop.url, headers)

    async def _redirected(self, hop: Hop, response: ClientResponse) -> Hop | None:
        """The hop that a redirect asks for, None where there is nothing to follow; `response` joins
        the history.
        """
        if response.status not in REDIRECT_STATUSES:
            return None
        options, history = self._options, self._history
        history.append(response)
        location = response.headers.get("Location") or response.headers.get("URI")
        try:
            if self._traces is not None:
                await self._traces.request_redirect(response)
            most = options.max_redirects
            if location and most is not None and len(history) >= most:
                raise TooManyRedirects(
                    history[0].request_info,
                    tuple(history),
                    status=response.status,
                    message=f"more than {most} redirects",
                )
            following = next_hop(
                hop,
                response.real_url,
                response.status,
                location,
                requote=self._session._requote_redirect_url,
                handshake=options.upgrade == "websocket",
            )
        except BaseException:
            response.close()
            raise
        if following is None:
            history.pop()
        else:
            response.release()
        return following

    async def _attempt(self, hop: Hop, ready: ClientRequest | None) -> ClientResponse:
        """One hop, sent again if a kept connection turns out to be dead, or refused it, and nothing
        forbids it.
        """
        session, options, timeout = self._session, self._options, self._timeout
        tries = 1
        while True:
            request = ready or session._make_request(hop, options, traces=self._traces)
            request._timeout = timeout
            try:
                if self._middlewares:
                    request._max_body_size = max_body_size(session, options)
                    return await build_client_middlewares(
                        Sender(options, timeout), self._middlewares
                    )(request)
                response = await send(request, options, timeout)
                if session._starts_responses:
                    await HOOKS.requests.start(response)
                return response
            except ClientConnectionError as exc:
                if not may_try_again(exc, tries) or not (
                    request.payload is None or request.payload.replayable
                ):
                    raise
                tries += 1
                if self._traces is not None:
                    await self._traces.request_retry(tries, exc)
            except ClientResponseError as exc:
                if not exc.history:
                    exc.history = tuple(self._history)
                raise


async def accepted(
    session: ClientSession, response: ClientResponse, options: RequestOptions
) -> ClientResponse:
    """Raise for a bad status where that was asked for."""
    rule = options.raise_for_status
    if rule is None:
        rule = session._raise_for_status
    if rule is True:
        response.raise_for_status()
    elif rule:
        try:
            await rule(response)
        except BaseException:
            response.release()
            raise
    return response
