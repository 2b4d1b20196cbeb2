"""CacheMiddleware over real sockets, its storages, and the rules of RFC 9111 as tables."""

from __future__ import annotations

import asyncio
import gzip
import sqlite3
import threading
import time
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict
from tests.client.conftest import Asked, Peer, Reply, reply
from tests.middlewares.conftest import Clock, numbered
from tests.servers.raw import read_request
from yarl import URL

import wherry
from wherry.middlewares import cache_policy as policy
from wherry.middlewares.cache import CacheMiddleware
from wherry.middlewares.cache_policy import StoredResponse, Verdict
from wherry.middlewares.cache_storage import MemoryCacheStorage, SQLiteCacheStorage


async def bodies(
    client: wherry.ClientSession, url: str, times: int = 2, **options: Any
) -> list[str]:
    found = []
    for _ in range(times):
        async with client.get(url, **options) as response:
            found.append(await response.text())
    return found


async def test_a_fresh_response_is_served_again(
    peer: Any, session: Any, cache: CacheMiddleware
) -> None:
    server: Peer = await peer(
        numbered(Cache_Control="max-age=60", Content_Type="text/x", X_Kept="yes")
    )
    client = session(middlewares=(cache,))
    async with client.get(server.url()) as first:
        assert await first.text() == "1"
        assert "Age" not in first.headers
    async with client.get(server.url()) as second:
        assert [piece async for piece in second.content.iter_any()] == [b"1"]
        assert second.headers["Cache-Status"] == "wherry; hit"
        assert second.headers["Age"] == "0"
        assert (second.headers["X-Kept"], second.content_type, second.content_length) == (
            "yes",
            "text/x",
            1,
        )
        assert second.url == URL(server.url())
        assert second.request_info.method == "GET"
    assert len(server.asked) == 1


async def test_it_lives_as_long_as_it_says(
    peer: Any, session: Any, cache: CacheMiddleware, clock: Clock
) -> None:
    server: Peer = await peer(numbered(Cache_Control="max-age=60"))
    client = session(middlewares=(cache,))
    assert await bodies(client, server.url()) == ["1", "1"]
    clock.ahead = 58
    assert await bodies(client, server.url(), 1) == ["1"]
    clock.ahead = 61
    assert await bodies(client, server.url()) == ["2", "2"]


async def test_a_stale_response_is_validated(
    peer: Any, session: Any, cache: CacheMiddleware, clock: Clock
) -> None:
    body = "x" * 1000
    modified = formatdate(1e9, usegmt=True)

    def answer(asked: Asked) -> Reply:
        if asked.headers.get("If-None-Match") == '"v1"':
            assert asked.headers["If-Modified-Since"] == modified
            return reply(304, "", {"Cache-Control": "max-age=100", "X-New": "1"})
        return reply(
            200,
            body,
            {
                "ETag": '"v1"',
                "Last-Modified": modified,
                "Cache-Control": "max-age=10",
                "X-Old": "1",
            },
        )

    server: Peer = await peer(answer)
    client = session(middlewares=(cache,))
    assert await bodies(client, server.url()) == [body, body]
    clock.ahead = 20
    async with client.get(server.url()) as response:
        assert (response.status, await response.text()) == (200, body)
        assert response.headers["Cache-Status"] == "wherry; fwd=stale; fwd-status=304"
        assert (response.headers["X-New"], response.headers["X-Old"]) == ("1", "1")
        assert "If-None-Match" not in response.request_info.headers
    clock.ahead = 100  # the 304 brought a longer life
    assert await bodies(client, server.url(), 1) == [body]
    assert len(server.asked) == 2


async def test_a_304_about_something_else_is_no_answer(
    peer: Any, session: Any, cache: CacheMiddleware, clock: Clock
) -> None:
    def answer(asked: Asked) -> Reply:
        if "If-None-Match" in asked.headers:
            return reply(304, "", {"ETag": '"other"'})
        return reply(200, str(len(server.asked)), {"ETag": '"mine"', "Cache-Control": "max-age=0"})

    server: Peer = await peer(answer)
    assert await bodies(session(middlewares=(cache,)), server.url()) == ["1", "3"]


