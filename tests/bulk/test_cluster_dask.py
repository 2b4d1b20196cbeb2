"""A job on a local cluster of Dask's, under which a worker is killed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from tests.bulk.cluster_kill import nodes_of
from tests.bulk.cluster_site import Nodes, Watcher, job_with_a_kill

# Dask's own processes say what they think of a worker that is killed, and leave sockets behind.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with nodes_of("dask") as nodes:
        yield nodes


def test_the_command_runs_on_a_cluster_too(nodes, tmp_path):
    with Watcher(0) as watcher:
        lists = tmp_path / "urls.txt"
        lists.write_text("".join(f"http://127.0.0.1:{watcher.port}/{page}\n" for page in range(50)))
        command = [
            sys.executable, "-m", "wherry.cli", "fetch", "-i", str(lists), "--into",
            f"jsonl:{tmp_path / 'out'}", "--dask", nodes.address,
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert "50 of 50 pages" in done.stdout
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "0 of 0 pages" in done.stdout
        assert "50 were there before" in done.stdout
        assert set(watcher.asked.values()) == {1}


def test_a_killed_node_costs_no_url_no_politeness_and_nothing_that_was_committed(nodes, tmp_path):
    """And a poisoned partition stops nobody."""
    with Watcher() as watcher:
        killed = job_with_a_kill(nodes, tmp_path, watcher)
    assert killed.problems == []
    assert killed.report.failed_partitions
    assert len(killed.twice) <= len(killed.at_risk)
