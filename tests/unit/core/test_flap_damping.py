"""Test when a better node has to wait after many role changes, and for how long."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exoip.core.election import Election
from exoip.core.events import EventName
from exoip.core.flap_damping import CHANGES, FIRST_DELAY, LONGEST_DELAY, WINDOW, Damping
from exoip.core.peers import ElectionConfig, LocalState

gaps = st.lists(st.floats(0.01, 2 * WINDOW), max_size=40)


def after(*changes: float) -> Damping:
    damping = Damping()
    for at in changes:
        damping.changed(at)
    return damping


def test_five_changes_are_nothing_special():
    assert after(*range(CHANGES - 1)).delay == 0


def test_the_sixth_within_the_window_begins_it_and_each_further_one_doubles_it():
    damping, delays = after(*range(CHANGES - 1)), []
    for at in range(CHANGES, CHANGES + 6):
        damping.changed(at)
        delays.append(damping.delay)
    assert delays == [FIRST_DELAY, 2 * FIRST_DELAY, 4 * FIRST_DELAY, 8 * FIRST_DELAY, LONGEST_DELAY, LONGEST_DELAY]


def test_changes_longer_ago_than_the_window_do_not_count():
    slow = WINDOW / (CHANGES - 1)
    assert after(*(slow * n for n in range(50))).delay == 0
    assert after(*(slow * 0.99 * n for n in range(50))).delay == FIRST_DELAY


def test_only_a_delay_that_begins_or_grows_is_news():
    damping = Damping()
    assert [damping.changed(at) for at in range(12)] == [False] * 5 + [True] * 5 + [False] * 2


def test_it_ends_a_window_after_the_last_change_and_counts_again():
    damping = after(*range(CHANGES))
    end = CHANGES - 1 + WINDOW
    assert not damping.ended(end - 0.001)
    assert damping.ended(end)
    assert (damping.delay, damping.until, len(damping.changes)) == (0, math.inf, 0)
    assert not damping.ended(end + 1)


@given(gaps)
def test_it_agrees_with_counting_by_hand(gaps: list[float]) -> None:
    now, past, expected, damping = 0.0, [], 0.0, Damping()
    for gap in gaps:
        now += gap
        if damping.ended(now):
            past, expected = [], 0.0
        past.append(now)
        damping.changed(now)
        recent = sum(at > now - WINDOW for at in past)
        if recent >= CHANGES:
            expected = max(expected, min(FIRST_DELAY * 2 ** (recent - CHANGES), LONGEST_DELAY))
        assert damping.delay == expected


# In the election.


def flap(election: Election, rounds: int, now: float = 10.0) -> tuple[float, list[EventName]]:
    """A better peer comes and dies so many times; whenever the node is master it holds."""
    told: list[EventName] = []
    election.set_members(frozenset({"a"}), 0.0)
    for _ in range(rounds):
        for event in election.tick(now, socket_drained=True):
            told.append(event.name)
        election.set_local_state(LocalState(holds=True, last_held=True), now)
        told += [event.name for event in election.heard("a", 10, now + 1)]
        if election.role == "BACKUP":
            election.set_local_state(LocalState(), now + 2)
        now += 5
    return now, told


def test_a_holder_that_flapped_protects_itself_from_a_better_node():
    election = Election(ElectionConfig("b", 20), 0.0)
    _, told = flap(election, 4)
    assert (election.role, election.advertised) == ("MASTER", 0)
    assert told.count(EventName.FLAPPING) == 2


def test_nobody_waits_for_a_holder_that_is_unfit_or_leaves():
    for state in (LocalState(last_held=True, unfit=True), LocalState(last_held=True, leaving=True)):
        election = Election(ElectionConfig("b", 20), 0.0)
        now, _ = flap(election, 4)
        election.set_local_state(state, now - 3)
        assert election.role == "BACKUP"


def test_switched_off_it_says_and_does_nothing():
    election = Election(ElectionConfig("b", 20, flap_damping=False), 0.0)
    _, told = flap(election, 9)
    assert election.role == "BACKUP"
    assert EventName.FLAPPING not in told


@pytest.mark.parametrize("configured", [300.0, math.inf])
def test_a_longer_preemption_delay_stays(configured: float):
    election = Election(ElectionConfig("b", 20, preempt_delay=configured), 0.0)
    for at in range(CHANGES):
        election.damping.changed(float(at))
    assert election.preempt_delay == configured