LARGE = "x" * 5000


def large(how: str) -> Any:
    """Answers that may be kept, with 5,000 bytes of body."""

    def answer(_: Asked) -> Reply:
        fields = {"Cache-Control": "max-age=60"}
        if how == "gzip":
            return reply(200, gzip.compress(LARGE.encode()), {**fields, "Content-Encoding": "gzip"})
        return reply(200, LARGE, fields)

    return answer


@pytest.mark.parametrize("where", ["session", "request"])
@pytest.mark.parametrize("how", ["plain", "gzip"])
async def test_a_body_is_too_large_with_a_cache_as_without(
    peer: Any, session: Any, cache: CacheMiddleware, how: str, where: str
) -> None:
    server: Peer = await peer(large(how))
    limit = {"max_body_size": 1000}
    asked = limit if where == "request" else {}
    for middlewares in ((), (cache,), (cache,)):
        client = session(middlewares=middlewares, **(limit if where == "session" else {}))
        async with client.get(server.url(), **asked) as response:
            assert response.status == 200
            with pytest.raises(wherry.ClientPayloadError, match="larger than max_body_size=1000"):
                await response.read()
    assert len(server.asked) == 3
    assert await cache._storage.load(server.url()) == []


@pytest.mark.parametrize("where", ["session", "request"])
async def test_what_was_kept_is_no_larger_than_the_next_request_allows(
    peer: Any, session: Any, cache: CacheMiddleware, where: str
) -> None:
    server: Peer = await peer(large("plain"))
    limit = {"max_body_size": 1000}
    client = session(middlewares=(cache,), **(limit if where == "session" else {}))
    whole = {"max_body_size": 5000}
    asked = limit if where == "request" else {}
    assert await bodies(client, server.url(), 1, **whole) == [LARGE]
    for _ in range(2):
        async with client.get(server.url(), **asked) as response:
            assert response.headers["Cache-Status"] == "wherry; hit"
            with pytest.raises(wherry.ClientPayloadError, match="larger than max_body_size=1000"):
                await response.read()
        assert await bodies(client, server.url(), 1, **whole) == [LARGE]
    assert len(server.asked) == 1


async def test_a_body_that_is_not_whole_is_the_readers_error_and_is_not_kept(
    raw_server: Any,
) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(
            b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 10\r\n\r\nshort"
        )
        writer.close()

    server = await raw_server(script)
    async with CacheMiddleware() as cache, wherry.ClientSession(middlewares=(cache,)) as client:
        for _ in range(2):
            async with client.get(server.url) as response:
                with pytest.raises(wherry.ClientPayloadError):
                    await response.read()
    assert server.connections == 2


async def test_an_update_that_is_too_large_or_not_whole_does_not_cost_what_is_kept(
    peer: Any, session: Any, cache: CacheMiddleware, clock: Clock
) -> None:
    def answer(asked: Asked) -> Reply:
        fields = {
            "Cache-Control": "max-age=10, stale-if-error=1000",
            "ETag": '"1"',
            "Content-Encoding": "gzip",
        }
        return reply(
            200, gzip.compress(b"small" if len(server.asked) == 1 else LARGE.encode()), fields
        )

    server: Peer = await peer(answer)
    client = session(middlewares=(cache,), max_body_size=1000)
    assert await bodies(client, server.url(), 2) == ["small", "small"]
    clock.ahead = 20
    async with client.get(server.url()) as response:
        with pytest.raises(wherry.ClientPayloadError, match="max_body_size"):
            await response.read()
    assert len(await cache._storage.load(server.url())) == 1


