"""One request of a program: what is asked, how it is read, and how it is judged."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import wherry

from .checks import Broken
from .origins import FAULTS, FURTHER, KINDS, REDIRECTS, TLS_FAULTS, body_of, with_wire

if TYPE_CHECKING:
    from .programs import Client, Program

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
# Virtual seconds: deadlines share timers of 5 ms, and turns of the loop take a moment.
CLOSE_ENOUGH = 0.005 + 1e-4
#: Pages that several requests ask for; their numbers begin here.
PAGES = 900_000
_SIZES = (0, 1, 100, 3_000, 20_000, 70_000)


class Request:
    """A request.

    Args:
        program: Whose it is.
        client: By which session it is made.
        number: Which it is.
    """

    def __init__(self, program: Program, client: Client, number: int) -> None:
        self.program = program
        self.client = client
        self.dice = dice = program.dice_of("request", number)
        self.number = number
        program.report.requests += 1
        self.origin = dice.choice(client.origins)
        self.scheme, _, self.host = self.origin.partition(" ")
        self.method = dice.choice(("GET", "GET", "GET", "POST", "POST", "PUT", "HEAD", "DELETE"))
        self.size = dice.choice(_SIZES + (300_000,) * (dice.random() < 0.1))
        self.kind = self._kind()
        self.options: dict[str, Any] = {}
        self.said = ""  # the Authorization that goes along
        if self.kind == "mine" and not client.own_secrets:
            self.kind = "fresh"
        if self.kind in {"fresh", "stale", "mine"}:
            self.method = "GET"
            page = dice.randrange(3)
            self.number, self.size = PAGES + page, _SIZES[page + 2]
        self.to = ""
        self.url = self._url()
        self.total = dice.choice((None, None, 0.3, 2.0))
        self.slept = 0.0  # the program's own time, which no limit counts
        self.whole = False
        # How it goes: what is counted as a state of the whole.
        self.state = f"{client.name} {self.scheme} {self.method} {self.kind}"
        self.way = 0
        self.seen = bytearray()

    def _kind(self) -> str:
        dice = self.dice
        kinds = KINDS * 3 + REDIRECTS * 2 + FAULTS
        return dice.choice(kinds + (TLS_FAULTS if self.scheme == "https" else ()))

    def _url(self) -> str:
        dice = self.dice
        query = ""
        if self.kind in REDIRECTS:
            to = self.origin if dice.random() < 0.4 else dice.choice(self.client.origins)
            scheme, _, host = to.partition(" ")
            self.to = f"{scheme}://{host}/{self.number + FURTHER}/{self.size}/length"
            query = f"?to={quote(self.to, safe='')}"
        return f"{self.scheme}://{self.host}/{self.number}/{self.size}/{self.kind}{query}"

    def _secret(self) -> None:
        """Perhaps something that only the origin may receive."""
        dice, options = self.dice, self.options
        way = dice.randrange(10)
        if way > 3 and self.kind != "mine":
            return
        owners = with_wire([self.origin])
        token = self.program.secrets.token(f"a secret of {self.url}", owners)
        if way == 0 and self.kind != "mine":
            options["headers"] = {"Cookie": f"own={token}"}
        elif way == 1:
            options["auth"] = wherry.BasicAuth(token, "x")
            self.said = options["auth"].encode()
        elif way == 2:
            self.url = self.url.replace("://", f"://{token}:x@")
            self.said = wherry.BasicAuth(token, "x").encode()
        else:
            self.said = f"Bearer {token}"
            options["headers"] = {"Authorization": self.said}

    async def make(self) -> None:
        """Make it, and judge it.

        Raises:
            Broken: An invariant does not hold.
        """
        loop = asyncio.get_running_loop()
        program, session, options = self.program, self.client.session, self.options
        self._secret()
        sent = self._body()
        # Who has not said so is not to have a request executed twice.
        if self.method not in IDEMPOTENT and self.kind != "digest":
            program.once.add(self.number)
            if self.kind == "redirect307":  # the others go on as a GET
                program.once.add(self.number + FURTHER)
        impostor = self.host in program.impostors and self.scheme == "https"
        if impostor and self.number < PAGES:
            program.never.add(self.number)
        if self.total is not None:
            options["timeout"] = wherry.ClientTimeout(total=self.total, sock_connect=30.0)
        limit = self.total if self.total is not None else session.timeout.total
        if self.dice.random() < 0.05:
            options["allow_redirects"] = False
        if self.dice.random() < 0.02:
            options["server_hostname"] = f"{'x' * 64}.test"  # a label longer than IDNA has
        began = loop.time()
        program.say(f"{self.number} {self.method} {self.url}")
        try:
            async with session.request(self.method, self.url, **options) as response:
                self.state = f"{self.state} {response.version.major} {response.status}"
                await self._read(response)
                self._judge(response, sent)
            program.report.answered += 1
            program.report.seen[f"{self.state} {self.way} done"] += 1
            program.say(f"{self.number} done")
        except (wherry.ClientError, TimeoutError) as exc:
            program.report.seen[f"{self.state} {self.way} {type(exc).__name__}"] += 1
            program.failed(self.number, exc)
        except RuntimeError as exc:
            if "Session is closed" not in str(exc):
                raise
        finally:
            took = loop.time() - began - self.slept
            if limit is not None and took > limit + CLOSE_ENOUGH:
                raise Broken(f"{self.url} took {took:.6f} s, more than its {limit} s")

    def _body(self) -> bytes:
        dice = self.dice
        if self.method not in {"POST", "PUT"}:
            return b""
        sent = body_of(self.number + 10**6, dice.choice((0, 10, 5_000, 5_000, 70_000)))
        self.options["data"] = self._pieces(sent) if dice.random() < 0.3 else sent
        if dice.random() < 0.1:
            self.options["expect100"] = True
        return sent

    async def _pieces(self, data: bytes) -> AsyncIterator[bytes]:
        for at in range(0, len(data), 7_000):
            await asyncio.sleep(self.dice.choice((0.0, 0.0, 0.05)))
            yield data[at : at + 7_000]

    async def _read(self, response: wherry.ClientResponse) -> None:
        """Read all, some or nothing; what comes must be the beginning of what is right."""
        dice = self.dice
        self.way = way = dice.randrange(1, 7)
        if way == 6:
            return
        if way in {1, 5}:
            self.seen += await response.read()
            self.whole = True
        elif way == 2:
            size = max(dice.choice((100, 1_000, 100_000)), self.size // 50)
            async for piece in response.content.iter_chunked(size):
                self.seen += piece
                if dice.random() < 0.02:
                    return
                if dice.random() < 0.05:
                    seconds = dice.random()
                    self.slept += seconds
                    await asyncio.sleep(seconds)
            self.whole = True
        elif way == 3:
            self.seen += await response.content.read(dice.randrange(1, 1000))
        else:
            async for piece in response.content.iter_any():
                self.seen += piece
            self.whole = True

    def _judge(self, response: wherry.ClientResponse, sent: bytes) -> None:
        status, number = response.status, int(response.url.path.split("/")[1])
        if number != self.number and str(response.url) != self.to:
            raise Broken(f"{self.url} led to {response.url}")
        expected = self._expected(response, number)
        seen = bytes(self.seen)
        if not expected.startswith(seen):
            raise Broken(f"{self.url} has bytes of something else: {seen[:40]!r}")
        if self.kind == "gzipshort" and self.whole and status == 200 and self.method != "HEAD":
            raise Broken(f"{self.url} passes off a coding as whole that is cut")
        if self.whole and seen != expected and not self._may_be_cut(response):
            raise Broken(f"{self.url} is short: {len(seen)} bytes of {len(expected)}")
        digest = self.program.ledger.bodies.get(number)
        # 302 and 303 turn a POST into a GET (RFC 9110 15.4.3).
        kept = not response.history or self.kind == "redirect307"
        counts = digest and kept and status in {200, 204} and number < PAGES
        if counts and digest != hashlib.sha256(sent).hexdigest():
            raise Broken(f"{self.url}: the peer got another body")

    def _expected(self, response: wherry.ClientResponse, number: int) -> bytes:
        status = response.status
        if status not in {200, 204, 302, 303, 307, 401, 413, 503}:
            raise Broken(f"{self.url} was answered {status}")
        if status == 413:
            return b"too much" if self.method != "HEAD" else b""
        if status in {204, 302, 303, 307, 401} or self.method == "HEAD":
            return b""
        name = f"{number} {self.said}" if self.kind == "mine" else number
        return body_of(name, self.size)

    def _may_be_cut(self, response: wherry.ClientResponse) -> bool:
        """A body that ends with its connection ends where the network says so: nobody can know,
        but for who has TLS.
        """
        return (
            self.kind == "close"
            and response.url.scheme == "http"
            and (response.version < wherry.HttpVersion(2, 0))
        )
