"""The storages: what they keep, how much of it, and who may write at the same time."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from tests.client.conftest import Asked, Peer, Reply, reply
from tests.servers.redis_server import RedisServer

import wherry
from wherry.middlewares.cache import CacheMiddleware
from wherry.middlewares.cache_fields import StoredResponse
from wherry.middlewares.cache_storage import MAX_VARIANTS, MemoryCacheStorage, SQLiteCacheStorage

KINDS = ["memory", "sqlite", "redis"]


class Maker:
    """Makes storages of one kind, which share what they keep where that kind can."""

    def __init__(self, kind: str, directory: Path, request: pytest.FixtureRequest) -> None:
        self.kind = kind
        self.made: list[Any] = []
        self._path = directory / "cache.db"
        self._prefix = uuid4().hex
        if kind == "redis":
            pytest.importorskip("redis")
            server: RedisServer = request.getfixturevalue("redis_server")
            self.url = f"redis://127.0.0.1:{server.port}/0"

    def __call__(self, max_bytes: int = 1_000_000) -> Any:
        storage: Any
        if self.kind == "memory":
            storage = MemoryCacheStorage(max_bytes)
        elif self.kind == "sqlite":
            storage = SQLiteCacheStorage(self._path, max_bytes)
        else:
            storage = wherry.RedisCacheStorage(self.url, max_bytes, prefix=self._prefix)
        self.made.append(storage)
        return storage


@pytest.fixture(params=KINDS)
async def make(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Maker]:
    maker = Maker(request.param, tmp_path, request)
    yield maker
    for storage in maker.made:
        await storage.close()


@pytest.fixture(params=["sqlite", "redis"])
async def make_shared(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Maker]:
    """Of the kinds that several programs may share."""
    maker = Maker(request.param, tmp_path, request)
    yield maker
    for storage in maker.made:
        await storage.close()


def kept(
    body: bytes = b"",
    variant: tuple[tuple[str, str], ...] = (),
    asked_at: float = 1000.0,
    **headers: str,
) -> StoredResponse:
    raw = tuple(
        (name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()
    )
    return StoredResponse(200, "OK", raw, body, asked_at, asked_at + 0.5, variant)


async def test_what_was_kept_is_found_as_it_was(make: Maker) -> None:
    storage = make()
    one = kept(bytes(range(256)) + b"\n\n", X="\u00e9", Y="")
    two = kept(b"2", (("accept", "hash"), (":way", "w")))
    await storage.save("http://h/\u00e9\n key", one)
    await storage.save("http://h/\u00e9\n key", two)
    assert sorted(await storage.load("http://h/\u00e9\n key")) == sorted([one, two])
    await storage.save("http://h/\u00e9\n key", one._replace(body=b"new", status=206))
    assert sorted(each.body for each in await storage.load("http://h/\u00e9\n key")) == [
        b"2",
        b"new",
    ]
    assert await storage.load("http://h/") == []
    await storage.drop("http://h/\u00e9\n key")
    await storage.drop("never seen")
    assert await storage.load("http://h/\u00e9\n key") == []


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ("", b""),
        ("null", b""),
        ("[200]", b""),
        ("[" * 100_000, b""),
        ('[200, "OK", [], 1, 1, []]', 5),
        ('["200", "OK", [], 1, 1, []]', b""),
        ('[true, "OK", [], 1, 1, []]', b""),
        ('[101, "OK", [], 1, 1, []]', b""),
        ("[200, null, [], 1, 1, []]", b""),
        ('[200, "O\\u001bK", [], 1, 1, []]', b""),
        ('[200, "OK", [["a", "b\\r\\nc: d"]], 1, 1, []]', b""),
        ('[200, "OK", [["a b", "c"]], 1, 1, []]', b""),
        ('[200, "OK", [["\u20ac", "c"]], 1, 1, []]', b""),
        ('[200, "OK", [], NaN, 1, []]', b""),
        ('[200, "OK", [], 1, 1e999, []]', b""),
        ('[200, "OK", [], 1, "1", []]', b""),
        ('[200, "OK", [], 1, 1, [["x", 1]]]', b""),
        ('[200, "OK", [], 1, 1, [["x"]]]', b""),
    ],
)
async def test_what_was_not_kept_so_is_nothing(
    peer: Any, session: Any, tmp_path: Path, head: str, body: Any
) -> None:
    """Others may write to the file: a request goes out as if nothing was kept."""
    storage = SQLiteCacheStorage(tmp_path / "cache.db")
    server: Peer = await peer(
        lambda _: reply(200, str(len(server.asked)), {"Cache-Control": "max-age=60"})
    )
    client = session(middlewares=[CacheMiddleware(storage)])
    try:
        async with client.get(server.url()) as response:
            assert await response.text() == "1"
        with sqlite3.connect(tmp_path / "cache.db") as database:
            database.execute("UPDATE responses SET head = ?, body = ?", (head, body))
        database.close()
        async with client.get(server.url()) as response:
            assert await response.text() == "2"
    finally:
        await storage.close()


async def test_the_variants_of_a_url_are_bounded(make: Maker) -> None:
    storage = make(10**9)
    for number in range(MAX_VARIANTS + 20):
        await storage.save("k", kept(variant=(("x", str(number)),)))
    left = {each.variant[0][1] for each in await storage.load("k")}
    assert left == {str(number) for number in range(20, MAX_VARIANTS + 20)}


async def test_what_was_used_longest_ago_goes_first(make: Maker) -> None:
    storage = make(10_000)
    for key in ("a", "b", "c"):
        await storage.save(key, kept(b"x" * 2_600))
    assert await storage.load("a")
    await storage.save("d", kept(b"x" * 2_600))
    assert [bool(await storage.load(key)) for key in "abcd"] == [True, False, True, True]


async def test_what_is_larger_than_all_of_it_costs_nothing_else(make: Maker) -> None:
    storage = make(10_000)
    await storage.save("a", kept(b"x" * 2_600))
    await storage.save("b", kept(b"small", (("v", "1"),)))
    await storage.save("b", kept(b"other", (("v", "2"),)))
    await storage.save("b", kept(b"x" * 20_000, (("v", "1"),)))
    # Not the old one either, whose place it would have taken.
    assert [each.body for each in await storage.load("b")] == [b"other"]
    assert await storage.load("a")


async def test_many_variants_of_one_url_give_way_one_by_one(make: Maker) -> None:
    storage = make(10_000)
    for number in range(10):
        await storage.save("k", kept(b"x" * 2_600, (("x", str(number)),)))
    assert len(await storage.load("k")) == 3


async def test_after_a_replacement_the_size_is_that_of_the_new_one(make: Maker) -> None:
    storage = make(10_000)
    for _ in range(50):
        await storage.save("a", kept(b"x" * 2_600))
        await storage.save("b", kept(b"x" * 2_600))
        await storage.drop("b")
    await storage.save("c", kept(b"x" * 2_600))
    assert [bool(await storage.load(key)) for key in "abc"] == [True, False, True]


async def test_what_was_asked_for_before_the_key_was_dropped_is_not_kept(make: Maker) -> None:
    storage = make()
    before = time.time()
    await storage.save_if_current("k", kept(b"1", asked_at=before))
    assert await storage.load("k")
    await storage.drop("k")
    await storage.save_if_current("k", kept(b"old", asked_at=before))
    assert await storage.load("k") == []
    await storage.save_if_current("other", kept(b"1", asked_at=before))
    assert await storage.load("other")
    await storage.save_if_current("k", kept(b"new", asked_at=time.time() + 1))
    assert [each.body for each in await storage.load("k")] == [b"new"]
    # Who says so without a condition is believed.
    await storage.save("k", kept(b"said", asked_at=before))
    assert [each.body for each in await storage.load("k")] == [b"said"]


async def test_what_is_remembered_of_dropped_keys_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("wherry.middlewares.cache_storage._MAX_TOMBSTONES", 3)
    storage = MemoryCacheStorage()
    before = time.time()
    for number in range(10):
        await storage.drop(str(number))
    assert len(storage._dropped) == 3
    await storage.save_if_current("0", kept(asked_at=before))
    assert await storage.load("0") == []
    await storage.save_if_current("0", kept(asked_at=time.time() + 1))
    assert await storage.load("0")


async def test_one_programs_unsafe_request_outdates_the_others_flights(
    peer: Any, session: Any, make_shared: Maker
) -> None:
    """RFC 9111 4.4, between programs: each has a storage of its own, over the same file or server."""
    value, gate, came = [1], asyncio.Event(), asyncio.Event()

    async def answer(asked: Asked) -> Reply:
        if asked.method == "POST":
            value[0] += 1
            return reply()
        told = str(value[0])
        if not came.is_set():
            came.set()
            await gate.wait()
        return reply(200, told, {"Cache-Control": "max-age=60"})

    server: Peer = await peer(answer)
    async with CacheMiddleware(make_shared()) as one, CacheMiddleware(make_shared()) as two:
        a, b = session(middlewares=(one,)), session(middlewares=(two,))

        async def text(client: wherry.ClientSession) -> str:
            async with client.get(server.url()) as response:
                return await response.text()

        old = asyncio.create_task(text(a))
        await came.wait()
        async with b.post(server.url(), data=b"x"):
            pass
        gate.set()
        assert await old == "1"
        assert [await text(b), await text(a)] == ["2", "2"]
        assert len(server.asked) == 3  # what b got serves a, too


async def test_a_new_file_may_be_opened_by_many_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is about to write to the file has SQLite refuse the log, without waiting; then it is asked
    for again.
    """
    path = tmp_path / "cache"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    pauses = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            other.execute("COMMIT")

    monkeypatch.setattr(time, "sleep", pause)
    storage = SQLiteCacheStorage(path)
    assert await storage.load("x") == []
    await storage.close()
    other.close()
    assert len(pauses) == 3