async def test_vary_keeps_variants_apart(peer: Any, session: Any, cache: CacheMiddleware) -> None:
    server: Peer = await peer(numbered(Cache_Control="max-age=60", Vary="Accept-Language, X-Other"))
    client = session(middlewares=(cache,))
    for language, body in (("de", "1"), ("en", "2"), ("de", "1"), ("en", "2")):
        assert await bodies(client, server.url(), 1, headers={"Accept-Language": language}) == [
            body
        ]
    assert await bodies(client, server.url()) == ["3", "3"]
    star: Peer = await peer(numbered(Cache_Control="max-age=60", Vary="*"))
    assert await bodies(client, star.url()) == ["1", "2"]


async def test_users_are_not_mixed_up(peer: Any, session: Any, cache: CacheMiddleware) -> None:
    server: Peer = await peer(
        lambda asked: reply(
            200, asked.headers.get("Authorization", ""), {"Cache-Control": "max-age=9"}
        )
    )
    client = session(middlewares=(cache,))
    for user in ("Bearer a", "Bearer b", "Bearer a"):
        assert await bodies(client, server.url(), 1, headers={"Authorization": user}) == [user]
    assert await bodies(client, server.url()) == ["", ""]
    assert len(server.asked) == 3


async def test_stale_while_revalidate(
    peer: Any, session: Any, cache: CacheMiddleware, clock: Clock
) -> None:
    """RFC 5861 3: the old response at once, the new one for the next request."""
    server: Peer = await peer(
        numbered(Cache_Control="max-age=10, stale-while-revalidate=30", ETag='"e"')
    )
    client = session(middlewares=(cache,))
    assert await bodies(client, server.url()) == ["1", "1"]
    clock.ahead = 20
    async with client.get(server.url()) as first:
        assert await first.text() == "1"
        async with client.get(server.url()) as second:
            assert await second.text() == "1"
        await asyncio.gather(*cache._validating.values())
        assert "If-None-Match" not in first.request_info.headers
    assert len(server.asked) == 2  # one validation, however many ask
    assert server.asked[1].headers["If-None-Match"] == '"e"'
    assert await bodies(client, server.url(), 1) == ["2"]
    clock.ahead = 100
    assert await bodies(client, server.url(), 1) == ["3"]


async def test_a_validation_behind_is_ended_with_the_cache(
    peer: Any, session: Any, cache: CacheMiddleware, clock: Clock
) -> None:
    async def answer(_: Asked) -> Reply:
        if len(server.asked) > 1:
            await asyncio.Event().wait()
        return reply(200, "x", {"Cache-Control": "max-age=1, stale-while-revalidate=30"})

    server: Peer = await peer(answer)
    client = session(middlewares=(cache,))
    await bodies(client, server.url(), 1)
    clock.ahead = 5
    assert await bodies(client, server.url(), 1) == ["x"]
    await cache.close()
    assert not cache._validating


@pytest.mark.parametrize("trouble", ["hangs up", "503"])
@pytest.mark.parametrize(("control", "served"), [("stale-if-error=60", True), ("", False)])
async def test_stale_if_error(
    peer: Any, session: Any, clock: Clock, trouble: str, control: str, served: bool
) -> None:
    """RFC 5861 4"""
    server: Peer = await peer(numbered(Cache_Control=f"max-age=1, {control}"))
    client = session(middlewares=(CacheMiddleware(),))
    assert await bodies(client, server.url(), 1) == ["1"]
    clock.ahead = 10
    server.answer = lambda _: reply(0 if trouble == "hangs up" else 503, "sorry")
    try:
        async with client.get(server.url()) as response:
            assert (response.status, await response.text()) == (
                (200, "1") if served else (503, "sorry")
            )
    except wherry.ServerDisconnectedError:
        assert trouble == "hangs up"
        assert not served


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_unsafe_methods_invalidate(
    peer: Any, session: Any, cache: CacheMiddleware, method: str
) -> None:
    server: Peer = await peer(numbered(Cache_Control="max-age=60", Content_Location="/other"))
    client = session(middlewares=(cache,))
    assert await bodies(client, server.url("/a")) == ["1", "1"]
    assert await bodies(client, server.url("/other")) == ["2", "2"]
    assert await bodies(client, server.url("/far")) == ["3", "3"]
    async with client.request(method, server.url("/a"), data=b"x"):
        pass
    assert await bodies(client, server.url("/a")) == ["5", "5"]
    assert await bodies(client, server.url("/other"), 1) == ["6"]
    assert await bodies(client, server.url("/far"), 1) == ["3"]


