"""`DigestAuthMiddleware`: answers Digest challenges (RFC 7616) of the origin that its credentials
are for.

The arithmetic is `auth.digest`'s; here are the counters, and the rule to whom an answer may go.  A
middleware meets every hop of a chain of redirects, so it must know by itself whose credentials it
holds: they belong to the origin of the first request that it meets, and to what that origin names
as its protection space.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from yarl import URL

from wherry.auth.challenge import parse_challenges
from wherry.auth.digest import (
    AuthenticationInfo,
    DigestAnswer,
    DigestChallenge,
    choose_challenge,
    choose_qop,
    proves,
    read_authentication_info,
    respond,
)
from wherry.body.stream.reader import StreamReader
from wherry.client.headers.response_headers import decoded_fields
from wherry.client.interfaces import body_so_far
from wherry.client.origin import origin_of, url_of
from wherry.client.response import ClientResponse, exchange_of
from wherry.errors import ClientError

if TYPE_CHECKING:
    from wherry.client.middleware import ClientHandlerType
    from wherry.client.request import ClientRequest

# How many URIs of a `domain` are kept, and the counts of how many nonces.
_MAX_DOMAIN = 64
_MAX_NONCES = 256
# How much of a response is read ahead to check the server's proof, in bytes, and how long that may
# take, in seconds.
PROOF_LIMIT = 1024 * 1024
PROOF_SECONDS = 5.0


class DigestUser:
    """A name and a password, and how often each nonce was answered with them.

    Raises:
        ValueError: A part is None, or the name holds a colon (RFC 7616 3.4.2 joins with colons).
    """

    def __init__(self, login: str, password: str) -> None:
        if login is None:
            raise ValueError("None is not allowed as login value")
        if password is None:
            raise ValueError("None is not allowed as password value")
        if ":" in login:
            raise ValueError('A ":" is not allowed in username (RFC 1945#section-11.1)')
        self._login = login
        self._password = password
        self._counts: dict[str, int] = {}

    async def _answer(
        self, request: ClientRequest, challenge: DigestChallenge, target: str
    ) -> DigestAnswer:
        """The answer for `request`, whose request line names `target`."""
        payload = request.payload
        qop = choose_qop(challenge.qops, 0 if payload is None else payload.size)
        body = await payload.as_bytes() if payload is not None and qop == "auth-int" else b""
        count = self._count(challenge.nonce)
        return respond(
            challenge,
            self._login,
            self._password,
            request.method,
            target,
            qop=qop,
            body=body,
            count=count,
        )

    def _count(self, nonce: str) -> int:
        """How often `nonce` is used with this request; no count goes out twice (RFC 7616 3.4)."""
        count = self._counts.pop(nonce, 0) + 1
        if len(self._counts) >= _MAX_NONCES:
            del self._counts[next(iter(self._counts))]
        self._counts[nonce] = count
        return count


def check_replayable(request: ClientRequest, asker: object) -> None:
    """The request is about to be sent again.

    Raises:
        ClientError: Its body is used up.
    """
    if request.payload is not None and not request.payload.replayable:
        raise ClientError(
            f"{asker} asks for Digest authentication, but the body of {request.method} "
            f"{request.url} was consumed "
            "and cannot be sent again: give bytes or a seekable file, or make a request without a "
            "body first"
        )


class DigestAuthMiddleware(DigestUser):
    """Digest authentication, as a client middleware.

    The credentials are for the origin of the first request that the middleware meets, and for what
    this origin lists as its protection space (`domain`).  Requests to other origins, redirects
    among them, pass through untouched.

    Args:
        login: The user's name.
        password: The password.
        preemptive: Whether later requests in the protection space are authenticated before they are
            asked to be.

    Raises:
        ValueError: A part is None, or the name holds a colon (RFC 7616 3.4.2 joins with colons).

    Example::

        digest = DigestAuthMiddleware(login="user", password="password")
        async with ClientSession(middlewares=(digest,)) as session:
            async with session.get("https://example.com/protected") as response:
                print(await response.text())
    """

    def __init__(self, login: str, password: str, preemptive: bool = True) -> None:
        super().__init__(login, password)
        self._preemptive = preemptive
        self._home: URL | None = None
        self._space: tuple[URL, ...] = ()
        # What each origin asks now.
        self._challenges: dict[URL, DigestChallenge] = {}

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} {self._login!r} for "
            f"{self._home or 'the first origin that it meets'}>"
        )

    async def __call__(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        """Send `request`, and send it once more if a challenge comes that can be answered.

        Raises:
            ClientError: The body cannot be sent again, or the server proves to know another
                password.
        """
        origin = origin_of(request.url)
        if self._home is None:
            self._home = origin
        if origin != self._home and not in_space(request.url, self._space):
            return await handler(request)
        answer: DigestAnswer | None = None
        known = self._challenge_for(request.url) if self._preemptive else None
        if known is not None:
            answer = await self._authorize(request, known)
        response = await handler(request)
        challenge = _challenge_in(response, request, origin)
        if challenge is None:
            await self._learn(response, origin, answer)
            return response
        self._keep(origin, challenge)
        response.release()
        check_replayable(request, origin)
        answer = await self._authorize(request, challenge)
        response = await handler(request)
        challenge = _challenge_in(response, request, origin)
        if challenge is None:
            await self._learn(response, origin, answer)
        else:
            # Refused: this 401 is what the request gets, and it brings the nonce for the next one.
            self._keep(origin, challenge)
        return response

    async def _authorize(self, request: ClientRequest, challenge: DigestChallenge) -> DigestAnswer:
        """Set the request's Authorization field."""
        answer = await self._answer(request, challenge, request.url.raw_path_qs)
        request.headers["Authorization"] = answer.value
        return answer

    def _challenge_for(self, url: URL) -> DigestChallenge | None:
        """What to answer unasked: in the listed space, by default all of the home (RFC 7616
        3.6).
        """
        origin = origin_of(url)
        if not (in_space(url, self._space) if self._space else origin == self._home):
            return None
        return self._challenges.get(origin) or (
            self._challenges.get(self._home) if self._home else None
        )

    def _keep(self, origin: URL, challenge: DigestChallenge) -> None:
        self._challenges[origin] = challenge
        if origin == self._home:
            # Only the home says how far its credentials reach: nobody else may widen it.
            self._space = protection_space(origin, challenge.domain)

    async def _learn(
        self, response: ClientResponse, origin: URL, answer: DigestAnswer | None
    ) -> None:
        """Take what Authentication-Info says (RFC 7616 3.5), in the head or in the trailer.

        A proof is checked before the response is given away where that costs little: see
        `_whole_of`.  Of a longer body the trailer is looked at when it comes, and a proof that
        covers the content ("auth-int") is left unchecked; so it is under a content coding, which is
        undone as it comes.

        Raises:
            ClientError: The server's proof is wrong.
        """
        if answer is None:
            return
        value = response.headers.get("Authentication-Info")
        body: bytes | None = None
        if value is None:
            announced = ",".join(response.headers.getall("Trailer", ())).lower()
            if "authentication-info" in announced:
                body = await _whole_of(response)
                if body is None:
                    self._learn_at_the_end(response, origin, answer)
                    return
            value = response.trailers.get("Authentication-Info")
        if value is None:
            return
        info = read_authentication_info(value)
        if answer.qop == "auth-int" and info.rspauth is not None:
            undone = getattr(response.content, "decoder", None) is not None
            if body is None and not undone:
                body = await _whole_of(response)
            if body is None or undone:
                info = info._replace(rspauth=None)
        if not proves(answer, info, body or b""):
            response.close()
            raise _unproven(origin)
        self._take_next_nonce(origin, answer, info)

    def _learn_at_the_end(
        self, response: ClientResponse, origin: URL, answer: DigestAnswer
    ) -> None:
        """Look at the trailer when it is here; a wrong proof is the error of whoever still reads
        the body.
        """
        content, exchange = response.content, exchange_of(response)

        def ended() -> None:
            value = (
                None
                if exchange is None
                else decoded_fields(exchange.trailers).get("Authentication-Info")
            )
            if value is None:
                return
            info = read_authentication_info(value)
            if answer.qop == "auth-int":
                info = info._replace(rspauth=None)
            if proves(answer, info):
                self._take_next_nonce(origin, answer, info)
            else:
                content.set_exception(_unproven(origin))

        if isinstance(content, StreamReader):  # not a stream of the program's own
            content.on_eof(ended)

    def _take_next_nonce(self, origin: URL, answer: DigestAnswer, info: AuthenticationInfo) -> None:
        kept = self._challenges.get(origin)
        # Concurrent requests: an answer to an older nonce does not turn the wheel back.
        if info.nextnonce is not None and kept is not None and kept.nonce == answer.nonce:
            self._challenges[origin] = kept._replace(nonce=info.nextnonce)


