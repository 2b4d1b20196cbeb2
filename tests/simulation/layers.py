"""What a program does with what stands on a session: `wherry.rest`, and `wherry.bulk` with its
checkpoint, which is left in the midst of a crawl and taken up again."""

from __future__ import annotations

import contextlib
from typing import Any

import wherry
from wherry.bulk import Fetcher, Result
from wherry.rest import RestClient, RestError

from .activities import Activity
from .checks import Broken
from .origins import LIST_PAGES, body_of, json_of, with_wire

#: The numbers of a crawl's URLs begin here.
CRAWLED = 1_000_000
_CRAWL_KINDS = ("length", "length", "chunked", "gzip", "unavailable", "late", "cut", "gzipshort")
_MOST_PAGES = 6


class Rest(Activity):
    """Some calls of an API."""

    kind = "json"
    sizes = (0, 100, 3_000)

    async def _do(self) -> str:
        program, number = self.program, self.number
        base = self.origin.replace(" ", "://")
        token = program.secrets.token(f"a secret of {base}", with_wire([self.origin]))
        fields = {"Authorization": f"Bearer {token}"}
        api = RestClient()
        api._session = self.client.session  # its own would have no simulated network
        way = self.dice.choice(("get", "post", "problem", "pages"))
        path = f"{base}/{number}/{self.size}/{'json' if way == 'post' else way}"
        match way:
            case "post":
                program.once.add(number)
                made = await api.request(path, "post", None, fields, {"n": number}, model=dict)
                self._compare(made, json_of(number, self.size))
            case "problem":
                with contextlib.suppress(RestError):
                    await api.request(path, "get", None, fields)
                    raise Broken(f"{path} is a problem, and none was raised")
                return "a problem"
            case "pages":
                found = [each async for each in api.pages(path, items="items", cursor="next",
                                                          headers=fields)]  # fmt: skip
                self._compare(found, [f"{number} {page}" for page in range(LIST_PAGES)])
            case _:
                path = f"{base}/{number}/{self.size}/json"
                made = await api.request(path, "get", None, fields, model=dict)
                self._compare(made, json_of(number, self.size))
        return way

    def _compare(self, found: Any, expected: Any) -> None:
        if found != expected:
            raise Broken(f"{self.url} gave {str(found)[:60]}, not {str(expected)[:60]}")


class Crawl(Activity):
    """Many pages, in two runs that share a checkpoint."""

    kind = "crawl"
    sizes = (0, 100, 3_000, 20_000)

    async def _do(self) -> str:
        dice, origins = self.dice, self.client.origins
        first = CRAWLED + self.number * 100
        urls = [
            f"{dice.choice(origins).replace(' ', '://')}/{first + at}/{self.size}/"
            f"{dice.choice(_CRAWL_KINDS)}"
            for at in range(dice.randrange(2, _MOST_PAGES + 1))
        ]
        stop = dice.randrange(len(urls) + 1)
        done = await self._run(urls, stop)
        rest = await self._run(urls, None)
        # A result that was taken, and after which another was asked for, is done.
        if again := set(done[:-1]) & set(rest):
            raise Broken(f"{sorted(again)} were done, and were fetched again")
        if lost := set(urls) - set(done) - set(rest):
            raise Broken(f"{sorted(lost)} are lost")
        return f"{len(done)} and {len(rest)} pages"

    async def _run(self, urls: list[str], stop: int | None) -> list[str]:
        """One start; the URLs whose results were taken."""
        taken: list[str] = []
        fetcher = Fetcher(
            connector=self.client.connector,
            checkpoint=self.program.folder / f"{self.number}.checkpoint",
            timeout=wherry.ClientTimeout(total=5.0, sock_connect=30.0),
            retries=1,
            in_flight=self.dice.choice((1, 3)),
        )
        async with fetcher:
            results = fetcher.fetch(urls)
            async with contextlib.aclosing(results):
                if stop == 0:
                    return taken
                async for result in results:
                    self._judge(result)
                    taken.append(result.url)
                    if len(taken) == stop:
                        break
        if len(set(taken)) != len(taken):
            raise Broken(f"{taken}: a page came twice")
        return taken

    def _judge(self, result: Result) -> None:
        if result.error is not None:
            # The program may have closed its connector.
            closed = "Session is closed" in str(result.error)
            if not closed and not isinstance(result.error, (wherry.ClientError, TimeoutError)):
                raise Broken(f"{result.url} failed by {result.error!r}")
            return
        number, size, kind = result.url.split("/")[-3:]
        page = result.page
        if page is None or page.body != body_of(int(number), int(size)) or kind == "gzipshort":
            raise Broken(f"{result.url} is another page: {page}"[:300])
