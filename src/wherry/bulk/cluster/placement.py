"""Which node has which partition.  Pure: tables in, a decision out.

All partitions run at the same time, for what limits a polite crawl is the hosts' patience and not
the nodes' processors; a node has as many of them as its slots are worth.  Only whole partitions
move.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping


def roomiest(slots: Mapping[str, int], loads: Mapping[str, int]) -> str | None:
    """The node that one more partition burdens least; None if there is no node.

    Args:
        slots: What each living node is worth, at least 1.
        loads: How many partitions it has.
    """
    return min(slots, key=lambda node: ((loads.get(node, 0) + 1) / slots[node], node), default=None)


def next_move(slots: Mapping[str, int], owners: Mapping[int, str]) -> tuple[int, str] | None:
    """The partition that should move, and the node that should have it; None if all is well.

    A move costs its partition a pause, so it must leave both nodes less burdened than the fuller
    one was: repeated, it ends.

    Args:
        slots: What each living node is worth.
        owners: The node of each partition that runs.
    """
    loads = Counter(node for node in owners.values() if node in slots)
    to = roomiest(slots, loads)
    if to is None or not loads:
        return None
    fullest = max(loads, key=lambda node: (loads[node] / slots[node], node))
    if (loads[to] + 1) / slots[to] >= loads[fullest] / slots[fullest]:
        return None
    return max(number for number, node in owners.items() if node == fullest), to
