"""Kills a crawl at random points and starts it again, until it is done.

``python -m tests.bulk.kill 200 [SEED]`` kills 200 times and says what was seen.  The kills are of
two kinds: SIGKILL from outside when the server has been asked for so many pages, and by the
process's own hand at a step of a commit.  After each, what is visible in the output is noted.
What must hold:

- no URL is lost: at the end each is in the output, or failed as the server made it;
- none is there twice, and no line is half;
- none that was visible at a kill is asked for again.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass
class Seen:
    """What happened to one job.

    Args:
        kills: How often the process was killed.
        asked: Requests, by number of the page.
        most_again: Pages of one start that were not visible at its end, at most.
    """

    kills: int = 0
    asked: Counter[int] = field(default_factory=Counter)
    most_again: int = 0


def visible(folder: Path) -> list[int]:
    """The pages that are in the output."""
    found = []
    for path in folder.glob("pages/[!.]*.jsonl"):
        for line in path.read_text().splitlines():
            found.append(int(json.loads(line)["url"].rpartition("/")[2]))
    return found


def is_missing(number: int) -> bool:
    """The server has no such page; it is a leaf of the tree."""
    return number % 10 == 9


class Job:
    """One list or tree, fetched by a process that is killed again and again.

    Args:
        folder: Where the process works.
        count: Pages.
        dice: Says when it is killed.
    """

    def __init__(self, folder: Path, count: int, dice: random.Random) -> None:
        self._folder = folder
        self._count = count
        self._dice = dice
        self._process: asyncio.subprocess.Process | None = None
        self._left = 0  # requests until the next kill; 0 for none
        self._of_start: Counter[int] = Counter()
        self._open = 0  # connections that are served
        self._closed = asyncio.Event()
        self.seen = Seen()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            while True:
                word = (await reader.readuntil(b"\r\n\r\n")).split()[1][1:]
                if word == b"probe":
                    break
                number = int(word)
                self._of_start[number] += 1
                self._left -= 1
                if self._left == 0 and self._process is not None:
                    self._process.kill()
                body = b"%d" % self._count
                status = b"404 No" if is_missing(number) else b"200 OK"
                writer.write(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n" % (status, len(body)))
                writer.write(body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            self._open -= 1
            self._closed.set()

    async def heard_out(self, port: int) -> None:
        """Wait until all that a process sent before it died is read."""
        # Connections are accepted in their order: those before this one are served by then.
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /probe HTTP/1.1\r\n\r\n")
        await reader.read()
        writer.close()
        await writer.wait_closed()
        while self._open:
            self._closed.clear()
            await self._closed.wait()

    async def start(self, port: int, mode: str, kill: bool) -> int:
        """One start of the process; gives its exit status."""
        self._of_start.clear()
        step, self._left = 0, 0
        if kill and self._dice.random() < 0.5:
            self._left = self._dice.randrange(1, self._count // 2)
        elif kill:
            step = self._dice.randrange(1, self._count)
        command = ["-W", "error", "-m", "tests.bulk.kill_child"]
        words = [port, self._folder, self._count, mode, step]
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, *command, *map(str, words), cwd=ROOT
        )
        status = await self._process.wait()
        self._process = None
        await self.heard_out(port)
        return status

    async def run(self, mode: str, most: int) -> Seen:
        """Until it is done, killed at most so many times."""
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        seen, done = self.seen, set[int]()
        try:
            while True:
                status = await self.start(port, mode, seen.kills < most)
                again = done & self._of_start.keys()
                assert not again, f"what was visible is asked for again: {sorted(again)}"
                twice = [number for number, count in self._of_start.items() if count > 1]
                assert not twice, f"asked for twice by one start: {twice}"
                there = visible(self._folder)
                assert len(there) == len(set(there)), "a page is in the output twice"
                assert done <= set(there), "what was visible is so no more"
                done = set(there)
                seen.asked += self._of_start
                again_next = {each for each in self._of_start if not is_missing(each)} - done
                seen.most_again = max(seen.most_again, len(again_next))
                if status == 0:
                    break
                assert status == -9, f"it ended with {status}"
                seen.kills += 1
        finally:
            server.close()
        wanted = {number for number in range(self._count) if not is_missing(number)}
        if mode == "crawl":
            wanted = {number for number in wanted if not has_missing_parent(number)}
        assert done == wanted, f"lost: {sorted(wanted - done)}; more: {sorted(done - wanted)}"
        left = [path.name for path in self._folder.glob("pages/.*")]
        assert not left, f"left aside: {left}"
        return seen


def has_missing_parent(number: int) -> bool:
    """No page leads there: one above it in the tree is missing."""
    while number:
        number = (number - 1) // 2
        if is_missing(number):
            return True
    return False


async def kill_often(kills: int, seed: int, *, count: int = 60, each: int = 10) -> list[Seen]:
    """Jobs until there were so many kills.

    Args:
        kills: How many.
        seed: What chance begins with.
        count: Pages of each job.
        each: Kills of one job, at most.
    """
    dice = random.Random(seed)
    jobs: list[Seen] = []
    while (left := kills - sum(seen.kills for seen in jobs)) > 0:
        with tempfile.TemporaryDirectory() as folder:
            mode = ("list", "crawl")[len(jobs) % 2]
            job = Job(Path(folder), count, random.Random(dice.random()))
            jobs.append(await job.run(mode, min(each, left)))
    return jobs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kills", type=int, nargs="?", default=200)
    parser.add_argument("seed", type=int, nargs="?", default=1)
    given = parser.parse_args()
    kills, seed = given.kills, given.seed
    jobs = asyncio.run(kill_often(kills, seed))
    asked = sum((seen.asked for seen in jobs), Counter[int]())
    print(
        f"{sum(seen.kills for seen in jobs)} kills of {len(jobs)} jobs, seed {seed}: nothing lost,"
        f" nothing visible asked for again; {asked.total()} requests for"
        f" {sum(len(seen.asked) for seen in jobs)} pages; at most"
        f" {max(seen.most_again for seen in jobs)} of one start were fetched again"
    )


if __name__ == "__main__":
    main()
