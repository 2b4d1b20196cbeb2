"""Requests under way: what an unsafe request outdates, and bodies that are kept while they are read."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.client.conftest import Asked, Peer, Reply, reply
from tests.middlewares.conftest import Clock
from tests.servers.raw import read_request

import wherry
from wherry.middlewares.cache import CacheMiddleware
from wherry.middlewares.cache_storage import MemoryCacheStorage


class State:
    """A server with a state: GET tells it, slowly where it is held, and POST changes it."""

    def __init__(self, **fields: str) -> None:
        self.value = 1
        self.fields = {"Cache-Control": "max-age=60", **fields}
        self.held: list[asyncio.Event] = []
        self.came = asyncio.Condition()
        self.gets = 0
        self.hold = False

    async def __call__(self, asked: Asked) -> Reply:
        if asked.method != "GET":
            self.value += 1
            return reply(200, "", {})
        told = str(self.value)
        self.gets += 1
        gate = asyncio.Event()
        held = self.hold
        if held:
            self.held.append(gate)
        async with self.came:
            self.came.notify_all()
        if held:
            await gate.wait()
        return reply(200, told, self.fields)

    async def until(self, gets: int) -> None:
        async with asyncio.timeout(20), self.came:
            await self.came.wait_for(lambda: self.gets >= gets)


async def text(client: wherry.ClientSession, url: str, **options: Any) -> str:
    async with client.get(url, **options) as response:
        return await response.text()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_a_get_under_way_does_not_refill_the_cache_with_the_old_state(
    peer: Any, session: Any, cache: CacheMiddleware, method: str
) -> None:
    """RFC 9111 4.4"""
    state = State()
    server: Peer = await peer(state)
    client = session(middlewares=(cache,))
    state.hold = True
    old = asyncio.create_task(text(client, server.url()))
    await state.until(1)
    async with client.request(method, server.url(), data=b"x"):
        pass
    state.hold = False
    state.held[0].set()
    assert await old == "1"  # it was asked before
    assert await text(client, server.url()) == "2"
    assert await text(client, server.url()) == "2"
    assert state.gets == 2


async def test_a_get_that_comes_after_an_unsafe_request_joins_none_from_before(
    peer: Any, session: Any, cache: CacheMiddleware
) -> None:
    state = State()
    server: Peer = await peer(state)
    client = session(middlewares=(cache,))
    state.hold = True
    old = asyncio.create_task(text(client, server.url()))
    await state.until(1)
    async with client.post(server.url(), data=b"x"):
        pass
    new = asyncio.create_task(text(client, server.url()))
    await state.until(2)  # it went by itself
    for gate in state.held:
        gate.set()
    assert (await old, await new) == ("1", "2")
    state.hold = False
    assert await text(client, server.url()) == "2"
    assert state.gets == 2


async def test_the_old_one_landing_last_does_not_replace_the_new_state(
    peer: Any, session: Any, cache: CacheMiddleware
) -> None:
    state = State()
    server: Peer = await peer(state)
    client = session(middlewares=(cache,))
    state.hold = True
    old = asyncio.create_task(text(client, server.url()))
    await state.until(1)
    async with client.post(server.url(), data=b"x"):
        pass
    state.hold = False
    assert await text(client, server.url()) == "2"
    state.held[0].set()
    assert await old == "1"
    assert await text(client, server.url()) == "2"
    assert state.gets == 2


async def test_a_validation_behind_a_response_is_outdated_too(
    peer: Any, session: Any, cache: CacheMiddleware, clock: Clock
) -> None:
    state = State(**{"Cache-Control": "max-age=10, stale-while-revalidate=100"})
    server: Peer = await peer(state)
    client = session(middlewares=(cache,))
    assert await text(client, server.url()) == "1"
    clock.ahead = 20
    state.hold = True
    assert await text(client, server.url()) == "1"
    await state.until(2)
    behind = list(cache._tasks)
    async with client.post(server.url(), data=b"x"):
        pass
    state.held[0].set()
    await asyncio.gather(*behind)
    state.hold = False
    assert await text(client, server.url()) == "2"
    assert state.gets == 3


async def test_validating_one_variant_does_not_postpone_the_others(
    peer: Any, session: Any, cache: CacheMiddleware, clock: Clock
) -> None:
    gate, both = asyncio.Event(), asyncio.Event()
    late = [0]

    async def answer(asked: Asked) -> Reply:
        language = asked.headers["Accept-Language"]
        if clock.ahead:
            late[0] += 1
            if late[0] == 2:
                both.set()
            await gate.wait()
        fields = {
            "Cache-Control": "max-age=10, stale-while-revalidate=100",
            "Vary": "Accept-Language",
        }
        return reply(200, f"{language} {len(server.asked)}", fields)

    server: Peer = await peer(answer)
    client = session(middlewares=(cache,))
    languages = [{"Accept-Language": "de"}, {"Accept-Language": "en"}]
    assert [await text(client, server.url(), headers=fields) for fields in languages] == [
        "de 1",
        "en 2",
    ]
    clock.ahead = 20
    assert [await text(client, server.url(), headers=fields) for fields in languages] == [
        "de 1",
        "en 2",
    ]
    async with asyncio.timeout(20):
        await both.wait()  # both are asked about, while neither is answered
    gate.set()
    await asyncio.gather(*cache._tasks)
    found = [await text(client, server.url(), headers=fields) for fields in languages]
    assert sorted(found) != ["de 1", "en 2"]
    assert len(server.asked) == 4


async def test_an_unsafe_request_that_is_cancelled_after_its_answer_still_drops_what_is_kept(
    peer: Any, session: Any
) -> None:
    began, go = asyncio.Event(), asyncio.Event()

    class Slow(MemoryCacheStorage):
        async def drop(self, key: str) -> None:
            began.set()
            await go.wait()
            await super().drop(key)

    state = State()
    server: Peer = await peer(state)
    async with CacheMiddleware(Slow()) as cache:
        client = session(middlewares=(cache,))
        assert await text(client, server.url()) == "1"
        task = asyncio.create_task(client.post(server.url(), data=b"x"))
        await began.wait()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        go.set()
        await asyncio.gather(*cache._dropping)
        assert await text(client, server.url()) == "2"


# --- bodies that come slowly ----------------------------------------------------------------------------------


class Slowly:
    """A server that sends a body piece by piece, each when the test says so."""

    def __init__(self, head: bytes = b"Content-Length: 10\r\n") -> None:
        self.head = head
        self.pieces: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.asked = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        await self.tell(writer)

    async def tell(self, writer: asyncio.StreamWriter) -> None:
        self.asked += 1
        writer.write(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n" + self.head + b"\r\n")
        while (piece := await self.pieces.get()) is not None:
            writer.write(piece)
            await writer.drain()
        writer.close()


async def test_a_slow_answer_is_handed_over_as_it_comes_and_kept_when_it_was_read(
    raw_server: Any, cache: CacheMiddleware
) -> None:
    slowly = Slowly()
    server = await raw_server(slowly)
    async with wherry.ClientSession(middlewares=(cache,)) as client:
        async with client.get(server.url) as response:  # the head is here, and none of the body
            slowly.pieces.put_nowait(b"01234")
            assert await response.content.readany() == b"01234"
            slowly.pieces.put_nowait(b"56789")
            assert await response.content.read() == b"56789"
            assert response.content.at_eof()
        slowly.pieces.put_nowait(None)
        async with client.get(server.url) as response:
            assert await response.read() == b"0123456789"
            assert response.headers["Cache-Status"] == "wherry; hit"
    assert slowly.asked == 1


@pytest.mark.parametrize("read", ["read", "text", "iter_chunked", "readexactly", "iter_any"])
async def test_every_way_of_reading_keeps_it(
    raw_server: Any, cache: CacheMiddleware, read: str
) -> None:
    slowly = Slowly()
    server = await raw_server(slowly)
    async with wherry.ClientSession(middlewares=(cache,)) as client:
        async with client.get(server.url) as response:
            for piece in (b"01", b"2345", b"6789", None):
                slowly.pieces.put_nowait(piece)
            if read == "text":
                assert await response.text() == "0123456789"
            elif read == "read":
                assert await response.read() == b"0123456789"
            elif read == "readexactly":
                assert await response.content.readexactly(10) == b"0123456789"
            else:
                pieces = (
                    response.content.iter_any()
                    if read == "iter_any"
                    else response.content.iter_chunked(3)
                )
                assert b"".join([piece async for piece in pieces]) == b"0123456789"
        if read == "readexactly":
            await asyncio.gather(*cache._keeper._bodies)
        async with client.get(server.url) as response:
            assert await response.read() == b"0123456789"
    assert slowly.asked == 1


async def test_who_waits_for_a_slow_answer_is_served_from_it(
    raw_server: Any, cache: CacheMiddleware
) -> None:
    slowly = Slowly()
    server = await raw_server(slowly)
    async with (
        wherry.ClientSession(middlewares=(cache,)) as client,
        client.get(server.url) as response,
    ):
        waiting = asyncio.create_task(text(client, server.url))
        for piece in (b"01234", b"56789", None):
            slowly.pieces.put_nowait(piece)
        # Nobody has read the first one's body: the others do not wait for that.
        assert await waiting == "0123456789"
        assert await response.text() == "0123456789"
    assert slowly.asked == 1


@pytest.mark.parametrize("how", ["close", "release", "forget", "cancel"])
async def test_a_response_that_is_given_up_is_not_kept_and_holds_up_nobody(
    raw_server: Any, cache: CacheMiddleware, how: str
) -> None:
    slowly = Slowly(b"Content-Length: 1000000\r\n")
    server = await raw_server(slowly)
    async with wherry.ClientSession(middlewares=(cache,)) as client:
        response = await client.get(server.url)
        waiting = asyncio.create_task(text(client, server.url))
        await asyncio.sleep(0)
        slowly.pieces.put_nowait(b"01234")
        slowly.pieces.put_nowait(None)
        if how == "close":
            response.close()
        elif how == "release":
            response.release()
        elif how == "forget":
            del response
        else:
            reading = asyncio.create_task(response.read())
            await asyncio.sleep(0)
            reading.cancel()
            await asyncio.wait([reading])
        slowly.head = b"Content-Length: 3\r\n"
        slowly.pieces.put_nowait(b"new")
        async with asyncio.timeout(20):
            assert await waiting == "new"
        slowly.pieces.put_nowait(None)
        assert not cache._keeper._bodies
        assert not len(cache._flights)
        assert await text(client, server.url) == "new"
    assert slowly.asked == 2


async def test_a_slow_body_that_breaks_off_is_the_readers_error_and_not_kept(
    raw_server: Any, cache: CacheMiddleware
) -> None:
    slowly = Slowly()
    server = await raw_server(slowly)
    async with wherry.ClientSession(middlewares=(cache,)) as client:
        async with client.get(server.url) as response:
            slowly.pieces.put_nowait(b"0123")
            assert await response.content.readany() == b"0123"
            slowly.pieces.put_nowait(None)
            with pytest.raises(wherry.ClientPayloadError):
                await response.content.readany()
        for piece in (b"9876543210", None):
            slowly.pieces.put_nowait(piece)
        assert await text(client, server.url) == "9876543210"
    assert slowly.asked == 2


async def test_a_slow_body_that_grows_too_large_streams_on_at_the_readers_pace(
    raw_server: Any,
) -> None:
    piece = b"x" * 65536

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n\r\n")
        while True:
            writer.write(piece)
            await writer.drain()

    server = await raw_server(endless)
    async with (
        CacheMiddleware(max_body=200_000) as cache,
        wherry.ClientSession(middlewares=(cache,)) as client,
    ):
        async with client.get(server.url) as response:
            await response.content.readexactly(1_000_000)
            tee = response.content.flow
            async with asyncio.timeout(20):
                while tee._open.is_set():  # type: ignore[union-attr]
                    await asyncio.sleep(0)
            assert response.content._size < 4 * 2**20
            await response.content.readexactly(1_000_000)
        async with asyncio.timeout(20):
            await asyncio.gather(*cache._keeper._bodies)
        assert await cache._storage.load(str(server.url)) == []


async def test_the_total_time_limit_ends_a_slow_body(
    raw_server: Any, cache: CacheMiddleware
) -> None:
    slowly = Slowly()
    server = await raw_server(slowly)
    limit = wherry.ClientTimeout(total=1)
    async with wherry.ClientSession(middlewares=(cache,), timeout=limit) as client:
        async with client.get(server.url) as response:
            with pytest.raises(TimeoutError):
                await response.read()
        slowly.pieces.put_nowait(None)
        async with asyncio.timeout(20):
            while cache._keeper._bodies or len(cache._flights):
                await asyncio.sleep(0)


async def test_an_unsafe_request_outdates_a_body_that_is_still_coming(
    raw_server: Any, cache: CacheMiddleware
) -> None:
    slowly = Slowly()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"DELETE"):
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            return
        await slowly.tell(writer)

    server = await raw_server(script)
    async with wherry.ClientSession(middlewares=(cache,)) as client:
        async with client.get(server.url) as response:
            slowly.pieces.put_nowait(b"01234")
            assert await response.content.readany() == b"01234"
            async with client.delete(server.url):
                pass
            slowly.pieces.put_nowait(b"56789")
            assert await response.content.read() == b"56789"
            slowly.pieces.put_nowait(None)
        for piece in (b"new state.", None):
            slowly.pieces.put_nowait(piece)
        assert await text(client, server.url) == "new state."
    assert slowly.asked == 2
