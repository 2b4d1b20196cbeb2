"""The same job on a cluster of Dask's: a coroutine in a worker's loop for each partition.

    from wherry.bulk import Warc
    from wherry.bulk.dask import fetch

    report = fetch("s3://bucket/urls/*.txt", into=Warc("s3://bucket/warc/"), rate_per_host=1.0)

Without a cluster, one is started on this machine.  Needs the extra `dask`; every worker needs
wherry as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from uuid import uuid4

from distributed import Client, LocalCluster
from yarl import URL

from wherry.bulk.cluster.engine import Engine, RemoteWorker, WorkerLost
from wherry.bulk.cluster.job_handle import ClusterJob
from wherry.bulk.cluster.report import ClusterReport
from wherry.bulk.cluster.task_runner import Worker
from wherry.bulk.results import Result
from wherry.bulk.sinks.base import Sink


class _Hosted:
    """A worker as an actor: its coroutines run in the loop of Dask's worker."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    async def call(self, method: str, *arguments: Any) -> Any:
        return await getattr(self._worker, method)(*arguments)


class _DaskWorker:
    """A worker on another node, as the driver sees it."""

    def __init__(self, engine: DaskEngine, future: Any, actor: Any) -> None:
        self._engine = engine
        self._future = future  # as long as it is kept, the actor is
        self._actor = actor

    def call(self, method: str, *arguments: Any) -> Awaitable[Any]:
        return self._call(method, arguments)

    async def _call(self, method: str, arguments: tuple[Any, ...]) -> Any:
        try:
            with self._engine.current():  # an actor finds its client there
                answer = self._actor.call(method, *arguments)
            return await answer
        except Exception as exc:  # of any kind: it is what the worker's process raised
            raise WorkerLost(f"{type(exc).__name__}: {exc}") from exc

    def abandon(self) -> None:
        self._engine.end(self)

    async def end(self) -> None:
        """End its task, and let go of it."""
        with contextlib.suppress(WorkerLost, TimeoutError):
            async with asyncio.timeout(5):
                await self.call("end")
        self._future.release()


class DaskEngine(Engine):
    """A cluster of Dask's.

    Args:
        address: Of its scheduler, as `tcp://host:8786`; "local" starts a cluster on this machine.
        options: Further arguments of `distributed.Client`, `security` for one; of a local cluster,
            of `distributed.LocalCluster`.
    """

    def __init__(self, address: str = "local", options: dict[str, Any] | None = None) -> None:
        self._address = address
        self._options = options or {}
        self._cluster: Any = None
        self._client: Any = None
        self._ending: set[asyncio.Task[None]] = set()

    async def connect(self) -> None:
        target: Any = self._address
        options = dict(self._options)
        if self._address == "local":
            # Its usual port may be another's, and nobody else should see it.
            local = {"dashboard_address": "127.0.0.1:0", **options}
            self._cluster = target = await LocalCluster(asynchronous=True, **local)
            options = {}
        self._client = await Client(target, asynchronous=True, set_as_default=False, **options)

    async def nodes(self) -> dict[str, int]:
        # A worker has one loop, however many threads stand beside it.
        return dict.fromkeys(await self._client.nthreads(), 1)

    async def start(self, node: str, worker: Worker) -> RemoteWorker:
        future = self._client.submit(
            _Hosted,
            worker,
            key=f"wherry-{uuid4().hex}",
            actor=True,
            workers=[node],
            allow_other_workers=False,
            pure=False,
        )
        started = asyncio.ensure_future(future.result())
        try:
            while not (await asyncio.wait({started}, timeout=0.5))[0]:
                if node not in await self.nodes():
                    raise WorkerLost(f"the worker at {node} is gone")
            return _DaskWorker(self, future, started.result())
        except Exception as exc:
            raise WorkerLost(f"{type(exc).__name__}: {exc}") from exc
        finally:
            if not started.done():
                started.cancel()
                future.release()

    def current(self) -> contextlib.AbstractContextManager[Any]:
        """Where our client is that of whoever looks for one; it never is the program's default."""
        manager: contextlib.AbstractContextManager[Any] = self._client.as_current()
        return manager

    def end(self, worker: _DaskWorker) -> None:
        """End a worker, in a task of its own."""
        task = asyncio.ensure_future(worker.end())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def leave(self) -> None:
        await asyncio.gather(*self._ending, return_exceptions=True)
        if self._client is not None:
            await self._client.close()
        if self._cluster is not None:
            await self._cluster.close()


def job(
    urls: str | os.PathLike[str] | Iterable[str | URL],
    into: Sink,
    *,
    address: str = "local",
    checkpoint: str | os.PathLike[str] | None = None,
    partitions: int | None = None,
    lease: float = 30.0,
    attempts: int = 4,
    cluster_options: dict[str, Any] | None = None,
    **options: Any,
) -> ClusterJob:
    """A job whose results come one by one; the arguments are those of `fetch`.

    Example::

        with job("urls/*.txt", into=Jsonl("pages/")) as running:
            for result in running:
                print(result.url, result.error)
        print(running.report)
    """
    return ClusterJob(
        DaskEngine(address, cluster_options),
        urls,
        into,
        checkpoint=checkpoint,
        partitions=partitions,
        lease=lease,
        attempts=attempts,
        options=options,
    )


def fetch(
    urls: str | os.PathLike[str] | Iterable[str | URL],
    into: Sink,
    *,
    address: str = "local",
    checkpoint: str | os.PathLike[str] | None = None,
    partitions: int | None = None,
    lease: float = 30.0,
    attempts: int = 4,
    on_result: Callable[[Result], object] | None = None,
    cluster_options: dict[str, Any] | None = None,
    **options: Any,
) -> ClusterReport:
    """Fetch all of `urls` on a cluster, and say what became of them.

    The same call goes on where an earlier one was ended, by whatever.

    Args:
        urls: A path, pattern or URL of files of URLs, a line each; or the URLs, of any iterable.
        into: Where pages go: a folder that all nodes share, or a URL of fsspec's.
        address: Of the scheduler, as `tcp://host:8786`; "local" starts a cluster on this machine.
        checkpoint: Where the manifests go, a folder or a URL of fsspec's; `_wherry` in the sink's
            place by default.
        partitions: How many partitions a new run has; 4 for each processor by default.
        lease: Seconds that a worker goes on unheard, and that a partition of a lost node waits.
        attempts: Starts without headway until a partition is given up.
        on_result: Called with each `Result`, here.
        cluster_options: Further arguments of `distributed.Client`, or of a local cluster.
        options: Arguments of the `Fetcher` of each partition, as `per_host` and `rate_per_host`.

    Raises:
        TypeError: An option has no meaning on a cluster.
        ValueError: A number is out of its range.
        CheckpointError: Another program works on the same run, or its files are not ours.
        OSError: The input cannot be read, or there is no cluster.
    """
    return job(
        urls,
        into,
        address=address,
        checkpoint=checkpoint,
        partitions=partitions,
        lease=lease,
        attempts=attempts,
        cluster_options=cluster_options,
        **options,
    ).run(on_result)
