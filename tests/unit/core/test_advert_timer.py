"""Test when a heartbeat is due."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exoip.core.advert_timer import FAREWELL_SPACING, FAREWELLS, AdvertTimer
from exoip.core.peers import LEAVING


class TestDue:
    def test_at_once_then_once_an_interval(self):
        timer = AdvertTimer(5.0)
        assert [now for now in (5.0, 5.1, 5.9, 6.0, 6.5, 7.0) if timer.due(10, 1.0, now)] == [5.0, 6.0, 7.0]

    def test_a_changed_priority_at_once_without_shifting_the_rhythm(self):
        timer = AdvertTimer(0.0)
        timer.due(10, 1.0, 0.0)
        assert timer.due(254, 1.0, 0.3)
        assert not timer.due(254, 1.0, 0.9)
        assert timer.due(254, 1.0, 1.0)

    def test_late_is_not_made_up_for(self):
        timer = AdvertTimer(0.0)
        timer.due(10, 1.0, 0.0)
        assert timer.due(10, 1.0, 1.4)
        assert timer.next_at == 2.0
        assert timer.due(10, 1.0, 5.7)
        assert timer.next_at == 6.7

    def test_three_farewells(self):
        timer = AdvertTimer(0.0)
        timer.due(10, 1.0, 0.0)
        now, sent = 0.5, []
        for _ in range(4):
            assert (timer.farewells == 0) is (len(sent) >= FAREWELLS)
            assert timer.due(LEAVING, 1.0, now)
            sent.append(now)
            now = timer.next_at
        assert [later - sent[0] for later in sent[:3]] == pytest.approx([0.0, FAREWELL_SPACING, 2 * FAREWELL_SPACING])
        assert sent[3] - sent[2] >= 1.0 - 1e-9


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 2.5), st.sampled_from([0, 10, 254])), min_size=1, max_size=50))
def test_a_node_that_asks_often_enough_hears_at_least_once_per_interval(asks):
    timer, now, last, sent = AdvertTimer(0.0), 0.0, None, list[float]()
    for wait, priority in asks:
        now += wait
        taken = timer.due(priority, 1.0, now)
        assert timer.next_at > now or not taken
        if priority != last:
            assert taken
        if taken:
            sent.append(now)
        else:
            assert now - sent[-1] <= 1.0 + 1e-9
        last = priority
