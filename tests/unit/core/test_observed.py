"""Test what a node knows, and which reads are too old to show anything."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exoip.core.calls import Outcome
from exoip.core.observed import BOTH_HOLD_TIME, TURN_LASTS, TURNS, UNSEEN, InstanceState, Observed, OwnState


class TestOwnState:
    def test_at_start_in_doubt_and_perhaps_holding(self):
        me = OwnState()
        assert (me.doubt, me.holds, me.held, me.may_hold) == (True, False, False, True)

    @pytest.mark.parametrize("holds", [True, False])
    def test_any_read_ends_the_doubt_of_the_start(self, holds):
        me = OwnState()
        assert me.seen(holds, 0.0)
        assert (me.doubt, me.holds, me.may_hold) == (False, holds, holds)

    def test_a_read_from_before_the_doubt_does_not_end_it(self):
        me = OwnState()
        me.seen(True, 0.0)
        me.doubted(5.0)
        assert me.seen(True, 4.9)
        assert me.doubt
        assert me.held
        assert not me.holds
        assert me.seen(True, 5.0)
        assert me.holds

    def test_an_attach_ends_an_older_doubt(self):
        me = OwnState()
        me.attached(called=1.0, known_at=2.0, now=2.1)
        assert (me.holds, me.known_at, me.may_hold) == (True, 2.0, True)

    def test_but_not_one_that_came_after_its_call(self):
        me = OwnState()
        me.seen(False, 0.0)
        me.doubted(1.5)
        me.attached(called=1.0, known_at=2.0, now=2.1)
        assert me.held
        assert me.doubt

    @pytest.mark.parametrize(("detach_fails", "known_at"), [(False, -math.inf), (True, 22.0)])
    def test_only_an_attach_without_effect_makes_the_next_one_wait_for_a_read(self, detach_fails, known_at):
        me = OwnState()
        me.attached(called=1.0, known_at=2.0, now=2.1)
        if detach_fails:
            me.changed_at = 9.0
            me.doubted(9.0, attach_may_land=True)
        me.seen(False, 10.0)
        me.attached(called=21.0, known_at=22.0, now=22.1)
        assert me.known_at == known_at

    def test_a_read_from_before_an_own_mutation_ended_is_ignored(self):
        me = OwnState()
        me.attached(called=1.0, known_at=2.0, now=2.1)
        assert not me.seen(False, 2.05)
        assert me.holds
        me.detached(called=3.0, now=3.5)
        assert not me.seen(True, 3.4)
        assert not me.may_hold

    def test_a_stray_attach_is_ended_by_a_read_that_began_after_it(self):
        me = OwnState()
        me.seen(False, 0.0)
        me.doubted(5.0, attach_may_land=True)
        assert me.may_hold
        me.seen(False, 4.0)
        assert me.may_hold
        me.seen(False, 6.0)
        assert not me.may_hold


class TestInstanceState:
    def test_never_read(self):
        other = InstanceState("x")
        assert (other.holds, other.holding) == (None, False)

    def test_holding_since_it_was_first_seen_to(self):
        other = InstanceState("x")
        assert other.seen(True, True, 1.0, 1.1)
        assert other.seen(True, True, 5.0, 5.1)
        assert (other.holding, other.since) == (True, 1.0)
        assert other.seen(False, True, 6.0, 6.1)
        assert (other.holding, other.since) == (False, math.inf)
        assert other.seen(True, True, 7.0, 7.1)
        assert other.since == 7.0

    def test_counted_anew_when_it_was_not_read_for_a_while(self):
        other = InstanceState("x")
        for began in (1.0, 31.0, 31.0 + UNSEEN):
            assert other.seen(True, True, began, began + 0.1)
            assert other.since == 1.0
        assert other.seen(True, True, 80.0 + UNSEEN, 81.0 + UNSEEN)
        assert other.since == 80.0 + UNSEEN

    def test_assumed_to_hold_until_seen(self):
        other = InstanceState("x", since=3.0)
        assert other.holding
        assert other.seen(True, True, 4.0, 4.1)
        assert (other.holds, other.since) == (True, 4.0), "it counts from the read that shows it"
        assert other.seen(False, True, 6.0, 6.1)
        assert not other.holding

    def test_a_read_from_before_its_detach_ended_is_ignored(self):
        other = InstanceState("x")
        other.seen(True, True, 1.0, 1.1)
        other.cleared(3.0)
        assert not other.seen(True, True, 2.9, 3.1)
        assert not other.holding
        assert other.seen(True, True, 3.0, 3.2)
        assert other.holding


class TestTurns:
    """By the API's clock, which is told in whole seconds."""

    def seen(self, own: str, other: str, *, ahead: float, late: float = 0.1) -> tuple[Observed, InstanceState]:
        """Two hold from 0 on; the API's clock is so much ahead, and its answers come so late."""
        observed = Observed(own)
        observed.set_members(frozenset({own, other}), 0.0)
        for began in range(0, 40, 2):
            read = Outcome(began, began + late, answered_at=math.floor(began + late / 2 + ahead))
            observed.note_time(read)
            observed.own.seen(True, began)
            observed.others[other].seen(True, True, began, began + late)
        return observed, observed.others[other]

    @pytest.mark.parametrize("late", [0.1, 1.5])
    @pytest.mark.parametrize("ahead", [0.0, 0.5, 1e9 / 3, -12.25])
    @pytest.mark.parametrize(("own", "other", "first"), [("a", "b", 0.0), ("b", "a", TURNS / 2)])
    def test_a_turn_begins_when_the_api_says_so(self, own, other, first, ahead, late):
        observed, rival = self.seen(own, other, ahead=ahead, late=late)
        for now in range(38, 38 + int(UNSEEN)):
            due = observed.turn(rival, now)
            into = (max(due, now) + ahead - first) % TURNS
            assert into <= TURN_LASTS + 1 + late or into >= TURNS - 1 - late
            assert due >= BOTH_HOLD_TIME
            assert due <= now + TURNS - TURN_LASTS + 1e-6

    def test_two_never_have_it_at_once(self):
        mine, b = self.seen("a", "b", ahead=7.3)
        theirs, a = self.seen("b", "a", ahead=7.3, late=1.5)
        for now in range(38, 38 + int(UNSEEN)):
            assert not (mine.turn(b, now) <= now and theirs.turn(a, now) <= now)

    @pytest.mark.parametrize("told", [None, 38.0])
    def test_they_go_on_without_a_date_and_with_one_that_stands_still(self, told):
        observed, rival = self.seen("a", "b", ahead=0.0)
        before = observed.turn(rival, 38.0)
        for ended in range(40, 80):
            observed.note_time(Outcome(ended - 0.1, ended, answered_at=told))
        assert observed.turn(rival, 80.0) == before

    def test_a_clock_that_was_set_counts_from_the_next_answer_on(self):
        observed, rival = self.seen("a", "b", ahead=0.0)
        before = observed.turn(rival, 38.0)
        observed.note_time(Outcome(38.0, 38.1, answered_at=88))
        assert observed.turn(rival, 38.1) == pytest.approx(before - 50, abs=1.2)