def _unproven(origin: URL) -> ClientError:
    return ClientError(
        f"{origin} did not prove in Authentication-Info that it knows the password (rspauth)"
    )


async def _whole_of(response: ClientResponse) -> bytes | None:
    """The content, if all of it is here within `PROOF_LIMIT` bytes and `PROOF_SECONDS`; it can be
    read again.

    Returns:
        None for content that is longer, or takes longer: a server must not choose how much is held,
        or how long the program waits for a response whose head is here.
    """
    body = body_so_far(response)
    if body is not None:
        return body
    content = response.content
    if (response.content_length or 0) > PROOF_LIMIT:
        return None
    if not isinstance(content, StreamReader):
        return await response.read()
    pieces: list[bytes] = []
    size, whole = 0, False
    try:
        async with asyncio.timeout(PROOF_SECONDS):
            while size <= PROOF_LIMIT and not whole:
                piece = await content.readany()
                pieces.append(piece)
                size += len(piece)
                whole = not piece
    except BaseException as exc:
        if not isinstance(exc, TimeoutError) or content.exception() is not None:
            response.close()
            raise
    body = b"".join(pieces)
    content.put_back(body)
    return body if whole else None


def _challenge_in(
    response: ClientResponse, request: ClientRequest, origin: URL
) -> DigestChallenge | None:
    """What a response asks, if it is `origin` that asks and there is an answer."""
    if response.status != 401:
        return None
    # A middleware further in may have sent the request elsewhere, or taken an answer from
    # elsewhere.
    if origin_of(request.url) != origin or origin_of(response.url) != origin:
        return None
    return choose_challenge(parse_challenges(response.headers.getall("WWW-Authenticate", ())))


def protection_space(origin: URL, domain: tuple[str, ...]) -> tuple[URL, ...]:
    """The URLs under which credentials are good (RFC 7616 3.3, `domain`); () means all of the
    origin.

    Another server may be listed, but never one that is reached by a lesser scheme.
    """
    space = []
    for reference in domain[:_MAX_DOMAIN]:
        try:
            url = url_of(reference, origin)
            listed = origin_of(url)
        except ValueError:
            continue
        if url.scheme == origin.scheme or (
            origin.scheme == "http" and url.scheme == "https" and listed.host
        ):
            space.append(url.with_fragment(None))
    return tuple(space)


def in_space(url: URL, space: tuple[URL, ...]) -> bool:
    """Whether one of the URLs of `space` is a prefix of `url`, whole segments of its path
    counted.
    """
    origin, path = origin_of(url), url.raw_path
    for root in space:
        start = root.raw_path
        if origin_of(root) == origin and (
            path == start or path.startswith(start if start[-1:] == "/" else start + "/")
        ):
            return True
    return False