async def test_a_failed_unsafe_method_invalidates_nothing(
    peer: Any, session: Any, cache: CacheMiddleware
) -> None:
    fresh = numbered(Cache_Control="max-age=60")
    server: Peer = await peer(lambda asked: fresh(asked) if asked.method == "GET" else reply(403))
    client = session(middlewares=(cache,))
    assert await bodies(client, server.url()) == ["1", "1"]
    async with client.delete(server.url()):
        pass
    assert await bodies(client, server.url(), 1) == ["1"]


async def test_what_a_program_asks_of_the_cache(
    peer: Any, session: Any, cache: CacheMiddleware, clock: Clock
) -> None:
    """RFC 9111 5.2.1"""
    server: Peer = await peer(numbered(Cache_Control="max-age=60"))
    client = session(middlewares=(cache,))

    async def ask(control: str) -> tuple[int, str]:
        async with client.get(server.url(), headers={"Cache-Control": control}) as response:
            return response.status, await response.text()

    assert await ask("only-if-cached") == (504, "")
    assert await ask("") == (200, "1")
    assert await ask("only-if-cached") == (200, "1")
    clock.ahead = 30
    assert await ask("max-age=40") == (200, "1")
    assert await ask("min-fresh=20") == (200, "1")
    assert await ask("max-age=10") == (200, "2")
    assert await ask("no-store") == (200, "3")
    assert await ask("") == (200, "2")
    assert await ask("no-cache") == (200, "4")
    clock.ahead = 30 + 80
    assert await ask("max-stale=30") == (200, "4")
    assert await ask("max-stale") == (200, "4")
    assert await ask("max-stale=10") == (200, "5")


async def test_coded_content_is_kept_decoded(
    peer: Any, session: Any, cache: CacheMiddleware
) -> None:
    coded = gzip.compress(b"hello " * 100)
    server: Peer = await peer(
        lambda _: reply(200, coded, {"Content-Encoding": "gzip", "Cache-Control": "max-age=60"})
    )
    client = session(middlewares=(cache,))
    async with client.get(server.url(), auto_decompress=False) as response:
        assert await response.read() == coded
    assert await bodies(client, server.url(), 3) == ["hello " * 100] * 3
    assert len(server.asked) == 2  # the raw content was not kept
    async with client.get(server.url(), auto_decompress=False) as response:
        assert await response.text() == "hello " * 100
        assert "Content-Encoding" not in response.headers


async def test_large_bodies_stream_past(peer: Any, session: Any) -> None:
    big = b"0123456789" * 50_000
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(big), big)

    def answer(asked: Asked) -> Reply:
        if asked.target == "/chunked":
            return reply(
                200, chunked, {"Transfer-Encoding": "chunked", "Cache-Control": "max-age=60"}
            )
        return reply(200, big, {"Cache-Control": "max-age=60"})

    server: Peer = await peer(answer)
    client = session(middlewares=(CacheMiddleware(max_body=100_000),))
    for path in ("/chunked", "/length"):
        for _ in range(2):
            async with client.get(server.url(path)) as response:
                assert await response.read() == big
    assert len(server.asked) == 4
    client = session(middlewares=(CacheMiddleware(),))
    for _ in range(2):
        async with client.get(server.url("/chunked")) as response:
            assert b"".join([piece async for piece in response.content.iter_chunked(999)]) == big
    assert len(server.asked) == 5