async def test_the_limit_holds_under_concurrent_writers(make: Maker) -> None:
    limit = 40_000
    first = make(limit)
    storages = [first] * 4 if make.kind == "memory" else [first, *(make(limit) for _ in range(3))]

    async def write(storage: Any, number: int) -> None:
        for count in range(25):
            key = f"{(number * 7 + count) % 30}"
            await storage.save(key, kept(bytes(1_000 + count * 50), (("n", str(number)),)))
            await storage.load(str(count))
            if count % 10 == 0:
                await storage.drop(str(count % 30))

    await asyncio.gather(*(write(storage, number) for number, storage in enumerate(storages)))
    found = [each for key in range(30) for each in await first.load(str(key))]
    total = sum(each.size for each in found)
    assert 0 < total <= limit
    # And what is counted is what there is.
    assert await counted(make, first) == total


async def counted(make: Maker, storage: Any) -> int:
    if make.kind == "memory":
        return int(storage._bytes)
    if make.kind == "sqlite":
        with sqlite3.connect(storage._path) as database:
            (total,) = database.execute("SELECT total(size) FROM responses").fetchone()
        database.close()
        return int(total)
    return int(await storage._client.get(f"{storage._prefix}total"))


WRITER = """
import asyncio, sys
from wherry.middlewares.cache_fields import StoredResponse
from wherry import RedisCacheStorage, SQLiteCacheStorage

async def main(kind, where, prefix, number):
    limit = 60_000
    storage = SQLiteCacheStorage(where, limit) if kind == "sqlite" else RedisCacheStorage(where, limit, prefix=prefix)
    for count in range(40):
        body = bytes([number]) * (500 + count * 20)
        await storage.save(str(count % 25), StoredResponse(200, "OK", (), body, 1.0, 1.0, (("n", str(number)),)))
        for each in await storage.load(str((count * 3) % 25)):
            assert len(set(each.body)) == 1, "mixed up"
    await storage.close()

asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
"""


