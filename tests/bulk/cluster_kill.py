"""Kill a node of a cluster in the middle of a job, many times, and say what came of it.

    python -m tests.bulk.cluster_kill 200            # half of them on Ray, half on Dask
    python -m tests.bulk.cluster_kill 20 --engine dask --seed 7

Each run kills at another moment.  The last line says how many ended as they must: all URLs done, no
host asked by two workers at once, nothing asked for again that was committed, and no URL of a living
node asked for twice.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from tests.bulk.cluster_site import Killed, Nodes, Watcher, job_with_a_kill


class RayNodes(Nodes):
    """A cluster of Ray's on this machine: a head, where the program is, and a node to be killed."""

    partitions = 4

    def __init__(self) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        from ray.cluster_utils import Cluster

        self._small = {"object_store_memory": 80 * 2**20, "num_cpus": 1}
        self._cluster: Any = Cluster(
            initialize_head=True, head_node_args={**self._small, "include_dashboard": False}
        )
        self._victim: Any = None
        self.renew()

    @property
    def address(self) -> str:
        """Of the head."""
        found: str = self._cluster.address
        return found

    def renew(self) -> None:
        for left in reversed(range(5)):
            if self._victim is not None:
                return
            try:
                self._victim = self._cluster.add_node(**self._small)
            except Exception:  # Ray gives a node 30 s to start, and nothing lengthens that
                if not left:
                    raise

    def engine(self) -> Any:
        from wherry.bulk.ray import RayEngine

        return RayEngine(self._cluster.address)

    def may_kill(self, node: str) -> bool:
        return self._victim is not None and node == self._victim.node_id

    def kill(self, node: str) -> None:
        victim, self._victim = self._victim, None
        # A machine that is lost takes all with it; a worker whose raylet alone is gone goes on for
        # a while, and what it asks for meanwhile nobody could count.
        for started in victim.all_processes["raylet"]:
            for process in psutil.Process(started.process.pid).children(recursive=True):
                process.kill()
        self._cluster.remove_node(victim, allow_graceful=False)

    def close(self) -> None:
        import ray

        ray.shutdown()
        self._cluster.shutdown()


class DaskNodes(Nodes):
    """A cluster of Dask's on this machine: three workers, and nannies that replace a dead one."""

    partitions = 6

    def __init__(self) -> None:
        self._cluster: Any = None
        self.renew()

    @property
    def address(self) -> str:
        """Of the scheduler."""
        found: str = self._cluster.scheduler_address
        return found

    def renew(self) -> None:
        # A new cluster: a nanny that has replaced some workers replaces no more.
        if self._cluster is None:
            from distributed import LocalCluster

            self._cluster = LocalCluster(
                n_workers=3, threads_per_worker=1, dashboard_address="127.0.0.1:0"
            )

    def engine(self) -> Any:
        from wherry.bulk.dask import DaskEngine

        return DaskEngine(self.address)

    def kill(self, node: str) -> None:
        pids = {each.worker_address: each.pid for each in self._cluster.workers.values()}
        os.kill(pids[node], signal.SIGKILL)

    def close(self) -> None:
        if self._cluster is not None:
            self._cluster.close()
            self._cluster = None


NODES = {"ray": RayNodes, "dask": DaskNodes}


@contextmanager
def nodes_of(engine: str) -> Iterator[Nodes]:
    """A cluster, for as long as it is needed."""
    environ = dict(os.environ)
    nodes = NODES[engine]()
    try:
        yield nodes
    finally:
        nodes.close()
        # Dask's nannies leave this process what they tell their workers: MALLOC_TRIM_THRESHOLD_,
        # with which every program that comes after gives its heap back all the time.
        os.environ.clear()
        os.environ.update(environ)


def one(nodes: Nodes, chance: random.Random) -> Killed:
    """One job whose node is killed."""
    nodes.renew()
    with Watcher() as watcher, tempfile.TemporaryDirectory(prefix="wherry-kill-") as folder:
        return job_with_a_kill(
            nodes, Path(folder), watcher, poison=chance.random() < 0.2,
            after=chance.uniform(0.01, 0.8),
        )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("times", type=int)
    parser.add_argument("--engine", choices=(*NODES, "both"), default="both")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    good = done = 0
    for engine in NODES if asked.engine == "both" else [asked.engine]:
        times = asked.times // (len(NODES) if asked.engine == "both" else 1)
        with nodes_of(engine) as nodes:
            for number in range(times):
                killed = one(nodes, random.Random(f"{asked.seed} {engine} {number}"))
                if engine == "dask":
                    nodes.close()
                done += 1
                good += not killed.problems
                print(
                    f"{engine} {number}: {killed.seconds:.1f} s, {len(killed.urls)} URLs, "
                    f"{len(killed.twice)} asked for twice of {len(killed.at_risk)} under way, "
                    f"{killed.report.lost} lost, {killed.report.moved} moved, least gap of ten "
                    f"{killed.watcher.least_gap(10):.2f} s: {killed.problems or 'well'}",
                    flush=True,
                )
    print(f"{good} of {done} ended as they must")
    return 0 if good == done else 1


if __name__ == "__main__":
    sys.exit(main())
