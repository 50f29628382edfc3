"""Test the election rule by rule, and against a deliberately naive second implementation."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exoip.core.election import LAST_RESORT, Election
from exoip.core.events import Event, EventName
from exoip.core.peers import HOLDING_UNFIT, LEAVING, PROTECTED, UNFIT, ElectionConfig, LocalState, Role

INTERVAL, RATIO = 1.0, 3.0
DEAD = INTERVAL * RATIO
JUST = 1e-6  # seconds: just before, just after


def election(own: str = "m", priority: int = 10, members: str = "abyz", now: float = 0.0, **config: float) -> Election:
    """One of the node `own`, whose first dead time is about to begin; ids sort as letters do."""
    made = Election(ElectionConfig(own, priority, INTERVAL, RATIO, **config), now)
    made.set_members(frozenset(members), now)
    return made


def settled(own: str = "m", priority: int = 10, members: str = "abyz", **config: float) -> Election:
    """One that has listened for its dead time and heard nobody: the time is DEAD."""
    made = election(own, priority, members, **config)
    made.tick(DEAD, socket_drained=True)
    assert made.role is Role.MASTER
    return made


def event_names(events: list[Event]) -> list[EventName]:
    return [event.name for event in events]


class TestConfig:
    def test_the_dead_time(self):
        assert ElectionConfig("m", interval=0.5, dead_ratio=4).dead_time == 2.0


class TestListening:
    def test_a_node_alone_listens_for_exactly_one_dead_time(self):
        one = election()
        assert (one.role, one.next_deadline()) == (Role.LISTENING, DEAD)
        one.tick(DEAD - JUST, socket_drained=True)
        assert one.role is Role.LISTENING
        events = one.tick(DEAD, socket_drained=True)
        assert (one.role, one.master) == (Role.MASTER, "m")
        assert event_names(events) == [EventName.ROLE]
        assert one.since == DEAD

    @pytest.mark.parametrize("priority", [1, 250])
    def test_it_listens_whatever_it_hears(self, priority):
        one = election()
        one.heard("a", priority, 1.0)
        assert one.role is Role.LISTENING
        one.heard("a", priority, DEAD - JUST)
        one.tick(DEAD, socket_drained=True)
        assert one.role is (Role.BACKUP if priority == 1 else Role.MASTER)

    def test_it_knows_the_best_node_while_it_listens(self):
        one = election()
        one.heard("a", 5, 1.0)
        assert (one.role, one.master) == (Role.LISTENING, "a")

    def test_no_deadline_is_left_afterwards(self):
        assert settled().next_deadline() == math.inf


class TestRank:
    @pytest.mark.parametrize(
        ("own", "priority", "peer", "its", "role"),
        [
            ("m", 10, "z", 11, Role.MASTER),
            ("m", 10, "a", 9, Role.BACKUP),
            ("m", 10, "a", 10, Role.BACKUP),  # equal: the lower id
            ("m", 10, "z", 10, Role.MASTER),
            ("m", 10, "z", 0, Role.BACKUP),
            ("m", 252, "z", 253, Role.MASTER),
            ("m", 252, "a", 253, Role.MASTER),
            ("m", 252, "a", 254, Role.MASTER),
            ("m", 252, "a", 255, Role.MASTER),
            ("m", 1, "z", 1, Role.MASTER),
            ("m", 252, "z", 252, Role.MASTER),
        ],
    )
    def test_the_lowest_priority_then_the_lowest_id(self, own, priority, peer, its, role):
        one = settled(own, priority)
        one.heard(peer, its, DEAD)
        assert one.role is role
        assert one.master == (own if role is Role.MASTER else peer)

    def test_another_best_node_is_reported_though_the_role_stays(self):
        one = settled()
        one.heard("b", 5, DEAD)
        events = one.heard("a", 4, DEAD)
        assert event_names(events) == [EventName.PEER_ALIVE, EventName.ROLE]
        details = events[1].details
        assert (details["role"], details["old_role"], details["master"], details["old_master"]) == (
            Role.BACKUP,
            Role.BACKUP,
            "a",
            "b",
        )
        assert one.since == DEAD


class TestAdvertised:
    @pytest.mark.parametrize(
        ("state", "delay", "advertised"),
        [
            (LocalState(), 0.0, 10),
            (LocalState(), math.inf, 10),
            (LocalState(holds=True, last_held=True), 0.0, 10),
            (LocalState(holds=True, last_held=True), 5.0, PROTECTED),
            (LocalState(holds=True, last_held=True), math.inf, PROTECTED),
            (LocalState(last_held=True), math.inf, 10),  # in doubt: not known to hold
            (LocalState(unfit=True), math.inf, UNFIT),
            (LocalState(unfit=True, last_held=True), math.inf, HOLDING_UNFIT),
            (LocalState(unfit=True, last_held=True, holds=True), math.inf, HOLDING_UNFIT),
            (LocalState(releasing=True, holds=True, last_held=True), math.inf, UNFIT),
            (LocalState(releasing=True, unfit=True, holds=True, last_held=True), math.inf, UNFIT),
            (LocalState(leaving=True), 0.0, LEAVING),
            (LocalState(leaving=True, unfit=True, releasing=True, holds=True, last_held=True), math.inf, LEAVING),
            (LocalState(yielded=True), 0.0, 10),
        ],
    )
    def test_each_condition(self, state, delay, advertised):
        one = settled(preempt_delay=delay)
        events = one.set_local_state(state, DEAD)
        assert one.advertised == advertised
        assert (EventName.ADVERTISED in event_names(events)) is (advertised != 10)

    def test_the_same_condition_reports_nothing(self):
        one = settled()
        one.set_local_state(LocalState(unfit=True), 4.0)
        assert one.set_local_state(LocalState(unfit=True), 5.0) == []

    def test_the_reason_of_a_role_is_that_of_the_present(self):
        one = settled()
        one.set_local_state(LocalState(yielded=True), 4.0)
        one.heard("a", 5, 5.0)
        assert "not heard here" in one.reason
        one.set_local_state(LocalState(), 6.0)
        assert (one.role, one.reason) == (Role.BACKUP, "a is at priority 5, this node at priority 10")

    @pytest.mark.parametrize("state", [{"leaving": True}, {"yielded": True}])
    def test_a_node_that_leaves_or_yields_is_backup_even_when_alone(self, state):
        one = settled()
        one.set_local_state(LocalState(**state), 4.0)
        assert (one.role, one.master) == (Role.BACKUP, None)
        one.heard("z", 200, 4.5)
        assert (one.role, one.master) == (Role.BACKUP, "z")
        one.set_local_state(LocalState(), 5.0)
        assert (one.role, one.master) == (Role.MASTER, "m")


class TestLifeAndDeath:
    def test_dead_at_exactly_its_deadline_and_not_before(self):
        one = settled()
        one.heard("a", 5, 10.0)
        assert one.next_death == 10.0 + DEAD
        assert one.tick(10.0 + DEAD - JUST, socket_drained=True) == []
        assert one.role is Role.BACKUP
        events = one.tick(10.0 + DEAD, socket_drained=True)
        assert event_names(events) == [EventName.PEER_DEAD, EventName.ROLE]
        assert one.role is Role.MASTER
        assert not one.alive("a")

    def test_not_while_a_datagram_may_wait(self):
        one = settled()
        one.heard("a", 5, 10.0)
        assert one.tick(100.0, socket_drained=False) == []
        assert one.alive("a")
        assert one.role is Role.BACKUP
        assert one.next_death == 10.0 + DEAD
        one.heard("a", 5, 100.0)
        assert one.tick(100.0, socket_drained=True) == []
        assert one.next_death == 100.0 + DEAD

    def test_next_death_is_never_late(self):
        one = settled()
        one.heard("b", 5, 10.0)
        one.heard("a", 6, 9.0)
        assert one.next_death == 9.0 + DEAD
        one.heard("a", 6, 11.0)
        assert one.next_death <= 10.0 + DEAD
        one.tick(9.0 + DEAD, socket_drained=True)  # an old deadline: nobody is dead, the next one is known
        assert one.alive("a")
        assert one.alive("b")
        assert one.next_death == 10.0 + DEAD
        one.tick(10.0 + DEAD, socket_drained=True)
        assert not one.alive("b")
        assert one.next_death == 11.0 + DEAD
        one.tick(11.0 + DEAD, socket_drained=True)
        assert one.next_death == math.inf

    def test_two_die_in_one_look(self):
        one = settled()
        one.heard("a", 5, 10.0)
        one.heard("b", 6, 10.0)
        assert event_names(one.tick(20.0, socket_drained=True)) == [
            EventName.PEER_DEAD,
            EventName.PEER_DEAD,
            EventName.ROLE,
        ]

    def test_alive_again_at_once_with_the_priority_it_now_has(self):
        one = settled()
        one.heard("a", PROTECTED, 10.0)
        one.tick(20.0, socket_drained=True)
        events = one.heard("a", 11, 20.0)  # it rose from 0, but it was dead meanwhile
        assert events[0].name is EventName.PEER_ALIVE
        assert one.role is Role.MASTER
        one.heard("a", 9, 20.5)
        assert one.role is Role.BACKUP

    def test_a_heartbeat_that_changes_nothing_reports_nothing(self):
        one = settled()
        assert one.heard("a", 5, 10.0)
        assert one.heard("a", 5, 11.0) == []

    def test_how_long_it_was_silent_is_reported(self):
        one = settled()
        one.heard("a", 5, 10.0)
        (dead, _) = one.tick(13.5, socket_drained=True)
        assert (dead.instance_id, dead.details["silent"]) == ("a", 3.5)

    def test_it_remembers_when_a_peer_last_released_or_left(self):
        one = settled()
        one.heard("a", HOLDING_UNFIT, 10.0)
        assert one.peers["a"].last_unfit_advert == 0.0  # what it was before this node knew it, nobody knows
        one.heard("a", UNFIT, 11.0)
        one.heard("a", UNFIT, 12.0)  # the same again counts too
        one.heard("a", 5, 13.0)
        assert one.peers["a"].last_unfit_advert == 12.0


class TestRiseFromZero:
    """A holder that is restarted advertises its configured priority until it has read that it still
    holds.
    """

    def test_it_counts_after_one_dead_time(self):
        one = settled()
        one.heard("z", PROTECTED, 10.0)
        one.heard("z", 50, 11.0)
        assert one.role is Role.BACKUP
        assert one.next_deadline() == 11.0 + DEAD
        one.heard("z", 50, 13.0)
        one.tick(11.0 + DEAD - JUST, socket_drained=True)
        assert one.role is Role.BACKUP
        one.tick(11.0 + DEAD, socket_drained=True)
        assert one.role is Role.MASTER
        assert one.next_deadline() == math.inf

    @pytest.mark.parametrize("worse", [HOLDING_UNFIT, UNFIT, LEAVING])
    def test_worse_than_fit_counts_at_once(self, worse):
        one = settled()
        one.heard("z", PROTECTED, 10.0)
        one.heard("z", worse, 11.0)
        assert one.role is Role.MASTER
        one.heard("a", PROTECTED, 12.0)
        one.heard("a", 50, 12.1)
        assert one.role is Role.BACKUP
        one.heard("a", worse, 12.2)
        assert one.role is Role.MASTER
        one.heard("a", 5, 12.3)  # from unfit to fit counts at once
        assert one.role is Role.BACKUP

    def test_death_ends_the_wait(self):
        one = settled()
        one.heard("z", PROTECTED, 10.0)
        one.heard("z", 50, 11.0)
        one.tick(11.0 + DEAD, socket_drained=True)
        assert not one.alive("z")
        assert one.next_deadline() == math.inf


class TestStall:
    def test_it_listens_again(self):
        one = settled()
        events = one.stalled(20.0, 1.5)
        assert event_names(events) == [EventName.STALLED, EventName.ROLE]
        assert one.role is Role.LISTENING
        one.tick(20.0 + DEAD - JUST, socket_drained=True)
        assert one.role is Role.LISTENING
        one.tick(20.0 + DEAD, socket_drained=True)
        assert one.role is Role.MASTER

    def test_the_silent_get_a_whole_dead_time(self):
        one = settled()
        one.heard("a", 5, 10.0)
        one.stalled(60.0, 47.0)
        one.tick(60.0, socket_drained=True)
        assert one.alive("a")
        assert one.role is Role.LISTENING
        assert one.next_death <= 60.0 + DEAD
        one.tick(60.0 + DEAD, socket_drained=True)
        assert not one.alive("a")
        assert one.role is Role.MASTER

    def test_the_dead_stay_dead(self):
        one = settled()
        one.heard("a", 5, 10.0)
        one.tick(20.0, socket_drained=True)
        one.stalled(60.0, 30.0)
        assert not one.alive("a")

    def test_a_second_stall_begins_again(self):
        one = settled()
        one.stalled(20.0, 2.0)
        one.stalled(22.0, 2.0)
        one.tick(20.0 + DEAD, socket_drained=True)
        assert one.role is Role.LISTENING
        one.tick(22.0 + DEAD, socket_drained=True)
        assert one.role is Role.MASTER

    def test_a_leaver_that_stalled_does_not_listen(self):
        one = settled()
        one.set_local_state(LocalState(leaving=True), 10.0)
        one.stalled(20.0, 5.0)
        assert (one.role, one.advertised) == (Role.BACKUP, LEAVING)


HOLDER = LocalState(holds=True, last_held=True)


class TestPreemptDelay:
    DELAY = 7.0

    def holder(self, delay: float = DELAY) -> Election:
        one = settled(preempt_delay=delay)
        one.set_local_state(HOLDER, DEAD)
        assert one.advertised == PROTECTED
        return one

    def keep(self, one: Election, peer: str, priority: int, start: float, end: float) -> None:
        """Let `peer` be heard from `start` to `end`, and time pass."""
        now = start
        while now < end:
            one.heard(peer, priority, now)
            one.tick(now, socket_drained=True)
            now += INTERVAL
        one.heard(peer, priority, end)
        one.tick(end, socket_drained=True)

    def test_the_holder_keeps_it_for_exactly_the_delay(self):
        one = self.holder()
        one.heard("a", 5, 10.0)
        assert one.next_deadline() == 10.0 + self.DELAY
        self.keep(one, "a", 5, 10.0, 10.0 + self.DELAY - JUST)
        assert (one.role, one.advertised) == (Role.MASTER, PROTECTED)
        one.tick(10.0 + self.DELAY, socket_drained=True)
        assert (one.role, one.master, one.advertised) == (Role.BACKUP, "a", 10)

    def test_endless(self):
        one = self.holder(math.inf)
        self.keep(one, "a", 1, 10.0, 10_000.0)
        assert (one.role, one.advertised) == (Role.MASTER, PROTECTED)
        assert one.next_deadline() == math.inf

    def test_a_worse_or_unfit_peer_never_ends_it(self):
        for priority in (10, 11, 252, HOLDING_UNFIT, UNFIT, LEAVING):
            one = self.holder()
            self.keep(one, "z", priority, 10.0, 100.0)
            assert (one.role, one.advertised, one.next_deadline()) == (Role.MASTER, PROTECTED, math.inf)

    @pytest.mark.parametrize("flicker", [UNFIT, HOLDING_UNFIT, LEAVING, 11])
    def test_a_rival_that_flickers_begins_again(self, flicker):
        one = self.holder()
        self.keep(one, "a", 5, 10.0, 16.0)
        one.heard("a", flicker, 16.5)
        one.heard("a", 5, 16.6)
        self.keep(one, "a", 5, 16.6, 16.6 + self.DELAY - JUST)
        assert one.advertised == PROTECTED
        one.tick(16.6 + self.DELAY, socket_drained=True)
        assert one.advertised == 10

    def test_a_rival_that_dies_meanwhile_begins_again(self):
        one = self.holder()
        self.keep(one, "a", 5, 10.0, 16.0)
        one.tick(16.0 + DEAD, socket_drained=True)
        assert not one.alive("a")
        assert one.next_deadline() == math.inf
        self.keep(one, "a", 5, 20.0, 20.0 + self.DELAY - JUST)
        assert one.advertised == PROTECTED

    def test_two_rivals_do_not_add_up(self):
        one = self.holder()
        self.keep(one, "a", 5, 10.0, 14.0)
        one.heard("b", 5, 14.0)
        one.heard("a", UNFIT, 14.5)
        self.keep(one, "b", 5, 15.0, 14.0 + self.DELAY - JUST)
        assert one.advertised == PROTECTED
        one.tick(14.0 + self.DELAY, socket_drained=True)
        assert (one.advertised, one.master) == (10, "b")

    def test_another_better_priority_does_not_begin_again(self):
        one = self.holder()
        self.keep(one, "a", 5, 10.0, 16.0)
        one.heard("a", 4, 16.0)
        one.heard("a", 4, 10.0 + self.DELAY)
        one.tick(10.0 + self.DELAY, socket_drained=True)
        assert one.advertised == 10

    def test_a_holder_that_conceded_is_not_protected_again_when_its_successor_advertises_0(self):
        one = self.holder()
        self.keep(one, "a", 5, 10.0, 10.0 + self.DELAY)
        one.heard("a", PROTECTED, 18.0)
        assert (one.role, one.advertised) == (Role.BACKUP, 10)

    @pytest.mark.parametrize("end", [UNFIT, HOLDING_UNFIT, LEAVING, "death", "removed"])
    def test_until_that_peer_is_dead_unfit_or_gone(self, end):
        one = self.holder()
        self.keep(one, "a", 5, 10.0, 10.0 + self.DELAY)
        if end == "death":
            one.tick(10.0 + self.DELAY + DEAD, socket_drained=True)
        elif end == "removed":
            one.set_members(frozenset("byz"), 17.5)
        else:
            one.heard("a", end, 17.5)
        assert (one.role, one.advertised) == (Role.MASTER, PROTECTED)

    def test_nor_does_it_come_back_to_it_beside_a_protected_master(self):
        one = self.holder()
        self.keep(one, "a", 5, 10.0, 10.0 + self.DELAY)
        one.set_local_state(LocalState(), 18.0)
        one.heard("a", PROTECTED, 18.0)
        one.set_local_state(HOLDER, 18.5)  # by an attach that was late, or by hand
        assert one.advertised == 10
        one.heard("a", UNFIT, 19.0)
        assert one.advertised == PROTECTED

    def test_a_doubt_is_no_end_of_the_hold(self):
        one = self.holder()
        self.keep(one, "a", 5, 10.0, 10.0 + self.DELAY)
        one.heard("a", PROTECTED, 18.0)
        one.set_local_state(LocalState(last_held=True), 18.0)
        one.set_local_state(HOLDER, 18.2)
        assert one.advertised == 10


class TestLastResort:
    """One that is unfit, beside a and b, which are unfit as well and do not hold by their own word."""

    FIRST, SECOND = 3 * LAST_RESORT, 4 * LAST_RESORT  # beside one better node, and two

    def unfit(self, **heard: int) -> Election:
        one = election(members="ab")
        one.set_local_state(LocalState(unfit=True), 0.0)
        for name, priority in heard.items():
            one.heard(name, priority, 0.0)
        return one

    def beat(self, one: Election, start: float, end: float, **heard: int) -> None:
        now = start
        while now < end:
            for name, priority in heard.items():
                one.heard(name, priority, now)
            now += 1.0
            while (due := min(one.next_deadline(), one.next_death)) <= min(now, end):
                one.tick(due, socket_drained=True)

    def test_it_attaches_if_its_master_does_not_come_to_hold(self):
        one = self.unfit(a=254)
        self.beat(one, 1.0, self.FIRST - JUST, a=254)
        assert (one.role, one.master) == (Role.BACKUP, "a")
        self.beat(one, self.FIRST - JUST, self.FIRST, a=254)
        assert (one.role, one.master) == (Role.MASTER, "m")
        assert one.reason == "this node is stepping aside, no peer is fit or claims to hold"

    def test_each_further_better_one_has_its_time(self):
        one = self.unfit(b=253, a=254)
        self.beat(one, 1.0, 1.0 + self.SECOND - JUST, a=254, b=254)
        assert one.role is Role.BACKUP
        self.beat(one, 1.0 + self.SECOND - JUST, 1.0 + self.SECOND, a=254, b=254)
        assert one.role is Role.MASTER

    @pytest.mark.parametrize("before", [0, 10, 253])
    def test_the_time_in_which_one_may_have_held_does_not_count(self, before):
        one = self.unfit(a=before)
        self.beat(one, 1.0, 60.0, a=before)
        self.beat(one, 60.0, 60.0 + self.FIRST - JUST, a=254)
        assert one.role is Role.BACKUP
        self.beat(one, 60.0 + self.FIRST - JUST, 60.0 + self.FIRST, a=254)
        assert one.role is Role.MASTER

    @pytest.mark.parametrize("claim", [0, 10, 252, 253])
    def test_it_ends_if_one_claims_to_hold_or_is_fit(self, claim):
        one = self.unfit(a=254, b=254)
        self.beat(one, 1.0, self.SECOND + 1, a=254, b=254)
        assert one.role is Role.MASTER
        one.heard("b", claim, self.SECOND + 1)
        assert (one.role, one.master) == (Role.BACKUP, "b")
        one.heard("b", 254, self.SECOND + 2)
        assert (one.role, one.master) == (Role.BACKUP, "a")

    def test_it_goes_on_whoever_else_is_unfit_and_better(self):
        one = self.unfit(b=254)
        self.beat(one, 1.0, self.FIRST + 1, b=254)
        one.heard("a", 254, self.FIRST + 1)
        assert one.role is Role.MASTER

    @pytest.mark.parametrize("why", [{"may_be_able": False}, {"leaving": True}, {"yielded": True}])
    def test_not_if_it_is_unhealthy_or_leaves_or_stands_back(self, why):
        one = self.unfit(a=254)
        one.set_local_state(LocalState(unfit=True, **why), 1.0)
        self.beat(one, 1.0, 60.0, a=254)
        assert one.role is Role.BACKUP

    def test_to_become_one_is_no_flapping(self):
        one = self.unfit(a=254)
        for round_ in range(9):
            self.beat(one, 60.0 * round_, 60.0 * round_ + self.FIRST + 1, a=254)
            assert one.role is Role.MASTER
            self.beat(one, 60.0 * round_ + self.FIRST + 1, 60.0 * round_ + 60.0, a=253)
        assert len(one.damping.changes) == 9  # the ends count

    def test_a_fit_one_is_none_however_long_it_stood_back_beside_an_unfit_one(self):
        one = self.unfit(a=254)
        one.set_local_state(LocalState(yielded=True), 1.0)
        self.beat(one, 1.0, 60.0, a=254)
        assert one.set_local_state(LocalState(), 60.0)
        assert (one.role, len(one.damping.changes)) == (Role.MASTER, 1)

    def test_a_fit_one_is_none_however_long_it_listens_beside_an_unfit_one(self):
        one = Election(ElectionConfig("m", 10, self.FIRST, RATIO), 0.0)
        one.set_members(frozenset("a"), 0.0)
        self.beat(one, 0.0, self.FIRST * RATIO + 1, a=254)
        assert (one.role, len(one.damping.changes)) == (Role.MASTER, 1)


class TestReload:
    def test_another_priority_counts_at_once(self):
        one = settled()
        one.heard("z", 20, 4.0)
        events = one.set_config(replace(one.config, priority=30), 5.0)
        assert event_names(events) == [EventName.ADVERTISED, EventName.ROLE]
        assert (one.role, one.advertised) == (Role.BACKUP, 30)

    @pytest.mark.parametrize(("interval", "end"), [(2.0, 7.0), (0.5, 2.5), (1.0, 3.0)])
    def test_one_that_listens_listens_for_the_new_dead_time(self, interval, end):
        one = election()
        one.set_config(replace(one.config, interval=interval), 1.0)
        assert one.next_deadline() == pytest.approx(end)
        one.tick(end - JUST, socket_drained=True)
        assert one.role is Role.LISTENING
        one.tick(end + JUST, socket_drained=True)
        assert one.role is Role.MASTER

    def test_a_master_does_not_listen_again(self):
        one = settled()
        one.set_config(replace(one.config, interval=100.0), 5.0)
        assert one.role is Role.MASTER

    def test_deadlines_follow_the_new_dead_time(self):
        one = settled()
        one.heard("a", 5, 10.0)
        one.set_config(replace(one.config, interval=0.5), 10.5)
        assert one.next_death <= 12.0
        one.tick(12.0 - JUST, socket_drained=True)
        assert one.alive("a")
        one.tick(12.0, socket_drained=True)
        assert not one.alive("a")
        one.heard("a", 5, 12.0)
        one.set_config(replace(one.config, interval=2.0), 12.5)
        one.tick(18.5 - JUST, socket_drained=True)
        assert one.alive("a")
        one.tick(18.5, socket_drained=True)
        assert not one.alive("a")

    def test_a_rise_that_still_waits_is_forgotten_with_a_death(self):
        """The dead time becomes shorter than what is left of the wait."""
        one = settled(priority=100)
        one.heard("a", PROTECTED, 10.0)
        one.heard("a", 200, 10.5)
        one.set_config(replace(one.config, interval=0.25), 10.6)
        one.tick(11.35 - JUST, socket_drained=True)
        assert one.alive("a")  # the whole new dead time
        one.tick(11.35, socket_drained=True)
        assert not one.alive("a")
        one.heard("a", 200, 11.4)
        assert one.role is Role.MASTER

    def test_a_shorter_dead_time_kills_nobody_who_kept_the_old_pace(self):
        one = settled()
        one.set_config(replace(one.config, interval=10.0), 5.0)
        one.heard("a", 5, 100.0)
        one.set_config(replace(one.config, interval=1.0), 108.0)
        one.tick(108.0, socket_drained=True)
        assert one.alive("a")
        one.tick(111.0, socket_drained=True)
        assert not one.alive("a")

    def test_rivals_are_judged_again(self):
        one = settled(preempt_delay=5.0)
        one.set_local_state(HOLDER, 4.0)
        one.heard("a", 8, 5.0)
        one.set_config(replace(one.config, priority=7), 6.0)
        assert one.next_deadline() == math.inf
        one.set_config(replace(one.config, priority=9), 7.0)
        assert one.next_deadline() == 12.0


class TestMembers:
    def test_never_oneself(self):
        one = election(members="abm")
        assert sorted(one.peers) == ["a", "b"]

    def test_added_and_removed_are_reported(self):
        one = settled(members="ab")
        events = one.set_members(frozenset("bc"), 5.0)
        assert [(event.name, event.instance_id) for event in events] == [
            (EventName.PEER_REMOVED, "a"),
            (EventName.PEER_ADDED, "c"),
        ]
        assert one.set_members(frozenset("bc"), 6.0) == []

    def test_the_master_is_removed(self):
        one = settled()
        one.heard("a", 5, 4.0)
        assert one.role is Role.BACKUP
        events = one.set_members(frozenset("b"), 5.0)
        assert events[-1].name is EventName.ROLE
        assert one.role is Role.MASTER
        assert not one.alive("a")

    def test_one_that_stays_keeps_its_life(self):
        one = settled()
        one.heard("a", 5, 4.0)
        one.set_members(frozenset("a"), 5.0)
        assert one.alive("a")
        assert one.next_death == 4.0 + DEAD

    def test_one_that_was_never_heard_is_not_alive(self):
        one = settled(members="")
        one.set_members(frozenset("a"), 5.0)
        assert not one.alive("a")
        assert one.role is Role.MASTER

    def test_one_that_comes_back_is_unheard(self):
        one = settled()
        one.heard("a", 5, 4.0)
        one.set_members(frozenset(), 4.5)
        one.set_members(frozenset("a"), 4.6)
        assert not one.alive("a")


# A naive second implementation: it looks at all of history each time


NOTHING = LocalState()


@dataclass(frozen=True)
class Happening:
    at: float
    peer: str = ""  # "": the own state changes
    priority: int = 0
    state: LocalState = NOTHING


def fit(priority: int) -> bool:
    return 0 < priority < 253


def naive(history: list[Happening], now: float, own: str, priority: int, delay: float) -> tuple[Role, str | None]:
    """Who should hold at `now`, from everything that ever happened."""
    state = next((h.state for h in reversed(history) if not h.peer), NOTHING)
    mine = priority
    if state.leaving:
        mine = 255
    elif state.releasing:
        mine = 254
    elif state.unfit:
        mine = 253 if state.last_held else 254
    elif state.holds and delay and not claimed(history, now, own, priority, delay):
        mine = 0
    ranks = []
    for peer in {h.peer for h in history if h.peer}:
        told = [h for h in history if h.peer == peer]
        if now >= told[-1].at + DEAD:
            continue  # dead
        counted = told[-1].priority
        for index, (older, newer) in enumerate(pairwise(told), start=1):
            rose = older.priority == 0 and fit(newer.priority) and newer.at < older.at + DEAD
            if rose and now < newer.at + DEAD and all(fit(h.priority) for h in told[index:]):
                counted = 0
        ranks.append((counted, peer))
    best = min(ranks, default=None)
    if state.leaving or state.yielded:
        return Role.BACKUP, best[1] if best else None
    if now < DEAD:
        return Role.LISTENING, best[1] if best else None
    if best is None or (mine, own) < best:
        return Role.MASTER, own
    return Role.BACKUP, best[1]


def claimed(history: list[Happening], now: float, own: str, priority: int, delay: float) -> bool:
    """Whether the master that advertised 0 as this node came to hold is still alive and better."""
    held = [(index, h.state.last_held) for index, h in enumerate(history) if not h.peer]
    came = [index for (_, before), (index, holds) in pairwise([(-1, False), *held]) if holds and not before]
    if not came or not held[-1][1]:
        return False
    before = history[: came[-1]]
    _, master = naive(before, history[came[-1]].at, own, priority, delay)
    told = [h for h in before if h.peer == master][-1:] + [h for h in history[came[-1] :] if h.peer == master]
    if not told or told[0].priority != 0 or told[0] not in before:
        return False
    ends = [*[h.at for h in told[1:]], now]
    alive = all(end < h.at + DEAD for h, end in zip(told, ends, strict=True))
    return alive and all(h.priority == 0 or (fit(h.priority) and (h.priority, master) < (priority, own)) for h in told)


def last_resort(history: list[Happening], now: float) -> bool:
    """Whether a node may be the last resort: at some moment it had heard nobody below 254 for 6 s,
    and it has not since.
    """
    moments = sorted({now, *(at for h in history for at in (h.at, h.at + DEAD) if at <= now)}, reverse=True)
    since = now
    for moment in moments:
        said = {h.peer: h for h in history if h.peer and h.at <= moment}  # what each said last
        if min((h.priority for h in said.values() if moment < h.at + DEAD), default=0) < 254:
            break
        since = moment
    return now - since >= 3 * LAST_RESORT


states = st.builds(
    lambda held, doubt, unfit, releasing, yielded, leaving: LocalState(
        held and not doubt, held, unfit, releasing, yielded, leaving
    ),
    *[st.booleans()] * 6,
)
happenings = st.one_of(
    st.tuples(st.sampled_from("abyz"), st.sampled_from([0, 1, 5, 9, 10, 11, 252, 253, 254, 255])),
    st.tuples(st.just(""), states),
)
steps = st.lists(
    st.tuples(st.sampled_from([0.0, 0.125, 0.5, 1.0, 2.0, 2.875, 3.0, 3.125, 5.0]), happenings), max_size=40
)


@settings(max_examples=500, deadline=None)
@given(steps, st.sampled_from([0.0, math.inf]), st.sampled_from("amz"))
@example(
    [
        (0.0, ("", LocalState(holds=True, last_held=True))),
        (2.0, ("a", 11)),
        (1.0, ("a", 0)),
        (3.0, ("a", 0)),
        (3.0, ("a", 0)),
        (3.0, ("a", 1)),
    ],
    0.0,
    "m",
)
@example([(0.0, ("", LocalState(unfit=True))), *[(0.5, (name, 254)) for name in "ba" * 26], (0.0, ("b", 10))], 0.0, "m")
@pytest.mark.slow
def test_a_naive_second_election_agrees(sequence, delay, own):
    members = "abyz".replace(own, "")
    # Without flap damping, which the other one does not know: chance makes six changes of the role
    # seldom, but it does.
    real = election(own, 10, members, preempt_delay=delay, flap_damping=False)
    history: list[Happening] = []
    now = 0.0

    def agree() -> None:
        by_rank = naive(history, now, own, 10, delay)
        if (real.role, real.master) != by_rank:
            assert (real.role, real.master, by_rank[0]) == (Role.MASTER, own, Role.BACKUP), (now, history)
            assert last_resort(history, now), (now, history)

    for wait, (peer, what) in sequence:
        end = now + wait
        while (due := min(real.next_deadline(), real.next_death)) <= end:
            now = max(now, due)
            real.tick(now, socket_drained=True)
            agree()
        now = end
        agree()  # nothing changes between two deadlines
        if peer == "":
            history.append(Happening(now, state=what))
            real.set_local_state(what, now)
        elif peer != own:
            history.append(Happening(now, peer, what))
            real.heard(peer, what, now)
        agree()
        assert real.next_deadline() > now
        assert real.next_death > now


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["heard", "tick", "late tick", "stalled", "feel", "terms", "members"]),
            st.floats(-0.01, 8.0),
            st.sampled_from("abyz"),
            st.integers(0, 255),
            states,
        ),
        max_size=60,
    ),
    st.sampled_from([0.0, 2.0, math.inf]),
)
@pytest.mark.slow
def test_no_sequence_of_calls_breaks_it(sequence, delay):
    """Times may even go back a little, as threads that read the clock before they got the lock make
    them.
    """
    one, now = election(preempt_delay=delay), 0.0
    for what, wait, peer, number, state in sequence:
        now = max(0.0, now + wait)
        match what:
            case "heard" if peer in one.peers:
                one.heard(peer, number, now)
            case "tick" | "late tick":
                one.tick(now, socket_drained=what == "tick")
                assert one.next_deadline() > now  # else its caller would spin
                assert what == "late tick" or one.next_death > now
            case "stalled":
                one.stalled(now, wait)
            case "feel":
                one.set_local_state(state, now)
            case "terms":
                one.set_config(
                    ElectionConfig("m", max(1, number % 253), 0.5 + number / 100, 1 + number % 4, delay), now
                )
            case "members":
                one.set_members(frozenset("abyz"[: number % 5]), now)
        best = min(((p.effective_priority(now), p.instance_id) for p in one.peers.values() if p.alive), default=None)
        if one.role is Role.MASTER:
            assert one.master == "m"
            last_resort = best is not None and best[0] == UNFIT and "no peer is fit" in one.reason
            assert best is None or (one.advertised, "m") < best or last_resort
        else:
            assert one.master == (best[1] if best else None)