class TestObserved:
    def test_never_oneself(self):
        observed = Observed("m")
        observed.set_members(frozenset("abm"), 0.0)
        assert sorted(observed.others) == ["a", "b"]

    def test_a_former_member_stays_until_seen_not_to_hold(self):
        observed = Observed("m")
        observed.set_members(frozenset("ab"), 0.0)
        observed.set_members(frozenset("b"), 0.0)
        assert not observed.others["a"].listed
        observed.others["a"].seen(True, True, 2.0, 2.1)
        observed.forget_departed()
        assert [other.instance_id for other in observed.holders()] == ["a"]
        observed.others["a"].seen(False, True, 3.0, 3.1)
        observed.forget_departed()
        assert sorted(observed.others) == ["b"]

    def test_one_that_is_assumed_to_hold_stays_too(self):
        observed = Observed("m")
        observed.set_members(frozenset("a"), 0.0)
        observed.others["a"].since = 1.0
        observed.set_members(frozenset(), 0.0)
        assert sorted(observed.others) == ["a"]

    def test_a_former_member_known_not_to_hold_is_forgotten_at_once(self):
        observed = Observed("m")
        observed.set_members(frozenset("a"), 0.0)
        observed.others["a"].seen(False, True, 0.5, 0.6)
        observed.set_members(frozenset(), 0.0)
        assert observed.others == {}

    def test_a_member_that_comes_back_is_known_again(self):
        observed = Observed("m")
        observed.set_members(frozenset("a"), 0.0)
        observed.others["a"].seen(True, True, 0.5, 0.6)
        observed.set_members(frozenset(), 0.0)
        observed.set_members(frozenset("a"), 0.0)
        assert observed.others["a"].listed
        assert observed.others["a"].holding

    def test_a_baseline_holder_seen_not_to_hold_is_none_any_more(self):
        a = InstanceState("a", predecessor=True)
        a.cleared(1.0)
        assert not a.predecessor


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 3), st.booleans()), max_size=30), st.booleans())
def test_reads_in_any_order_leave_the_one_that_began_last(reads, own):
    """Each read: began, how long it took, what it showed. They arrive in the order in which they
    end.
    """
    me, other = OwnState(), InstanceState("x")
    for began, took, holds in sorted(reads, key=lambda read: read[0] + read[1]):
        me.seen(holds, began) if own else other.seen(holds, True, began, began + took)
    if reads:
        last = max(began for began, _, _ in reads)
        shown = {holds for began, _, holds in reads if began == last}
        assert (me.held if own else other.holds) in shown
