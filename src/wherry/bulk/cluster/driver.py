"""What runs where the program is: who has which partition, until all are done.

One coroutine tends each partition: it starts a worker on a node, takes what comes, and starts
another when that one is lost, stopped or has failed.  A partition that makes no headway in
`attempts` starts is given up, and the others go on.  It knows workers and nodes; it knows no URL,
page or engine.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from wherry.bulk.cluster.engine import Engine, RemoteWorker, WorkerLost
from wherry.bulk.cluster.lease import ProcessName
from wherry.bulk.cluster.placement import next_move, roomiest
from wherry.bulk.cluster.task_runner import Batch, Task, Worker

_T = TypeVar("_T")

# Seconds that a worker may take to be there: its process has to start.
_START: Final = 120.0
# Seconds between two looks at the nodes.
_LOOK: Final = 0.5
# Starts in a row of which none even began until a partition is given up: it takes an engine some
# time to find out that a node is dead.
_NO_BEGINNING: Final = 10
# With more workers than these, none holds a call of the engine's open.
_MANY: Final = 100
# Seconds by which the driver waits longer than a worker's lease: for what was ready to run in a
# worker's loop when its time was over.
_MARGIN: Final = 0.5


@dataclass(slots=True)
class Outcome:
    """What became of the tasks.

    Args:
        values: What those gave that ended well, by partition.
        failures: Why the others did not.
        starts: How many workers were started.
        lost: How many were lost.
        moved: How often a partition moved to a node that had room.
    """

    values: dict[int, Any] = field(default_factory=dict)
    failures: dict[int, str] = field(default_factory=dict)
    starts: int = 0
    lost: int = 0
    moved: int = 0


class _Tended:
    """A partition that somebody tends."""

    __slots__ = ("idle", "moving", "settle", "unbegun", "worker")

    def __init__(self) -> None:
        self.idle = 0  # starts in a row without headway
        self.unbegun = 0  # starts in a row that did not begin
        self.settle = 0.0
        self.worker: RemoteWorker | None = None
        self.moving = False


class Driver:
    """Runs tasks on a cluster.

    Args:
        engine: The cluster, connected.
        task: Gives the task of a partition; called for each start with the partition's number.
        deliver: Takes a partition's items.
        room: How many items may be taken now.
        lease: Seconds that a worker goes on unheard.
        attempts: Starts without headway until a partition is given up.
        settle: Seconds between a worker's end and its successor's beginning, at least.
    """

    def __init__(
        self,
        engine: Engine,
        task: Callable[[int], Task],
        deliver: Callable[[int, list[Any]], None],
        room: Callable[[], int],
        lease: float = 30.0,
        attempts: int = 4,
        settle: float = 0.0,
    ) -> None:
        self._engine = engine
        self._task = task
        self._deliver = deliver
        self._room = room
        self._lease = lease
        self._attempts = attempts
        self._settle = settle
        self._nodes: dict[str, int] = {}
        self._owners: dict[int, str] = {}
        # Until when nothing is given to a node that may be dead: its engine may not know yet.
        self._suspects: dict[str, float] = {}
        self._tended: dict[int, _Tended] = {}
        self._changed = asyncio.Event()  # the nodes are others than before
        self._outcome = Outcome()

    async def run(self, partitions: list[int]) -> Outcome:
        """Run the tasks of some partitions until each is done or given up."""
        self._nodes = await self._engine.nodes()
        try:
            async with asyncio.TaskGroup() as group:
                looking = group.create_task(self._look())
                await asyncio.gather(
                    *(group.create_task(self._tend(number)) for number in partitions)
                )
                looking.cancel()
        finally:
            for tended in self._tended.values():
                if tended.worker is not None:
                    tended.worker.abandon()
        return self._outcome

    @property
    def owners(self) -> dict[int, str]:
        """The node that has each partition now."""
        return dict(self._owners)

    # --- one partition ----------------------------------------------------------------------------

    async def _tend(self, number: int) -> None:
        """See a partition through."""
        tended = self._tended[number] = _Tended()
        while True:
            node = await self._choose()
            self._owners[number] = node
            self._outcome.starts += 1
            try:
                batch = await self._one_start(number, node, tended)
            finally:
                self._owners.pop(number, None)
                tended.worker = None
            if batch is not None and batch.error is None and not batch.stopped:
                self._outcome.values[number] = batch.value
                return
            if batch is not None and batch.stopped:
                tended.moving = False
                self._outcome.moved += 1
            elif tended.idle >= self._attempts or tended.unbegun >= _NO_BEGINNING:
                error = "its worker was lost each time" if batch is None else batch.error
                self._outcome.failures[number] = str(error)
                return
            # What was lost was lost with a node, mostly: the engine needs a moment to see it.
            await asyncio.sleep(max(tended.settle, self._settle, 0 if batch else _LOOK))

    async def _choose(self) -> str:
        """The node for one more partition; waits until there is one."""
        while (node := roomiest(self._trusted(), Counter(self._owners.values()))) is None:
            self._changed.clear()
            await self._changed.wait()
        return node

    def _trusted(self) -> dict[str, int]:
        """The nodes that no worker was lost on a moment ago, if there are any."""
        now = time.monotonic()
        self._suspects = {node: end for node, end in self._suspects.items() if end > now}
        trusted = {node: slots for node, slots in self._nodes.items() if node not in self._suspects}
        return trusted or self._nodes

    async def _one_start(self, number: int, node: str, tended: _Tended) -> Batch | None:
        """The last batch of a worker, when it has ended; None if it was lost, and has ended too."""
        called: float | None = None
        process: ProcessName | None = None
        tended.unbegun += 1
        worker: RemoteWorker | None = None
        try:
            starting = self._engine.start(node, Worker(self._task(number), self._lease))
            worker = await _within(_START, starting)
            process = await _within(_START, worker.call("begin"))
            tended.worker = worker
            tended.unbegun = 0
            tended.idle += 1
            while True:
                called = time.monotonic()
                batch = await self._take(worker, process)
                if batch.progress:
                    tended.idle = 0
                tended.settle = batch.settle
                self._deliver(number, batch.items)
                if batch.ended:
                    return batch
                if not batch.items and not self._room():
                    await asyncio.sleep(self._lease / 20)  # the program is slower than the cluster
        except (WorkerLost, TimeoutError):
            self._outcome.lost += 1
            self._suspects[node] = time.monotonic() + self._lease
            if called is not None:  # else its task never began
                await self._until_ended(called, process)
            return None
        finally:
            if worker is not None:
                worker.abandon()

    async def _take(self, worker: RemoteWorker, process: ProcessName | None) -> Batch:
        """What a worker has.

        Raises:
            WorkerLost: Its process has ended.
            TimeoutError: Its lease is over.
        """
        wait = self._lease / 4 if len(self._owners) <= _MANY else 0.0
        asked = asyncio.ensure_future(worker.call("take", self._room(), wait))
        try:
            async with asyncio.timeout(self._lease):
                # An engine may take long to find out.
                while not (await asyncio.wait({asked}, timeout=_LOOK))[0]:
                    if process is not None and process.has_ended():
                        raise WorkerLost("its process has ended")
            batch: Batch = asked.result()
        finally:
            asked.cancel()
        if not (wait or batch.items or batch.ended):
            await asyncio.sleep(self._lease / 6)
        return batch

    async def _until_ended(self, called: float, process: ProcessName | None) -> None:
        """Wait until a worker that is not heard has ended for certain."""
        ends = called + self._lease + _MARGIN
        while (left := ends - time.monotonic()) > 0:
            if process is not None and process.has_ended():
                return
            await asyncio.sleep(min(left, 0.1))

    # --- the nodes --------------------------------------------------------------------------------

    async def _look(self) -> None:
        """Follow which nodes there are, and use those that come."""
        while True:
            await asyncio.sleep(_LOOK)
            nodes = await self._engine.nodes()
            if nodes != self._nodes:
                self._nodes = nodes
                self._changed.set()
            await self._balance()

    async def _balance(self) -> None:
        """Move a partition, where that helps; one at a time."""
        if any(tended.moving for tended in self._tended.values()):
            return
        move = next_move(self._trusted(), self._owners)
        if move is None:
            return
        tended = self._tended[move[0]]
        if tended.worker is None:
            return  # it is not there yet
        tended.moving = True
        try:
            await _within(self._lease, tended.worker.call("stop"))
        except (WorkerLost, TimeoutError):
            tended.moving = False  # who tends it finds out as well


async def _within(seconds: float, waited: Awaitable[_T]) -> _T:
    async with asyncio.timeout(seconds):
        return await waited