async def test_processes_share_a_cache(make_shared: Maker) -> None:
    where = str(make_shared._path) if make_shared.kind == "sqlite" else make_shared.url
    commands = [
        [sys.executable, "-c", WRITER, make_shared.kind, where, make_shared._prefix, str(number)]
        for number in range(1, 4)
    ]
    # All of them at once, and none of them has made the file.
    running = [
        await asyncio.create_subprocess_exec(*command, stderr=subprocess.PIPE)
        for command in commands
    ]
    for process in running:
        _, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
    storage = make_shared(60_000)
    found = [each for key in range(25) for each in await storage.load(str(key))]
    assert found
    assert all(each.body == bytes([int(each.variant[0][1])]) * len(each.body) for each in found)
    assert sum(each.size for each in found) <= 60_000


def test_event_loops_in_threads_share_one_in_memory() -> None:
    storage = MemoryCacheStorage(50_000)
    failed: list[BaseException] = []

    async def write(number: int) -> None:
        for count in range(300):
            key = str((count * 7 + number) % 20)
            await storage.save(key, kept(bytes(500 + count), (("n", str(number)),)))
            await storage.load(str(count % 20))
            if count % 5 == 0:
                await storage.drop(str(count % 20))

    def run(number: int) -> None:
        try:
            asyncio.run(write(number))
        except BaseException as exc:
            failed.append(exc)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    total = sum(each.size for variants in storage._kept.values() for each in variants)
    assert storage._bytes == total <= 50_000


