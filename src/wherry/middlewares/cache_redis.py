"""`RedisCacheStorage`: responses in a Redis server, which many programs on many machines may share.

Every change is one script, which Redis runs whole: entries, sizes and what was used last agree
however many write.  Needs the extra `redis`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from typing import Any

from wherry.middlewares.cache_fields import StoredResponse
from wherry.middlewares.cache_storage import (
    MAX_VARIANTS,
    MEBIBYTE,
    TOMBSTONE_SECONDS,
    pack_head,
    unpack,
)

# Keys: the entries of one URL (variant -> response), when each entry was used (URL and variant ->
# number), how large it is, how large all are, and when the URL was dropped.
# A number that grows with every use orders what was used: clocks of servers go back.
_USED = """
local function use(member)
    redis.call('ZADD', KEYS[2], redis.call('INCR', KEYS[6]), member)
end
"""
_LOAD = (
    _USED
    + """
local found = redis.call('HGETALL', KEYS[1])
local values = redis.call('TIME')
for at = 1, #found, 2 do
    use(ARGV[1] .. ' ' .. found[at])
    values[#values + 1] = found[at + 1]
end
return values
"""
)
# ARGV: URL, variant, response, size, most bytes, most variants, when it was asked for ('' for
# whenever), prefix of the entries.
_SAVE = (
    _USED
    + """
local dropped = redis.call('GET', KEYS[5])
if ARGV[7] ~= '' and dropped and tonumber(dropped) >= tonumber(ARGV[7]) then
    return 0
end
local function forget(member)
    local size = redis.call('HGET', KEYS[3], member)
    if size then
        redis.call('DECRBY', KEYS[4], size)
        redis.call('HDEL', KEYS[3], member)
    end
    redis.call('ZREM', KEYS[2], member)
    local at = string.find(member, ' ', 1, true)
    redis.call('HDEL', ARGV[8] .. string.sub(member, 1, at - 1), string.sub(member, at + 1))
end
local member = ARGV[1] .. ' ' .. ARGV[2]
forget(member)
if tonumber(ARGV[4]) > tonumber(ARGV[5]) then
    return 0
end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
redis.call('HSET', KEYS[3], member, ARGV[4])
redis.call('INCRBY', KEYS[4], ARGV[4])
use(member)
while redis.call('HLEN', KEYS[1]) > tonumber(ARGV[6]) do
    local oldest, least = nil, nil
    for _, variant in ipairs(redis.call('HKEYS', KEYS[1])) do
        local score = tonumber(redis.call('ZSCORE', KEYS[2], ARGV[1] .. ' ' .. variant) or 0)
        if least == nil or score < least then
            oldest, least = variant, score
        end
    end
    forget(ARGV[1] .. ' ' .. oldest)
end
while tonumber(redis.call('GET', KEYS[4]) or 0) > tonumber(ARGV[5]) do
    local first = redis.call('ZRANGE', KEYS[2], 0, 0)
    if #first == 0 then
        redis.call('SET', KEYS[4], 0)
        break
    end
    forget(first[1])
end
return 1
"""
)
_DROP = """
for _, variant in ipairs(redis.call('HKEYS', KEYS[1])) do
    local member = ARGV[1] .. ' ' .. variant
    local size = redis.call('HGET', KEYS[3], member)
    if size then
        redis.call('DECRBY', KEYS[4], size)
        redis.call('HDEL', KEYS[3], member)
    end
    redis.call('ZREM', KEYS[2], member)
end
redis.call('DEL', KEYS[1])
local now = redis.call('TIME')
redis.call('SET', KEYS[5], string.format('%d.%06d', now[1], now[2]), 'EX', ARGV[2])
"""


class RedisCacheStorage:
    """Keeps responses in a Redis server (6 or later), which many programs may share.

    What was used longest ago goes when `max_bytes` are full, however many programs write.  A
    server that does not answer within `timeout` costs the cache's service, not the request.

    Args:
        url: The server: "redis://127.0.0.1:6379/0", "rediss://" for TLS, "unix://" for a socket.
        max_bytes: How much is kept under `prefix`, 256 MiB by default.
        prefix: What the names of all keys begin with; programs with the same one share what is
            kept.
        timeout: How long to wait for the server each time, in seconds, 5 by default.
        **options: More for `redis.asyncio.Redis.from_url`: username, password, ssl_ca_certs ...
    """

    def __init__(
        self,
        url: str = "redis://127.0.0.1:6379/0",
        max_bytes: int = 256 * MEBIBYTE,
        *,
        prefix: str = "wherry",
        timeout: float = 5.0,
        **options: Any,
    ) -> None:
        self._url = url
        self._max_bytes = max_bytes
        self._options = {"socket_timeout": timeout, "socket_connect_timeout": timeout, **options}
        # The braces keep all keys on one node of a cluster, where scripts can reach them.
        self._prefix = f"{{{prefix}}}:"
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: Any = None
        self._scripts: dict[str, Any] = {}
        # How far the server's clock is ahead of ours, at least.
        self._ahead: float | None = None

    def _connect(self) -> None:
        """A client of the running loop: its connections are that loop's."""
        loop = asyncio.get_running_loop()
        if self._loop is loop:
            return
        from redis.asyncio import Redis

        self._client = Redis.from_url(self._url, **self._options)
        self._scripts = {text: self._client.register_script(text) for text in (_LOAD, _SAVE, _DROP)}
        self._loop = loop

    async def _run(self, script: str, key: str, *arguments: Any) -> Any:
        self._connect()
        prefix = self._prefix
        digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
        names = (f"url:{digest}", "used", "sizes", "total", f"dropped:{digest}", "uses")
        return await self._scripts[script](
            keys=[prefix + name for name in names], args=[digest, *arguments]
        )

    async def load(self, key: str) -> list[StoredResponse]:
        """All responses that are kept under `key`."""
        seconds, microseconds, *values = await self._run(_LOAD, key)
        self._ahead = int(seconds) + int(microseconds) / 1e6 - time.time()
        return [unpack(*value.split(b"\n", 1)) for value in values]

    async def save(self, key: str, stored: StoredResponse) -> None:
        """Keep `stored` under `key`, in place of the response of the same `variant`."""
        await self._save(key, stored, "")

    async def save_if_current(self, key: str, stored: StoredResponse) -> None:
        """Keep `stored` unless some program dropped `key` after the response was asked for."""
        if self._ahead is None:
            await self.load(key)
        assert self._ahead is not None
        await self._save(key, stored, f"{stored.asked_at + self._ahead:.6f}")

    async def _save(self, key: str, stored: StoredResponse, asked_at: str) -> None:
        variant = hashlib.sha256(json.dumps(stored.variant).encode()).hexdigest()[:32]
        await self._run(
            _SAVE,
            key,
            variant,
            pack_head(stored).encode() + b"\n" + stored.body,
            stored.size,
            self._max_bytes,
            MAX_VARIANTS,
            asked_at,
            f"{self._prefix}url:",
        )

    async def drop(self, key: str) -> None:
        """Forget all responses under `key`."""
        await self._run(_DROP, key, TOMBSTONE_SECONDS)

    async def close(self) -> None:
        """Close the connections; what is kept stays."""
        client, self._client = self._client, None
        if client is not None and self._loop is asyncio.get_running_loop():
            await client.aclose()
        self._loop = None
