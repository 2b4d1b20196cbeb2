"""Starts a writer of a sink again and again, and kills each start at some moment.

    python killed_writer.py KIND FOLDER STARTS

A start does what a resumed fetch does: it asks which shards of the dead start are there, removes
what is aside, and goes on.  Prints, as JSON, every shard that was published, and what was visible
when each start was killed.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from tests.bulk.sinks import page

from wherry.bulk import Shard, Sink, parse_sink


def visible(folder: Path) -> dict[str, int]:
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }


async def write(sink: Sink, start: int, dead: list[Shard], say: int) -> None:
    await sink.open(f"run.{start}")
    there = await sink.present(dead)
    await sink.discard()
    os.write(say, json.dumps(["resumed", sorted(there)]).encode() + b"\n")
    for number in range(1_000_000):
        for each in range(5):
            await sink.add(page(f"http://a.test/{start}/{number}/{each}", b"x" * (each * 9_000)))
        shards = await sink.prepare()
        rows = [[shard.name, shard.temporary, shard.count, shard.bytes] for shard in shards]
        os.write(say, json.dumps(["prepared", rows]).encode() + b"\n")
        await sink.publish(shards)
        os.write(say, json.dumps(["published", [shard.name for shard in shards]]).encode() + b"\n")


def run(kind: str, folder: Path, starts: int) -> None:
    chance = random.Random(7)
    sink = parse_sink(f"{kind}:{folder}")
    seen, published, prepared = [], [], []
    for start in range(starts):
        hear, say = os.pipe()
        child = os.fork()
        if not child:
            try:
                asyncio.run(write(sink, start, prepared, say))
            finally:
                os._exit(1)
        os.close(say)
        heard, lines = b"", chance.randint(1, 8)
        while heard.count(b"\n") < lines:
            heard += os.read(hear, 1 << 16)
        time.sleep(chance.random() * 0.01)  # the moment of the kill, not a wait
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        while more := os.read(hear, 1 << 16):
            heard += more
        os.close(hear)
        words = [json.loads(line) for line in heard.splitlines()]
        (_, resumed), *rest = words
        # Of what was prepared last, nobody heard the end.
        published += resumed
        prepared = [Shard(*row) for said, rows in rest if said == "prepared" for row in rows]
        for said, names in rest:
            if said == "published":
                published += names
                prepared = [shard for shard in prepared if shard.name not in names]
        seen.append(visible(folder))
    # The last dead start is cleaned up as well.
    asyncio.run(finish(sink, starts, prepared, published))
    print(json.dumps({"published": published, "seen": seen}))


async def finish(sink: Sink, start: int, dead: list[Shard], published: list[str]) -> None:
    await sink.open(f"run.{start}")
    published += await sink.present(dead)
    await sink.discard()
    await sink.close()


if __name__ == "__main__":
    run(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