def test_a_redis_storage_serves_one_event_loop_after_another(redis_server: RedisServer) -> None:
    pytest.importorskip("redis")
    storage = wherry.RedisCacheStorage(
        f"redis://127.0.0.1:{redis_server.port}/0", prefix=uuid4().hex
    )

    async def use() -> int:
        await storage.save("k", kept(b"x"))
        found = await storage.load("k")
        await storage.close()
        return len(found)

    assert [asyncio.run(use()), asyncio.run(use())] == [1, 1]


async def test_a_redis_that_is_not_there_costs_no_request(
    peer: Any, session: Any, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("redis")
    server: Peer = await peer(lambda _: reply(200, "x", {"Cache-Control": "max-age=60"}))
    storage = wherry.RedisCacheStorage("redis://:s3cret@127.0.0.1:1/0", timeout=1.0)
    async with CacheMiddleware(storage) as cache:
        client = session(middlewares=(cache,))
        for _ in range(2):
            async with client.get(server.url()) as response:
                assert await response.text() == "x"
    assert len(server.asked) == 2
    assert "could not be read" in caplog.text
    assert "s3cret" not in caplog.text + repr(storage)


async def test_no_secret_gets_into_redis(
    peer: Any, session: Any, redis_server: RedisServer
) -> None:
    pytest.importorskip("redis")
    from redis.asyncio import Redis

    server: Peer = await peer(
        lambda _: reply(
            200, "x", {"Cache-Control": "private, max-age=60", "Set-Cookie": "s=c00kie"}
        )
    )
    url, prefix = f"redis://127.0.0.1:{redis_server.port}/0", uuid4().hex
    async with CacheMiddleware(wherry.RedisCacheStorage(url, prefix=prefix)) as cache:
        client = session(middlewares=(cache,), cookie_jar=wherry.DummyCookieJar())
        headers = {"Authorization": "Bearer t0ken", "Cookie": "a=s3cret", "X-Api-Key": "k3y"}
        for _ in range(2):
            async with client.get(server.url("/?q=qu3ry"), headers=headers) as response:
                assert await response.text() == "x"
    assert len(server.asked) == 1
    async with Redis.from_url(url) as redis:
        names = [name async for name in redis.scan_iter(f"*{prefix}*")]
        assert names
        dump = b"".join([name + (await redis.dump(name)) for name in names])
    for secret in (b"t0ken", b"s3cret", b"k3y", b"c00kie", b"qu3ry"):
        assert secret not in dump
