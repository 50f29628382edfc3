"""A real node in a flood: heartbeats get through, no peer seems dead, log and memory stay small."""

from __future__ import annotations

import re

import pytest

from tests.support.cluster import Cluster
from tests.support.flood import KEY, Flood
from tests.support.process import Process
from tests.support.process_probe import resident

RATE = 5_000  # a second
INTERVAL, RATIO = 0.25, 8
GROWTH = 4096  # KiB


def dropped(node: Process) -> int:
    """Return how many datagrams the kernel dropped, as the node reports at the end of the flood."""
    return sum(int(re.findall(r"\d+", entry["EXOIP_REASON"])[0]) for entry in node.events("flood-over"))


@pytest.mark.parametrize("kind", ["strangers", "forged"])  # what the kernel drops, and what it cannot
def test_a_flood_buries_nobody_and_fills_nothing(kind: str) -> None:
    with Cluster(2, interval=INTERVAL, ratio=RATIO, options=()) as cluster:
        for each in cluster.nodes.values():
            each.env["IF_AUTH_KEY"] = KEY
        cluster.start()
        cluster.settle("n1")
        node, mark = cluster["n2"], cluster.mark
        logged, memory = {each.name: len(each.entries) for each in cluster.nodes.values()}, resident(node.pid)
        beats = len(cluster.observer.of(node))
        with Flood(cluster, node, kind, RATE) as flood:
            cluster.until(lambda: node.events("flooded"), "the node notices")
            cluster.until(lambda: len(cluster.observer.of(node)) > beats + 10, "the node beats on")
            grown = resident(node.pid) - memory
        assert flood.sent > 2000
        cluster.until(lambda: node.events("flood-over"), "the node notices the end")
        assert grown < GROWTH
        assert not any(each.events("peer-dead") for each in cluster.nodes.values())
        assert cluster.moves(mark) == []
        more = {each.name: len(each.entries) - logged[each.name] for each in cluster.nodes.values()}
        assert more["n1"] <= 1
        assert more["n2"] <= 110  # a hundred strangers are logged one by one, and then no more
        assert len(node.events("flooded")) == 1
        if kind != "forged":  # that looks like a member's, but for the proof
            assert dropped(node) > flood.sent / 2
        cluster.settle("n1")


def test_a_clone_that_starts_in_a_flood_does_not_take_part() -> None:
    """The kernel drops what no member can have sent, but not what a clone sends to itself."""
    with Cluster(3, interval=INTERVAL, ratio=RATIO, options=()) as cluster:
        clone = cluster["n3"]
        clone.words += ["-i", cluster["n1"].id, "-P", "5"]
        cluster.start("n1", "n2")
        cluster.settle("n1")
        with Flood(cluster, clone, "strangers", RATE):
            clone.start()
            cluster.until(lambda: clone.events("flooded"), "it notices the flood")
            for _ in cluster.watch(2 * cluster.dead_time):
                assert clone.role in ("", "LISTENING")
        assert clone.events("same-id")
        assert (clone.role, cluster.holders()) == ("LISTENING", {"n1"})
