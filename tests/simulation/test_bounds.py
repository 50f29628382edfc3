"""The bounds of the protocol, each as the formula that docs/protocol.md states, tried in the simulated
world.

In the formulas: h is the advertisement interval, D = h x ratio the dead time, d the network's
delay, L one call to the API (its effect is in the middle of it), O one operation, A = L/2 + O an
attach that goes through, P = 0.25 s the pause between two looks at an operation, S = P + 1.5 L from
the end of an operation to its being seen, at the latest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from exoip.core.peers import Role
from tests.simulation.meter import Meter
from tests.simulation.world import Host, World

P = 0.25
TINY = 0.01  # of rounding
example = settings(  # the same examples every time: script/simulate is for new ones
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)


@dataclass(frozen=True)
class Times:
    """The parameters of one run, by the names of the formulas."""

    h: float
    ratio: float
    d: float
    L: float
    O: float  # noqa: E741
    seed: int

    @property
    def D(self) -> float:
        return self.h * self.ratio

    @property
    def A(self) -> float:
        return self.L / 2 + self.O

    @property
    def S(self) -> float:
        return P + 1.5 * self.L


times = st.builds(
    Times,
    h=st.sampled_from((0.2, 0.5, 1.0, 2.0)),
    ratio=st.sampled_from((2.0, 3.0, 4.5)),
    d=st.sampled_from((0.0005, 0.02)),
    L=st.floats(0.01, 0.5),
    O=st.floats(0.05, 1.0),
    seed=st.integers(0, 10_000),
)


class Run:
    """Nodes a, b, c… of falling priority, formed, and a meter of what happens to them."""

    def __init__(self, t: Times, count: int = 3, **config: float) -> None:
        self.t = t
        self.world = World(t.seed)
        self.world.delay = (t.d / 2, t.d)
        for number, name in enumerate("abcdefg"[:count]):
            host = self.world.add(name, 10 * (number + 1), interval=t.h, dead_ratio=t.ratio, **config)
            host.api.latency, host.api.operation = (t.L, t.L), (t.O, t.O)
        self.phase = self.world.rng.uniform(0, t.h)
        for host in self.world.hosts.values():
            self.world.at(self.world.rng.uniform(0, t.h), host.start)
        self.meter = Meter(self.world)
        self.world.advance(4 * t.D + 4 * t.A + 40 + self.phase)
        assert self.world.holders == {"a"}

    def __getattr__(self, name: str) -> Host:
        return self.world.hosts[name]

    def fault(self, act) -> float:
        """Let something happen now; return when."""
        self.meter.reset()
        act()
        self.meter.look()
        return self.world.now

    def until(self, condition, limit: float) -> float:
        """Advance until the condition holds and return how long that took; fail after `limit`
        seconds.
        """
        began = self.world.now
        if not self.world.advance_until(condition, began + limit + TINY):
            roles = {name: host.node and host.node.snapshot(host.now).role for name, host in self.world.hosts.items()}
            raise AssertionError(f"not after {limit:.3f} s: held by {set(self.world.holders)}, {roles}")
        return self.world.now - began

    def held_by(self, *names: str):
        return lambda: self.world.holders == frozenset(names)


@example
@given(times)
def test_1_a_hosts_death(t: Times):
    """D - h < hole <= D + d + A; the dead one is cleared S + A later."""
    run = Run(t)
    run.fault(run.a.kill)
    run.until(run.held_by("b"), t.D + t.d + 2 * t.A + t.S)
    assert t.D - t.h < run.meter.hole + TINY
    assert run.meter.hole <= t.D + t.d + t.A + TINY


@example
@given(times, st.floats(1.05, 3.0))
def test_1_a_suspension_longer_than_the_dead_time(t: Times, dead_times: float):
    """As a death: the peers have the EIP after D + d + A, and there is never nobody once it wakes."""
    run = Run(t)
    run.fault(lambda: run.a.stall(dead_times * t.D, deaf=True))
    run.until(lambda: "b" in run.world.holders, t.D + t.d + t.A)


@example
@given(times, st.sampled_from(("refuse", "fail", "hang", "operation")))
def test_2_the_next_best_node_fails_first(t: Times, mode: str):
    """It adds, with d for the news: refused L; 5xx 1.8 + 3 L; hanging 10 s; a failing operation 1.8
    + 3 (A + S).
    """
    run = Run(t)
    adds = {"refuse": t.L, "fail": 1.8 + 3 * t.L, "hang": 10.0, "operation": 1.8 + 3 * (t.A + t.S)}[mode]
    run.b.api.modes = {"attach": mode}
    run.fault(run.a.kill)
    run.until(lambda: "c" in run.world.holders, t.D + 2 * t.d + t.A + adds)


@example
@given(times)
def test_2_one_failed_first_call(t: Times):
    """It adds one backoff and the call: 0.6 + L."""
    run = Run(t)
    run.b.api.modes = {"attach": "fail"}

    def failed_once() -> None:
        if any(name == "b" for _, name, _, _ in run.world.mutations):
            run.b.api.modes = {}

    run.world.watchers.append(failed_once)
    run.fault(run.a.kill)
    run.until(lambda: any(name == "b" for _, name, _, _ in run.world.mutations), t.D + t.d)
    run.b.api.modes = {}
    run.until(lambda: "b" in run.world.holders, 0.6 + t.L + t.A)


@example
@given(times, st.floats(0.0, 0.99))
def test_3_a_better_node_starts_as_the_holder_dies(t: Times, part: float):
    """2 D + d + A after the death."""
    run = Run(t)
    best = run.world.add("A", 5, interval=t.h, dead_ratio=t.ratio)
    best.api.latency, best.api.operation = (t.L, t.L), (t.O, t.O)
    run.world.regroup()
    died = run.fault(run.a.kill)
    run.world.after(part * t.D, best.start)
    run.until(lambda: any(run.world.hosts[n].up for n in run.world.holders), 2 * t.D + t.d + t.A)
    assert run.world.now - died <= 2 * t.D + t.d + t.A + TINY


@example
@given(times, st.sampled_from(("crash", "restart", "stall", "health", "split", "leave")), st.floats(0.1, 5.0))
def test_4_no_hole_when_a_host_lives(t: Times, what: str, dead_times: float):
    """A daemon's crash or stall on a live host, a failing health check, a split, a planned leave: 0
    s without a holder.
    """
    run = Run(t)
    seconds = dead_times * t.D
    world, a = run.world, run.a
    begin, end = {
        "crash": (a.crash, lambda: None),
        "restart": (a.crash, a.start),
        "stall": (lambda: a.stall(seconds), lambda: None),
        "health": (lambda: a.set_health("check fails"), lambda: a.set_health("")),
        "split": (lambda: world.split("a", "bc"), lambda: world.cut.clear()),
        "leave": (a.leave, lambda: None),
    }[what]
    run.fault(begin)
    world.after(seconds, end)
    world.advance(seconds + 200)
    assert run.meter.hole == 0.0
    assert len(world.holders) == 1


@example
@given(times, st.sampled_from(("fail", "unreachable", "hang")), st.floats(1.0, 200.0))
def test_5_an_outage_of_the_api_ends(t: Times, mode: str, lasts: float):
    """The holder dies while it lasts: moved one backoff (5 s) + A after its end, 10 s later when
    calls hang.
    """
    run = Run(t)
    for host in run.world.hosts.values():
        host.api.modes = {"all": mode}
    run.fault(run.a.kill)
    run.world.advance(t.D + lasts)
    for host in run.world.hosts.values():
        host.api.modes = {}
    hang = 10.0 if mode == "hang" else 0.0
    run.until(lambda: run.world.holders & {"b", "c"}, 5.0 + t.A + t.L + hang)


@example
@given(times, st.floats(0.0, 100.0))
def test_6_detached_by_an_outsider(t: Times, after: float):
    """30 s + 2.5 L + A: the longest wait for a verification, the read, the question who holds, the
    attach.
    """
    run = Run(t)
    run.world.advance(after)
    run.fault(lambda: run.world.zone.force(run.a.id, False, run.world.now))
    run.until(run.held_by("a"), 30.0 + 2.5 * t.L + t.A)


@example
@given(times, st.floats(0.0, 1.0))
def test_7_a_silent_taker_dies_during_a_split(t: Times, when: float):
    """The rest of the stand-back (60 s at first) + the attach."""
    run = Run(t, 2)
    run.fault(lambda: run.world.split("a", "b"))
    run.until(lambda: run.a.node.snapshot(run.a.now).yielded, t.D + t.d + 2 * t.A + t.S + 4 + 8 * t.L)
    yielded = run.world.now
    run.world.advance(50 * when)
    run.b.kill()
    run.until(lambda: "a" in run.world.holders, yielded + 60.0 + t.A + t.L - run.world.now)


@example
@given(times, st.floats(0.0, 2 * 3600.0))
def test_9_moves_in_a_split(t: Times, lasts: float):
    """At most 2 + log2(1 + X / 60) in a split of X seconds between two groups, its heal included."""
    run = Run(t, 2)
    run.fault(lambda: run.world.split("a", "b"))
    run.world.advance(lasts)
    run.world.cut.clear()
    run.world.advance(3 * t.D + 3 * t.A + 20)
    assert run.world.holders == {"a"}
    assert run.meter.moves <= 2 + math.log2(1 + lasts / 60)
    assert run.meter.hole == 0.0


@pytest.mark.parametrize("latency", [0.02, 0.05, 0.3, 1.0, 3.0, 8.0])
def test_10_an_unhealthy_node_hands_over_however_slow_the_api_is(latency: float):
    """Within d + h + 2 A + L + max(1, 2 L), with one attach and one detach and no hole."""
    t = Times(1.0, 3.0, 0.02, latency, 0.2, 1)
    run = Run(t)
    run.world.advance(180)  # what a call takes is known
    run.fault(lambda: run.a.set_health("check fails"))
    run.until(run.held_by("b"), t.d + t.h + 2 * t.A + t.L + max(1.0, 2 * t.L))
    run.world.advance(120)
    assert (run.meter.mutations, run.meter.hole) == (2, 0.0)


@example
@given(times)
def test_3_a_node_that_starts_alone_beside_a_dead_holder(t: Times):
    """10 + h + A after its start, which is longer than D only if D is short."""
    run = Run(t, 2)
    run.world.hosts["b"].crash()
    run.fault(run.a.kill)
    run.b.start()
    run.until(lambda: "b" in run.world.holders, max(10 + t.h, t.D) + t.A)


@pytest.mark.parametrize(
    "t", [Times(1.0, 3.0, 0.02, 0.3, 0.5, 1), Times(2.0, 2.0, 0.02, 0.5, 1.0, 2)], ids=["usual", "slow"]
)
def test_a_quiet_hour_needs_no_mutation(t: Times):
    run = Run(t)
    before = len(run.world.mutations)
    run.world.advance(3600.0)
    assert len(run.world.mutations) == before
    assert run.a.node.snapshot(run.a.now).role is Role.MASTER
