"""A real node in a flood, on loopback: heartbeats come through, nobody is buried alive, and neither the log nor the memory grows.

`python -m tests.support.flood` measures; here is the shape of what it finds, for machines of any speed.
"""

from __future__ import annotations

import re

import pytest

from tests.support.flood import KEY, KINDS, Flood, resident
from tests.support.parallel import (
    New,
    beside,
    outcomes,  # noqa: F401
)
from tests.support.process import Process

RATE = 5_000  # a second
INTERVAL = 0.5
GROWTH = 4.0  # MiB


def dropped(node: Process) -> int:
    """By the kernel, as the node tells it when the flood is over."""
    return sum(int(found[1]) for line in node.log if (found := re.search(r"the kernel dropped (\d+) datagrams", line)))


@pytest.mark.parametrize("kind", KINDS)
@beside
def test_a_flood_buries_nobody_and_fills_nothing(new: New, kind: str) -> None:
    with new(2, interval=INTERVAL, ratio=4, options=()) as cluster:
        for each in cluster.nodes.values():
            each.env["IF_AUTH_KEY"] = KEY
        cluster.start()
        cluster.settle("n1")
        node, mark = cluster["n2"], cluster.mark
        lines, memory = {each.name: len(each.log) for each in cluster.nodes.values()}, resident(node.pid)
        beats = len(cluster.observer.of(node))
        with Flood(cluster, node, kind, RATE) as flood:
            cluster.until(lambda: node.logged(" flooded: 1000"), "the node notices")
            cluster.until(lambda: len(cluster.observer.of(node)) > beats + 10, "the node beats on")
            grown = resident(node.pid) - memory
        assert flood.sent > 2000
        cluster.until(lambda: node.logged("no longer flooded"), "the node notices the end")
        assert grown < GROWTH
        assert [line for each in cluster.nodes.values() for line in each.logged(" is dead")] == []
        assert cluster.moves(mark) == []
        told = {each.name: len(each.log) - lines[each.name] for each in cluster.nodes.values()}
        assert told["n1"] <= 1
        assert told["n2"] <= 110  # a hundred strangers are told apart, and then no more
        assert len(node.logged(" flooded: 1000")) == 1
        if kind != "forged":  # that looks like a member's, but for the proof
            assert dropped(node) > flood.sent / 2
        cluster.settle("n1")