async def test_a_body_that_breaks_off_is_not_kept(
    peer: Any, session: Any, cache: CacheMiddleware
) -> None:
    def answer(_: Asked) -> Reply:
        if len(server.asked) == 1:
            asyncio.get_running_loop().call_soon(lambda: [task.cancel() for task in server.tasks])
            return reply(200, "short", {"Content-Length": "100", "Cache-Control": "max-age=60"})
        return reply(200, "whole", {"Cache-Control": "max-age=60"})

    server: Peer = await peer(answer)
    client = session(middlewares=(cache,))
    with pytest.raises(wherry.ClientError):
        await bodies(client, server.url(), 1)
    assert await bodies(client, server.url()) == ["whole", "whole"]


@pytest.mark.parametrize("coded", [False, True])
@pytest.mark.parametrize(
    ("read", "kept"),
    [
        (lambda response: response.read(), True),
        (lambda response: response.text(), True),
        (lambda response: response.content.readexactly(2), False),
        (lambda response: response.content.read(), False),
    ],
    ids=["read", "text", "a part", "the stream"],
)
async def test_a_body_that_a_middleware_has_read_is_kept_whole_or_not_at_all(
    peer: Any, session: Any, cache: CacheMiddleware, read: Any, kept: bool, coded: bool
) -> None:
    body = b"hello" * 1000

    async def look(
        request: wherry.ClientRequest, handler: wherry.ClientHandlerType
    ) -> wherry.ClientResponse:
        response = await handler(request)
        await read(response)
        return response

    fields = {"Cache-Control": "max-age=60", **({"Content-Encoding": "gzip"} if coded else {})}
    server: Peer = await peer(lambda _: reply(200, gzip.compress(body) if coded else body, fields))
    client = session(middlewares=(cache, look))
    async with client.get(server.url()):
        pass
    async with client.get(server.url(), middlewares=(cache,)) as response:
        assert await response.read() == body
        assert ("Cache-Status" in response.headers) is kept


async def test_what_is_served_is_of_the_sessions_own_class(
    peer: Any, session: Any, cache: CacheMiddleware
) -> None:
    class Mine(wherry.ClientResponse):
        async def shout(self) -> str:
            return (await self.text()).upper()

    server: Peer = await peer(numbered(Cache_Control="max-age=60"))
    client = session(middlewares=(cache,), response_class=Mine)
    for headers in ({}, {}, {"Cache-Control": "only-if-cached, max-age=0"}):
        async with client.get(server.url(), headers=headers) as response:
            assert await response.shout() == ("1" if response.status == 200 else "")


async def test_a_redirect_is_kept_and_followed(
    peer: Any, session: Any, cache: CacheMiddleware
) -> None:
    end = numbered(Cache_Control="max-age=60")
    server: Peer = await peer(
        lambda asked: (
            reply(301, "", {"Location": "/end", "Cache-Control": "max-age=60"})
            if asked.target == "/"
            else end(asked)
        )
    )
    client = session(middlewares=(cache,))
    assert await bodies(client, server.url(), 3) == ["1"] * 3
    assert len(server.asked) == 2


async def test_cookies_are_not_kept(peer: Any, session: Any, cache: CacheMiddleware) -> None:
    server: Peer = await peer(numbered(Cache_Control="max-age=60", Set_Cookie="a=1"))
    client = session(middlewares=(cache,))
    await bodies(client, server.url(host="a.test"), 1)
    assert len(client.cookie_jar) == 1
    client.cookie_jar.clear()
    async with client.get(server.url(host="a.test")) as response:
        assert "Set-Cookie" not in response.headers
    assert len(client.cookie_jar) == 0


@pytest.mark.parametrize("name", ["If-Match", "If-Unmodified-Since"])
async def test_a_condition_that_only_the_origin_can_judge_goes_there(
    peer: Any, session: Any, cache: CacheMiddleware, name: str
) -> None:
    """RFC 9110 13.1.1, 13.1.4"""
    server: Peer = await peer(
        lambda asked: (
            reply(412)
            if name in asked.headers
            else reply(200, "x", {"Cache-Control": "max-age=60"})
        )
    )
    client = session(middlewares=(cache,))
    assert await bodies(client, server.url(), 1) == ["x"]
    async with client.get(
        server.url(), headers={name: '"e"' if name == "If-Match" else DATE}
    ) as response:
        assert response.status == 412
        assert "Cache-Status" not in response.headers
    assert len(server.asked) == 2
    assert await bodies(client, server.url(), 1) == ["x"]
    assert len(server.asked) == 2


