"""A job on a local cluster of Dask's, under which a worker is killed."""

from __future__ import annotations

import pytest
from tests.bulk.cluster_kill import nodes_of
from tests.bulk.cluster_site import Watcher, job_with_a_kill

# Dask's own processes say what they think of a worker that is killed, and leave sockets behind.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


def test_a_killed_node_costs_no_url_no_politeness_and_nothing_that_was_committed(tmp_path):
    """And a poisoned partition stops nobody."""
    with nodes_of("dask") as nodes, Watcher() as watcher:
        killed = job_with_a_kill(nodes, tmp_path, watcher)
    assert killed.problems == []
    assert killed.report.failed_partitions
    assert len(killed.twice) <= len(killed.at_risk)
