"""The shape of what the benchmarks measure: how many calls, wake-ups and threads, and no growth.
Never how long it took.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.benchmarks import __main__ as bench
from tests.benchmarks import page
from tests.benchmarks.cluster import BenchCluster
from tests.benchmarks.hours import apart
from tests.benchmarks.moves import Moves
from tests.benchmarks.rest import THREADS
from tests.support.process_probe import Usage

CALLS = 8  # of a failover at most: attach, its polls and reads, detach, its polls and reads
CALLS_OF_A_STOP = 16  # of both nodes
GROWN = 20  # objects: a cache or two that is filled late, not something for each failover
HEARTBEATS = 12
WAKES = 2.2  # for each heartbeat sent or heard, all threads: one, and what comes seldom (1.1 to 1.5 on a machine that is busy)


pytestmark = pytest.mark.xdist_group("benchmarks")


@pytest.fixture(scope="module")
def moved() -> Iterator[Moves]:
    """Two deaths and two planned stops."""
    moves = Moves(0.5)
    moves.run(2)
    return moves


def test_a_failover_begins_with_the_attach_on_an_open_connection(moved: Moves) -> None:
    assert moved.reads.samples == [0, 0]
    assert moved.shaken.samples == [0, 0]


def test_a_failover_takes_few_calls(moved: Moves) -> None:
    assert len(moved.kill_calls.samples) == 2
    assert min(moved.kill_calls.samples) >= 4  # else it counts something else
    assert max(moved.kill_calls.samples) <= CALLS


def test_a_planned_stop_takes_few_calls_and_leaves_no_hole(moved: Moves) -> None:
    assert moved.bare.samples == [0, 0]
    assert max(moved.stop_calls.samples) <= CALLS_OF_A_STOP


@pytest.mark.timing
def test_a_node_at_rest_wakes_for_heartbeats_only_and_has_its_threads_only() -> None:
    with tempfile.TemporaryDirectory() as folder, BenchCluster(3, 0.2, options=(), folder=Path(folder)) as cluster:
        cluster.start()
        cluster.until(lambda: cluster.holders() == {"n1"}, "n1 holds")
        node = cluster["n3"]
        cluster.until(lambda: all(node.hears(cluster[other]) for other in ("n1", "n2")), "n3 hears the others")

        def beats() -> int:
            return len(cluster.observer.heard)

        began, before = beats(), Usage.of(node.pid)
        cluster.until(lambda: beats() >= began + 3 * HEARTBEATS, "all three beat")
        taken = Usage.of(node.pid)
        woken = (taken.sleeps - before.sleeps) / (beats() - began)
        assert 0.3 < woken < WAKES
        assert taken.threads == THREADS


def test_nothing_grows_and_a_quiet_hour_takes_few_calls() -> None:
    found = apart(2, 50)
    assert found["day's objects"][0] <= GROWN
    assert found["failovers' objects"][0] <= GROWN
    assert max(found["failover"]) <= CALLS
    assert 100 < max(found["master"]) <= 500  # three reads every 30 s, two lists every 5 minutes
    assert max(found["backup"]) <= 260


def test_every_line_of_the_page_names_a_part_and_a_figure_that_exist() -> None:
    assert {part for part, _, _ in page.LINES} <= set(bench.ALL)
    for part, name, _ in page.LINES:
        if part.startswith("failover-"):
            assert name in [figure.name for figure in Moves(float(part.removeprefix("failover-"))).figures]