async def test_a_storage_that_fails_costs_no_request(
    peer: Any, session: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "broken.db").write_bytes(b"this is no database" * 100)
    server: Peer = await peer(numbered(Cache_Control="max-age=60"))
    async with CacheMiddleware(SQLiteCacheStorage(tmp_path / "broken.db")) as cache:
        assert await bodies(session(middlewares=(cache,)), server.url()) == ["1", "2"]
    assert "could not be read" in caplog.text


# --- storages -------------------------------------------------------------------------------------


def kept(
    body: bytes = b"", variant: tuple[tuple[str, str], ...] = (), **headers: str
) -> StoredResponse:
    raw = tuple(
        (name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()
    )
    return StoredResponse(200, "OK", raw, body, 1000.0, 1000.5, variant)


async def test_a_storage_finds_what_it_keeps(cache: CacheMiddleware) -> None:
    storage = cache._storage
    one, two = kept(b"\x00\xff", X="\u00e9"), kept(b"2", (("accept", "hash"),))
    await storage.save("k", one)
    await storage.save("k", two)
    assert sorted(await storage.load("k")) == sorted([one, two])
    await storage.save("k", one._replace(body=b"new"))
    assert sorted(each.body for each in await storage.load("k")) == [b"2", b"new"]
    assert await storage.load("other") == []
    await storage.drop("k")
    assert await storage.load("k") == []


async def test_variants_are_bounded(cache: CacheMiddleware) -> None:
    for number in range(100):
        await cache._storage.save("k", kept(variant=(("x", str(number)),)))
    left = await cache._storage.load("k")
    assert len(left) == 32
    assert ("x", "99") in [each.variant[0] for each in left]


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_what_was_used_longest_ago_goes_first(tmp_path: Path, kind: str) -> None:
    limit = 10_000
    storage = (
        MemoryCacheStorage(limit)
        if kind == "memory"
        else SQLiteCacheStorage(tmp_path / "c.db", limit)
    )
    for key in ("a", "b", "c"):
        await storage.save(key, kept(b"x" * 2_600))
    assert await storage.load("a")
    await storage.save("d", kept(b"x" * 2_600))
    assert [bool(await storage.load(key)) for key in "abcd"] == [True, False, True, True]
    await storage.save("huge", kept(b"x" * 20_000))
    assert not await storage.load("huge")
    await storage.close()


async def test_a_file_outlives_the_program_and_holds_no_secret(
    peer: Any, session: Any, tmp_path: Path
) -> None:
    server: Peer = await peer(
        numbered(Cache_Control="max-age=60", Vary="Cookie", Set_Cookie="s=c00kie")
    )
    headers = {"Authorization": "Bearer t0ken", "Cookie": "a=s3cret"}
    for _ in range(2):
        async with CacheMiddleware(SQLiteCacheStorage(tmp_path / "c.db")) as cache:
            client = session(middlewares=(cache,), cookie_jar=wherry.DummyCookieJar())
            assert await bodies(client, server.url(), 1, headers=headers) == ["1"]
    assert len(server.asked) == 1
    with sqlite3.connect(tmp_path / "c.db") as database:
        dump = "\n".join(database.iterdump())
    database.close()
    assert not any(secret in dump for secret in ("t0ken", "s3cret", "c00kie"))


# --- policy ---------------------------------------------------------------------------------------

DATE = formatdate(1000, usegmt=True)


@pytest.mark.parametrize(
    ("status", "response", "request_", "stored"),
    [
        (200, {"Cache-Control": "max-age=1"}, {}, True),
        (200, {"Cache-Control": "private, max-age=1"}, {}, True),
        (200, {"Expires": "0"}, {}, True),
        (200, {"ETag": '"e"'}, {}, True),
        (200, {"Last-Modified": DATE}, {}, True),
        (200, {"Cache-Control": "no-cache", "ETag": '"e"'}, {}, True),
        (404, {"ETag": '"e"'}, {}, True),
        (302, {"ETag": '"e"'}, {}, False),
        (302, {"Cache-Control": "max-age=1"}, {}, True),
        (500, {"Cache-Control": "max-age=1"}, {}, True),
        (200, {}, {}, False),
        (206, {"Cache-Control": "max-age=1"}, {}, False),
        (304, {"Cache-Control": "max-age=1"}, {}, False),
        (200, {"Cache-Control": "no-store, max-age=1"}, {}, False),
        (200, {"Cache-Control": "max-age=1"}, {"Cache-Control": "no-store"}, False),
        (200, {"Cache-Control": "max-age=1", "Vary": "accept, *"}, {}, False),
        (200, {"Cache-Control": "max-age=1", "Content-Type": "text/event-stream"}, {}, False),
        (299, {"Cache-Control": "max-age=1, must-understand"}, {}, False),
        (200, {"Cache-Control": "s-maxage=1"}, {}, False),
    ],
)
def test_what_may_be_stored(status: int, response: Any, request_: Any, stored: bool) -> None:
    """RFC 9111 3"""
    assert (
        policy.may_store(CIMultiDict(request_), status, CIMultiDict(response), heuristic=False)
        is stored
    )


@pytest.mark.parametrize(
    ("headers", "fresh"),
    [
        ({"Cache-Control": "max-age=100"}, 100),
        ({"Cache-Control": 'max-age="100"'}, 100),
        ({"Cache-Control": "max-age=5, max-age=100"}, 5),
        ({"Cache-Control": "max-age=x"}, 0),
        ({"Cache-Control": "max-age=99999999999999999999"}, 2**31),
        (
            {"Cache-Control": "max-age=10", "Expires": formatdate(5000, usegmt=True), "Date": DATE},
            10,
        ),
        ({"Expires": formatdate(1060, usegmt=True), "Date": DATE}, 60),
        ({"Expires": "0", "Date": DATE}, 0),
        ({"Expires": formatdate(900, usegmt=True), "Date": DATE}, 0),
        ({"Last-Modified": formatdate(0, usegmt=True), "Date": DATE}, 100),
        ({}, 0),
    ],
)
def test_how_long_it_is_fresh(headers: Any, fresh: float) -> None:
    """RFC 9111 4.2.1, 4.2.2"""
    assert policy.lifetime(kept(), CIMultiDict(headers), heuristic=True) == fresh


def test_how_old_it_is() -> None:
    """RFC 9111 4.2.3"""
    response = kept(Date=DATE)
    assert policy.age(response, response.fields(), 1010.5) == 10.5
    old = kept(Date=formatdate(900, usegmt=True))
    assert policy.age(old, old.fields(), 1010.5) == 110.5
    raw = policy.kept_headers(((b"Age", b"50"), (b"Date", DATE.encode())))
    through = kept()._replace(headers=raw)
    assert policy.age(through, through.fields(), 1010.5) == 60.5
    assert b"X-Wherry-Age" not in dict(policy.served_headers(through, 60, "hit"))
    assert policy.kept_headers(((b"X-Wherry-Age", b"50"),)) == ()


def test_what_is_kept_of_the_fields() -> None:
    """RFC 9111 3.1"""
    raw = (
        (b"Connection", b"close, X-Hop"),
        (b"x-hop", b"1"),
        (b"Keep-Alive", b"1"),
        (b"Set-Cookie", b"a"),
        (b"A", b"b"),
    )
    assert policy.kept_headers(raw) == ((b"A", b"b"),)
    # RFC 9111 5.2.2.4: what no-cache names may not be used again.
    control = (b"cache-control", b'max-age=60, no-cache="x-one, X-Two"')
    assert policy.kept_headers((control, (b"X-One", b"1"), (b"x-two", b"2"), (b"A", b"b"))) == (
        control,
        (b"A", b"b"),
    )


@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_every_form_of_a_date_means_utc(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 9110 5.6.7"""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        forms = (
            "Thu, 01 Jan 1970 00:16:40 GMT",
            "Thursday, 01-Jan-70 00:16:40 GMT",
            "Thu Jan  1 00:16:40 1970",
        )
        assert [policy.date(form) for form in forms] == [1000.0] * 3
        assert policy.date("soon") is policy.date(None) is None
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("told", "asked", "now", "verdict"),
    [
        ("max-age=60", "", 1030, Verdict.FRESH),
        ("max-age=60", "", 1070, Verdict.VALIDATE),
        ("max-age=60", "max-stale", 9999, Verdict.FRESH),
        ("max-age=60, must-revalidate", "max-stale", 9999, Verdict.VALIDATE),
        ("max-age=60, no-cache", "", 1030, Verdict.VALIDATE),
        ('max-age=60, no-cache="set-cookie"', "", 1030, Verdict.FRESH),
        ("max-age=60, stale-while-revalidate=60", "", 1070, Verdict.STALE_WHILE_REVALIDATE),
        ("max-age=60, stale-while-revalidate=60", "", 1130, Verdict.VALIDATE),
        ("max-age=60, stale-while-revalidate=60, must-revalidate", "", 1070, Verdict.VALIDATE),
        ("max-age=60, stale-while-revalidate=60", "max-age=65", 1070, Verdict.VALIDATE),
        ("max-age=60", "min-fresh=40", 1030, Verdict.VALIDATE),
    ],
)
def test_what_to_do_with_a_stored_response(
    told: str, asked: str, now: float, verdict: Verdict
) -> None:
    """RFC 9111 4.2, 5.2"""
    response = kept(Cache_Control=told)
    assert policy.judge(response, CIMultiDict({"Cache-Control": asked}), now)[0] is verdict


def test_pragma_counts_without_cache_control() -> None:
    response = kept(Cache_Control="max-age=60")
    assert policy.judge(response, CIMultiDict(Pragma="no-cache"), 1010)[0] is Verdict.VALIDATE


def test_only_the_own_origin_is_invalidated() -> None:
    """RFC 9111 4.4"""
    url = URL("http://h/a#f")
    headers = {"Location": "/b", "Content-Location": "http://other/c"}
    assert policy.invalidated("POST", url, 201, headers) == ["http://h/a", "http://h/b"]
    assert policy.invalidated("POST", url, 404, headers) == []
    assert policy.invalidated("GET", url, 200, headers) == []
    assert policy.invalidated("PUT", url, 200, {"Location": "http://[bad"}) == ["http://h/a"]


@given(st.text(max_size=60), st.integers(200, 599))
def test_any_cache_control_is_read_without_an_error(value: str, status: int) -> None:
    headers = CIMultiDict(
        {"Cache-Control": value, "Expires": value, "Date": value, "Age": value, "Vary": value}
    )
    policy.may_store(headers, status, headers, heuristic=True)
    response = kept()._replace(
        status=status,
        headers=tuple(
            (name.encode(), each.encode("utf-8", "surrogateescape"))
            for name, each in headers.items()
        ),
    )
    policy.judge(response, headers, 2000.0, heuristic=True)


async def test_a_storage_that_is_closed_by_who_is_cancelled_is_closed(tmp_path: Path) -> None:
    storage = SQLiteCacheStorage(tmp_path / "c.db")
    assert not await storage.load("key")
    thread = storage._thread
    assert thread is not None
    may_go_on = threading.Event()
    thread.submit(may_go_on.wait, 60)
    closing = asyncio.ensure_future(storage.close())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.sleep(0)
    may_go_on.set()
    await asyncio.wait([closing])
    assert closing.cancelled()
    assert storage._database is None
    with pytest.raises(RuntimeError, match="shutdown"):
        thread.submit(may_go_on.wait, 60)
