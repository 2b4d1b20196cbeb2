"""A job on a local cluster of Dask's, under which a worker is killed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.bulk.cluster_kill import nodes_of
from tests.bulk.cluster_site import Nodes, Watcher, job_by_command, job_with_a_kill

# Dask's own processes say what they think of a worker that is killed, and leave sockets behind.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with nodes_of("dask") as nodes:
        yield nodes


def test_the_command_runs_on_a_cluster_too(nodes, tmp_path):
    with Watcher(0) as watcher:
        job_by_command(watcher, tmp_path, "--dask", nodes.address)


def test_a_killed_node_costs_no_url_no_politeness_and_nothing_that_was_committed(nodes, tmp_path):
    """And a poisoned partition stops nobody."""
    with Watcher() as watcher:
        killed = job_with_a_kill(nodes, tmp_path, watcher)
    assert killed.problems == []
    assert killed.report.failed_partitions
    assert len(killed.twice) <= len(killed.at_risk)
