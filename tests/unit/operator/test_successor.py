"""Who would take over, why nobody could, and what comes after: of real nodes in virtual time."""

from __future__ import annotations

import math

import pytest

from exoip.operator.successor import afterwards, obstacle, successor
from tests.simulation.world import EIP, instance_id
from tests.support.virtual import Bench, backup, master


def label(wanted: str) -> str:
    return next(name for name in "amz" if instance_id(name) == wanted)


def holder(*, priority: int = 10, preempt_delay: float = 0.0, **peers: int) -> Bench:
    """A master that holds, beside peers that beat these priorities."""
    bench = Bench(priority=priority, preempt_delay=preempt_delay)
    bench.until(lambda: bench.view.holds)
    bench.beating.update(peers)
    bench.advance(2.0)
    return bench


def test_the_best_fit_peer_takes_over():
    view = holder(a=30, z=20).view
    found = successor(view)
    assert found is not None
    assert label(found.instance_id) == "z"
    assert obstacle(view, EIP, label) == ""


def test_of_equal_priorities_the_lower_id_as_the_election_has_it():
    found = successor(holder(a=20, z=20).view)
    assert found is not None
    assert label(found.instance_id) == "a"


@pytest.mark.parametrize("unable", [253, 254, 255])
def test_who_can_not_is_passed_over(unable):
    found = successor(holder(a=unable, z=90).view)
    assert found is not None
    assert label(found.instance_id) == "z"


def test_a_dead_peer_takes_nothing():
    bench = holder(a=20)
    del bench.beating["a"]
    bench.advance(4.0)
    assert successor(bench.view) is None
    assert obstacle(bench.view, EIP, label) == "no node can take over: a is not heard; z is not heard"


@pytest.mark.parametrize(
    ("priority", "why"),
    [(253, "holds it, but is unfit"), (254, "is unfit, drained, or releasing it"), (255, "is leaving")],
)
def test_why_nobody_could(priority, why):
    view = holder(a=priority).view
    assert obstacle(view, EIP, label).startswith(f"no node can take over: a {why}")


def test_without_peers_nobody_could():
    bench = Bench(peers="")
    bench.until(lambda: bench.view.holds)
    assert obstacle(bench.view, EIP, label) == "no node can take over: no peer exists"


def test_what_one_does_not_hold_one_can_not_hand_over():
    assert obstacle(Bench().view, EIP, label) == f"this node does not hold {EIP}"
    assert obstacle(backup().view, EIP, label) == f"this node does not hold {EIP}; the master is a"


def test_who_is_leaving_or_hands_over_already():
    bench = holder(a=20)
    bench.node.set_unfit("operator", "drained", bench.now)
    assert "this node is BACKUP and releases" in obstacle(bench.view, EIP, label)
    bench = holder(a=20)
    bench.node.leave(bench.now)
    assert obstacle(bench.view, EIP, label) == "this node is already leaving"


def test_what_comes_after():
    own = instance_id("m")
    assert afterwards(master().view, own, 600.0, label) == "it moves as soon as another node can take over"
    assert afterwards(holder(a=20).view, own, 600.0, label) == (
        "this node is the better one (10 against 20) and takes it back after 600 s"
    )
    assert "takes it back after 60 s and the preemption delay of 9 s" in (
        afterwards(holder(a=20, preempt_delay=9.0).view, own, 60.0, label)
    )
    assert afterwards(holder(a=20, preempt_delay=math.inf).view, own, 60.0, label) == (
        "then it stays with a, because of --no-preempt"
    )


def test_after_it_went_to_a_better_node_it_stays_there():
    bench = holder(a=5, preempt_delay=math.inf)  # a is better, but the delay keeps it here
    assert afterwards(bench.view, instance_id("m"), 600.0, label) == "then it stays with a, which is the better node"
    assert "takes it back" in afterwards(holder(z=10).view, instance_id("m"), 600.0, label)
    equal = holder(a=10, preempt_delay=60.0).view
    assert afterwards(equal, instance_id("m"), 600.0, label) == "then it stays with a, which is the better node"
