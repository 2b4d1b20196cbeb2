"""The same job on a cluster of Ray's: an actor for each partition.

    from wherry.bulk import Warc
    from wherry.bulk.ray import fetch

    report = fetch("s3://bucket/urls/*.txt", into=Warc("s3://bucket/warc/"), rate_per_host=1.0)

Without a cluster, one is started on this machine, without Ray's usage statistics.  Needs the extra
`ray`; every node needs wherry as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from yarl import URL

from wherry.bulk.cluster.engine import Engine, RemoteWorker, WorkerLost
from wherry.bulk.cluster.job_handle import ClusterJob
from wherry.bulk.cluster.report import ClusterReport
from wherry.bulk.cluster.task_runner import Worker
from wherry.bulk.results import Result
from wherry.bulk.sinks.base import Sink


class _Hosted:
    """A worker as an actor."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    async def call(self, method: str, *arguments: Any) -> Any:
        return await getattr(self._worker, method)(*arguments)


class _RayWorker:
    """A worker on another node, as the driver sees it."""

    def __init__(self, engine: RayEngine, actor: Any) -> None:
        self._engine = engine
        self._actor = actor

    def call(self, method: str, *arguments: Any) -> Awaitable[Any]:
        return self._call(method, arguments)

    async def _call(self, method: str, arguments: tuple[Any, ...]) -> Any:
        try:
            return await self._actor.call.remote(method, *arguments)
        except RayError as exc:
            raise WorkerLost(str(exc)) from exc

    def abandon(self) -> None:
        self._engine.end(self)

    async def end(self) -> None:
        """End its task, which commits what it has, and its process."""
        with contextlib.suppress(WorkerLost, TimeoutError):
            async with asyncio.timeout(5):
                await self.call("end")
        with contextlib.suppress(Exception):
            ray.kill(self._actor)


class RayEngine(Engine):
    """A cluster of Ray's.

    Args:
        address: Of its head, `host:port` or `ray://…`; "auto" joins the one that this machine
            belongs to, or starts one.
        options: Further arguments of `ray.init`.
    """

    def __init__(self, address: str = "auto", options: dict[str, Any] | None = None) -> None:
        self._address = address
        self._options = options or {}
        self._joined = False
        self._ending: set[asyncio.Task[None]] = set()

    def prepare(self) -> None:
        if ray.is_initialized():
            return  # the program's own
        # Asked for by nobody; who wants them says so in the environment.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        options = {
            "log_to_driver": False,
            "include_dashboard": False,
            "logging_level": logging.WARNING,
            **self._options,
        }
        address = None if self._address == "auto" else self._address
        if address is not None:
            options.pop("include_dashboard")
        ray.init(address, **options)
        self._joined = True

    async def connect(self) -> None:
        """There is nothing left to do."""

    async def nodes(self) -> dict[str, int]:
        found = await asyncio.to_thread(ray.nodes)
        # Who has no processor is there for others' work: a head that shall run nothing.
        return {
            node["NodeID"]: processors
            for node in found
            if node["Alive"] and (processors := int(node["Resources"].get("CPU", 0))) > 0
        }

    async def start(self, node: str, worker: Worker) -> RemoteWorker:
        hosted: Any = ray.remote(_Hosted)
        here = NodeAffinitySchedulingStrategy(node_id=node, soft=False)
        try:
            actor = hosted.options(
                num_cpus=0, max_restarts=0, max_task_retries=0, scheduling_strategy=here
            ).remote(worker)
        except RayError as exc:
            raise WorkerLost(str(exc)) from exc
        return _RayWorker(self, actor)

    def end(self, worker: _RayWorker) -> None:
        """End a worker, in a task of its own."""
        task = asyncio.ensure_future(worker.end())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def leave(self) -> None:
        await asyncio.gather(*self._ending, return_exceptions=True)
        if self._joined:
            await asyncio.to_thread(ray.shutdown)


def job(
    urls: str | os.PathLike[str] | Iterable[str | URL],
    into: Sink,
    *,
    address: str = "auto",
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
        RayEngine(address, cluster_options),
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
    address: str = "auto",
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
        address: Of the cluster's head, `host:port`; "auto" joins the one that this machine belongs
            to, or starts one on it.
        checkpoint: Where the manifests go, a folder or a URL of fsspec's; `_wherry` in the sink's
            place by default.
        partitions: How many partitions a new run has; 4 for each processor by default.
        lease: Seconds that a worker goes on unheard, and that a partition of a lost node waits.
        attempts: Starts without headway until a partition is given up.
        on_result: Called with each `Result`, here.
        cluster_options: Further arguments of `ray.init`.
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
