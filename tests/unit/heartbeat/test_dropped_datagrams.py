"""Test that dropped datagrams are counted, reported seldom, and take little memory."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from exoip.heartbeat.admission import MAX_STRANGERS, REPORT_INTERVAL, DroppedDatagrams


def test_a_flood_of_strangers_hides_no_member():
    """What a member does wrong is told however many strangers were told of before."""
    dropped = DroppedDatagrams()
    for number in range(2 * MAX_STRANGERS):
        dropped.count(f"10.0.{number // 256}.{number % 256}", "short", 0.0)
    assert not dropped.count("192.0.2.1", "signature", 1.0)
    assert dropped.count("192.0.2.1", "signature", 1.0, member=True)
    assert not dropped.count("192.0.2.1", "signature", 2.0, member=True)


def test_members_that_come_and_go_are_forgotten():
    dropped = DroppedDatagrams()
    for number in range(20 * MAX_STRANGERS):
        assert dropped.count(f"10.0.{number // 256}.{number % 256}", "signature", number * REPORT_INTERVAL, member=True)
        assert len(dropped._members) <= MAX_STRANGERS


def test_a_flood_of_false_senders_takes_little_memory():
    dropped, told = DroppedDatagrams(), 0
    for number in range(5 * MAX_STRANGERS):
        told += dropped.count(f"10.0.{number // 256}.{number % 256}", "short", number * 1e-3)
    assert told == MAX_STRANGERS
    assert len(dropped._others) == MAX_STRANGERS
    assert dropped.counts["short"] == 5 * MAX_STRANGERS


def test_after_the_flood_others_are_reported_again():
    dropped = DroppedDatagrams()
    for number in range(2 * MAX_STRANGERS):
        dropped.count(f"10.0.{number // 256}.{number % 256}", "short", 0.0)
    assert not dropped.count("192.0.2.1", "short", 1.0)
    assert dropped.count("192.0.2.1", "short", 2 * REPORT_INTERVAL + 1)
    assert len(dropped._others) == 1


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 40), st.sampled_from("abc"), st.sampled_from(["short", "eip"])), max_size=80))
def test_never_twice_within_a_minute(datagrams):
    dropped, now = DroppedDatagrams(), 0.0
    last: dict[tuple[str, str], float] = {}
    for wait, address, cause in datagrams:
        now += wait
        told = dropped.count(address, cause, now)
        assert told is (now - last.get((address, cause), -math.inf) >= REPORT_INTERVAL)
        if told:
            last[address, cause] = now
