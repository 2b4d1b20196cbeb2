"""What is asked of Ray and Dask: which nodes there are, and to run a `Worker` on one of them.

That is all: who has which partition, what becomes of it when a node dies, and how results come back
is decided in `driver` and `task_runner`, the same for both.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable
from typing import Any, Protocol

from wherry.bulk.cluster.task_runner import Worker


class WorkerLost(Exception):
    """A worker does not answer, and never will: its process or its node is gone."""


class RemoteWorker(Protocol):
    """A `Worker` on another node."""

    def call(self, method: str, *arguments: Any) -> Awaitable[Any]:
        """Call a method of it.

        Raises:
            WorkerLost: It is gone.
        """

    def abandon(self) -> None:
        """End it if it is still there; nobody waits for that, and it may fail."""


class Engine(ABC):
    """A cluster, while the program is connected to it."""

    def prepare(self) -> None:  # noqa: B027
        """What must happen in the program's own thread, before `connect`."""

    @abstractmethod
    async def connect(self) -> None:
        """Join the cluster, or start one on this machine.

        Raises:
            OSError: There is none.
        """

    @abstractmethod
    async def nodes(self) -> dict[str, int]:
        """The living nodes, and how many workers each should have beside the others' number."""

    @abstractmethod
    async def start(self, node: str, worker: Worker) -> RemoteWorker:
        """Bring a worker to a node; nothing of it runs yet.

        Raises:
            WorkerLost: The node is gone.
        """

    @abstractmethod
    async def leave(self) -> None:
        """Leave the cluster; end it if `connect` started it."""
