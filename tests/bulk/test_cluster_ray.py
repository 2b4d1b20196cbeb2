"""A job on a local cluster of Ray's: two nodes, one of which is killed."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from tests.bulk.cluster_kill import nodes_of
from tests.bulk.cluster_site import Nodes, Watcher, job_by_command, job_with_a_kill
from tests.left_out import needs

needs("ray")

# Ray leaves sockets behind.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with nodes_of("ray") as nodes:
        yield nodes


def test_the_command_finds_the_cluster(nodes, tmp_path):
    """As on a node that a cluster's own tool started, which says where it is in the environment."""
    with Watcher(0) as watcher:
        job_by_command(
            watcher, tmp_path, "--ray", "auto", env={**os.environ, "RAY_ADDRESS": nodes.address}
        )


def test_a_killed_node_costs_no_url_no_politeness_and_nothing_that_was_committed(nodes, tmp_path):
    """And a poisoned partition stops nobody."""
    with Watcher() as watcher:
        killed = job_with_a_kill(nodes, tmp_path, watcher)
    assert killed.problems == []
    assert killed.report.failed_partitions
    assert len(killed.twice) <= len(killed.at_risk)
