"""When a health check fails and passes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exoip.core.snapshot import Health
from exoip.operator.rise import Rise

RESULTS = st.lists(st.booleans(), max_size=40)
COUNTS = st.integers(1, 5)


@pytest.mark.parametrize(("good", "health"), [(True, Health.PASSING), (False, Health.FAILING)])
def test_the_first_result_decides_alone(good, health):
    rise = Rise(5, 5)
    assert rise.health is Health.PENDING
    assert rise.take(good)
    assert rise.health is health


def test_fails_after_fall_in_a_row_and_passes_after_rise_in_a_row():
    rise = Rise(2, 3, Health.PASSING)
    assert [rise.take(good) for good in (False, False, True, False, False, False)] == [False] * 5 + [True]
    assert rise.health is Health.FAILING
    assert [rise.take(good) for good in (True, False, True, True)] == [False, False, False, True]
    assert rise.health is Health.PASSING


@given(results=RESULTS, rise=COUNTS, fall=COUNTS, start=st.sampled_from(Health))
def test_against_a_model_that_looks_back_over_all_results(results, rise, fall, start):
    """Too simple to be wrong: it looks at the whole history each time."""
    counted, health = Rise(rise, fall, start), start
    for number in range(1, len(results) + 1):
        history = results[:number]
        before = health
        if health is Health.PENDING:
            health = Health.PASSING if history[-1] else Health.FAILING
        elif health is Health.PASSING and len(history) >= fall and not any(history[-fall:]):
            health = Health.FAILING
        elif health is Health.FAILING and len(history) >= rise and all(history[-rise:]):
            health = Health.PASSING
        assert counted.take(history[-1]) is (health is not before)
        assert counted.health is health
