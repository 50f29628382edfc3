"""Who would take over, why no node could, and what happens afterwards: nodes in virtual time."""

from __future__ import annotations

import math

import pytest

from exoip.operator.successor import afterwards, obstacle, successor
from tests.simulation.world import EIP, instance_id
from tests.support.single_node import SingleNode, backup


def label(wanted: str) -> str:
    return next(name for name in "amz" if instance_id(name) == wanted)


def holder(*, priority: int = 10, preempt_delay: float = 0.0, **peers: int) -> SingleNode:
    """A master that holds, beside peers that advertise these priorities."""
    bench = SingleNode(priority=priority, preempt_delay=preempt_delay)
    bench.until(lambda: bench.view.holds)
    bench.beating.update(peers)
    bench.advance(2.0)
    return bench


@pytest.mark.parametrize(
    ("peers", "name"),
    [
        ({"a": 30, "z": 20}, "z"),
        ({"a": 20, "z": 20}, "a"),  # of equal priorities the lower id, as in the election
        ({"a": 253, "z": 90}, "z"),  # those that cannot are passed over
        ({"a": 254, "z": 90}, "z"),
        ({"a": 255, "z": 90}, "z"),
    ],
)
def test_the_best_fit_peer_takes_over(peers, name):
    view = holder(**peers).view
    found = successor(view)
    assert found is not None
    assert label(found.instance_id) == name
    assert obstacle(view, EIP, label) == ""


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
def test_why_no_node_could(priority, why):
    view = holder(a=priority).view
    assert obstacle(view, EIP, label).startswith(f"no node can take over: a {why}")


@pytest.mark.parametrize("others", [{}, {"z": 30}])
@pytest.mark.parametrize("delay", [0.0, math.inf])
def test_a_better_one_that_does_not_come_to_hold_takes_nothing(others, delay):
    bench = SingleNode(priority=20, preempt_delay=delay)
    bench.beating.update(a=10, **others)
    bench.until(lambda: bench.view.holds)
    assert bench.view.reason.endswith(f", {instance_id('a')} does not hold the Elastic IP")
    assert successor(bench.view) is None
    assert "a is the best, but does not hold it when it is the master" in obstacle(bench.view, EIP, label)


def test_without_peers_no_node_could():
    bench = SingleNode(peers="")
    bench.until(lambda: bench.view.holds)
    assert obstacle(bench.view, EIP, label) == "no node can take over: no peer exists"


def test_a_node_that_does_not_hold_has_nothing_to_hand_over():
    assert obstacle(SingleNode().view, EIP, label) == f"this node has to read whether it holds {EIP}"
    assert obstacle(backup().view, EIP, label) == f"this node does not hold {EIP}; the master is a"


def test_a_node_that_leaves_listens_or_hands_over_already():
    bench = holder(a=20)
    bench.now += 10.0
    bench.node.tick(bench.now)  # it was paused
    assert "this node listens" in obstacle(bench.view, EIP, label)
    bench = holder(a=20)
    bench.node.set_unfit("operator", "drained", bench.now)
    assert "this node is BACKUP and releases" in obstacle(bench.view, EIP, label)
    bench = holder(a=20)
    bench.node.leave(bench.now)
    assert obstacle(bench.view, EIP, label) == "this node is already leaving"


STAYS = "then it stays with a, "
BACK = "this node is the better one (10 against 20) and takes it back after 60 s"
DAMPED = ", or later if flap damping delays it"


@pytest.mark.parametrize(
    ("delay", "peers", "text"),
    [
        (0.0, {}, "it moves as soon as another node can take over"),
        (0.0, {"a": 20}, BACK + DAMPED),
        (9.0, {"a": 20}, f"{BACK} and the preemption delay of 9 s{DAMPED}"),
        (math.inf, {"a": 20}, f"{STAYS}because of --no-preempt"),
        (math.inf, {"a": 5}, f"{STAYS}which is the better node"),  # only the delay keeps it here
        (60.0, {"a": 10}, f"{STAYS}which is the better node"),  # by its id
        (0.0, {"z": 10}, BACK.replace("20", "10") + DAMPED),
        (
            9.0,
            {"a": 0},
            "then the better of this node and a holds it, as the preemption delay allows",
        ),  # it tells no more
    ],
)
def test_what_happens_afterwards(delay, peers, text):
    view = holder(preempt_delay=delay, **peers).view
    assert afterwards(view, instance_id("m"), 60.0, label) == text
