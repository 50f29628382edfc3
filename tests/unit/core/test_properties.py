"""What must hold whatever happens, looked for by hypothesis: it chooses the faults, and cuts a
failure down to the few that matter.

Safety, at any moment: no call names an instance that is no member; nodes that hear each other are
not both masters for longer than an interval (two heartbeats may change places on their way; the
next one mends that). Convergence, after the last fault: one right holder within the bound, and then
no move.
"""

from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from exoip.core.calls import Kind
from exoip.core.peers import Role
from tests.simulation.meter import unsettled
from tests.simulation.world import Host, World

INTERVAL = 1.0
STEP = 0.1  # seconds between two looks; longer than any heartbeat takes
CONVERGED = 1400.0  # the longest unfit time or stand-back, then the longest flap damping
QUIET = 200.0

names = st.sampled_from("abcd")
lengths = st.sampled_from((0.05, 0.5, 1.5, 3.2, 5.0, 12.0, 40.0))
modes = st.sampled_from(("fail", "refuse", "unreachable", "hang", "lost", "late", "operation"))
kinds = st.sampled_from(("all", "attach", "detach", "poll", "read", "holders"))


class Cluster(RuleBasedStateMachine):
    """Two to four nodes and everything that may befall them."""

    @initialize(
        count=st.integers(2, 4),
        delay=st.sampled_from((0.0, 0.0, 5.0, math.inf)),
        equal=st.booleans(),
        seed=st.integers(0, 1000),
        latency=st.sampled_from((0.02, 0.1, 0.4)),
        operation=st.sampled_from((0.1, 0.9, 4.0)),
    )
    def begin(self, count: int, delay: float, equal: bool, seed: int, latency: float, operation: float) -> None:
        self.world = World(seed)
        self.world.delay = (0.001, 0.04)
        self.both: dict[tuple[str, str], int] = {}
        self.seen = 0
        self.last_change = 0.0
        for number, name in enumerate("abcd"[:count]):
            host = self.world.add(name, 10 if equal else 10 * (number + 1), preempt_delay=delay)
            host.api.latency, host.api.operation = (latency / 2, latency), (operation / 2, operation)
            self.world.at(self.world.rng.uniform(0.0, 2.0), host.start)
        self._let(8.0)

    def _let(self, seconds: float) -> None:
        end = self.world.now + seconds
        while self.world.now < end:
            self.world.advance_to(min(end, self.world.now + STEP))
            self._look_for_two_masters()

    def _host(self, name: str) -> Host:
        """Some host: by its name, or for a name that there is not, another."""
        hosts = list(self.world.hosts.values())
        return hosts["abcd".index(name) % len(hosts)]

    def _disturb(self) -> None:
        self.last_change = self.world.now
        self.world.look()

    # -- faults -------------------------------------------------------------------------------------------------------

    @rule(seconds=lengths)
    def time_goes_by(self, seconds: float) -> None:
        self._let(seconds)

    @rule(name=names)
    def host_dies(self, name: str) -> None:
        self._host(name).kill()
        self._disturb()

    @rule(name=names)
    def daemon_crashes(self, name: str) -> None:
        self._host(name).crash()
        self._disturb()

    @rule(name=names)
    def daemon_starts(self, name: str) -> None:
        host = self._host(name)
        host.up = True
        if host.node is None:
            host.start()
        self._disturb()

    @rule(name=names)
    def daemon_leaves(self, name: str) -> None:
        self._host(name).leave()
        self._disturb()

    @rule(name=names, seconds=lengths, deaf=st.booleans())
    def sleeps(self, name: str, seconds: float, deaf: bool) -> None:
        self._host(name).stall(seconds, deaf=deaf)
        self._disturb()

    @rule(name=names, bad=st.booleans())
    def health_changes(self, name: str, bad: bool) -> None:
        self._host(name).set_health("the health check fails" if bad else "")

    @rule(side=st.sets(names, min_size=1))
    def network_splits(self, side: set[str]) -> None:
        self.world.split("".join(side), "".join(set(self.world.hosts) - side))
        self._disturb()

    @rule(one=names, other=names)
    def link_is_cut_one_way(self, one: str, other: str) -> None:
        self.world.cut.add((self._host(one).name, self._host(other).name))
        self._disturb()

    @rule()
    def network_heals(self) -> None:
        self.world.cut.clear()
        self._disturb()

    @rule(name=names, kind=kinds, mode=modes)
    def api_fails(self, name: str, kind: str, mode: str) -> None:
        self._host(name).api.modes[kind] = mode

    @rule(name=names)
    def api_works(self, name: str) -> None:
        self._host(name).api.modes.clear()

    @rule(name=names, holds=st.booleans())
    def somebody_moves_it_by_hand(self, name: str, holds: bool) -> None:
        self.world.zone.force(self._host(name).id, holds, self.world.now)
        self.world.look()

    # -- what must hold -----------------------------------------------------------------------------------------------

    @invariant()
    def only_members_are_named(self) -> None:
        if not hasattr(self, "world"):
            return
        for _, name, kind, target in self.world.mutations[self.seen :]:
            assert target in self.world.by_id
            host = self.world.by_id[target]
            assert kind is Kind.DETACH or host.name == name, f"{name} attaches to {host.name}"
        self.seen = len(self.world.mutations)

    def _look_for_two_masters(self) -> None:
        """Nodes between which heartbeats have gone both ways for an interval are not both masters
        for another.
        """
        world = self.world
        if world.now < self.last_change + 1.2:
            self.both.clear()
            return
        masters = [host for host in world.hosts.values() if self._acts(host)]
        pairs = [(a.name, b.name) for a in masters for b in masters if a.name < b.name]
        pairs = [pair for pair in pairs if not world.cut & {pair, pair[::-1]}]
        self.both = {pair: self.both.get(pair, 0) + 1 for pair in pairs}
        for pair, looks in self.both.items():
            assert looks < INTERVAL / STEP + 2, f"{pair} hear each other and are both masters"

    def _acts(self, host: Host) -> bool:
        if host.node is None or self.world.now < host.stalled_until + 1.2:
            return False
        return host.node.snapshot(host.now).role is Role.MASTER

    def teardown(self) -> None:
        """All faults end; then there must be one right holder, and it must stay so."""
        if not hasattr(self, "world"):
            return
        world = self.world
        world.cut.clear()
        for host in world.hosts.values():
            host.api.modes.clear()
            host.set_health("")
        world.advance(41.0)  # the longest sleep, after which a node obeys that it is to leave
        for host in world.hosts.values():
            if host.leaving:
                host.crash()
            host.up = True
            if host.node is None:
                host.start()
        end = world.now + CONVERGED
        while (why := unsettled(world)) and world.now < end:
            world.advance(1.0)
        assert not why, f"not converged: {why}"
        world.advance(30.0)
        before = len(world.mutations)
        world.advance(QUIET)
        assert len(world.mutations) == before, world.mutations[before:]
        assert not unsettled(world)
        self.only_members_are_named()


TestCluster = Cluster.TestCase
TestCluster.pytestmark = [pytest.mark.slow]
TestCluster.settings = settings(
    max_examples=60, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
