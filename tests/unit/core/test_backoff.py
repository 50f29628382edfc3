"""Test backoff and circuit breaker."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exoip.core.backoff import FIRST_RETRY, LONGEST_MOVE_RETRY, LONGEST_RETRY, Backoff, CircuitBreaker
from exoip.core.calls import Failure, Kind, Outcome, Pace

ORDINARY = [failure for failure in Failure if failure not in (Failure.TIMEOUT, Failure.FORBIDDEN)]


def waits(times: int, retry_after: float = 0.0, seed: int = 0) -> list[float]:
    backoff, now, found = Backoff(random.Random(seed)), 0.0, []
    for _ in range(times):
        backoff.failed(retry_after, now)
        found.append(backoff.at - now)
        now = backoff.at
    return found


class TestBackoff:
    def test_at_first_there_is_nothing_to_wait_for(self):
        assert Backoff(random.Random(0)).at == -math.inf

    @given(st.integers(0, 1000))
    def test_half_a_second_doubling_to_thirty_with_a_fifth_of_jitter(self, seed):
        least = [0.5, 1, 2, 4, 8, 16, 24, 24, 24]
        for wait, low in zip(waits(9, seed=seed), least, strict=True):
            assert low <= wait <= 1.25 * low

    def test_jitter_differs(self):
        assert waits(1, seed=1) != waits(1, seed=2)

    def test_what_the_api_asks_for_is_honoured_with_an_end(self):
        assert 7 <= waits(1, retry_after=7.0)[0] <= 8.4
        assert waits(1, retry_after=0.1)[0] >= 0.5
        assert waits(1, retry_after=1e9)[0] == LONGEST_RETRY

    def test_for_a_mutation_with_a_near_end(self):
        backoff = Backoff(random.Random(0), LONGEST_MOVE_RETRY)
        backoff.failed(300.0, 0.0)
        assert backoff.at == LONGEST_MOVE_RETRY
        for now in range(10, 100, 10):
            backoff.failed(0.0, now)
            assert backoff.at <= now + LONGEST_MOVE_RETRY

    def test_an_attach_that_is_undone_has_no_near_end(self):
        backoff = Backoff(random.Random(0), LONGEST_MOVE_RETRY)
        for now in range(10):
            backoff.wait_longer(now)
        assert backoff.at > 9 + 0.8 * LONGEST_RETRY - 1e-9

    def test_done_begins_again(self):
        backoff = Backoff(random.Random(0))
        for now in range(5):
            backoff.failed(0.0, now)
        backoff.reset()
        assert backoff.at == -math.inf
        backoff.failed(0.0, 100.0)
        assert backoff.at - 100.0 <= 0.6

    def test_longer_for_no_particular_failure(self):
        backoff = Backoff(random.Random(0))
        backoff.wait_longer(0.0)
        first = backoff.at
        backoff.wait_longer(0.0)
        assert backoff.at > 1.5 * first


class TestCircuitBreaker:
    @pytest.mark.parametrize("failure", ORDINARY)
    def test_three_tries(self, failure):
        job = CircuitBreaker(10.0, Pace())
        job.failed(failure, 1.0)
        job.failed(failure, 2.0)
        assert job.until == -math.inf
        job.failed(failure, 3.0)
        assert job.until == 13.0

    @pytest.mark.parametrize("failure", [Failure.TIMEOUT, Failure.FORBIDDEN])
    def test_a_time_out_or_a_refusal_counts_as_three(self, failure):
        job = CircuitBreaker(10.0, Pace())
        job.failed(failure, 1.0)
        assert job.until == 11.0

    def test_twice_as_long_each_time_to_ten_minutes(self):
        job, now, lengths = CircuitBreaker(10.0, Pace()), 0.0, []
        for _ in range(8):
            job.failed(Failure.FORBIDDEN, now)
            lengths.append(job.until - now)
            now = job.until
        assert lengths == [10, 20, 40, 80, 160, 320, 600, 600]

    def test_as_long_as_all_others_but_one_may_need_for_the_job(self):
        pace = Pace()
        job = CircuitBreaker(12.0, pace, ["b", "c", "d"])
        job.failed(Failure.TIMEOUT, 100.0)
        assert job.until == 100 + 2 * (12 + FIRST_RETRY)
        pace.note(Kind.READ, Outcome(0.0, 3.0))
        job.failed(Failure.TIMEOUT, 200.0)
        assert job.until == 200 + 2 * 2 * (12 + 1.5 * pace.slack + FIRST_RETRY), "twice as long as the first one"

    def test_while_unfit_nothing_is_counted(self):
        job = CircuitBreaker(10.0, Pace())
        job.failed(Failure.FORBIDDEN, 0.0)
        for now in (1.0, 5.0, 9.999):
            job.failed(Failure.FORBIDDEN, now)
        assert job.until == 10.0
        job.failed(Failure.UNAVAILABLE, 10.0)
        job.failed(Failure.UNAVAILABLE, 10.0)
        assert job.until == 10.0
        job.failed(Failure.UNAVAILABLE, 10.0)
        assert job.until == 30.0

    def test_done_once_is_fit_and_the_next_time_is_short(self):
        job = CircuitBreaker(10.0, Pace())
        for now in (0.0, 10.0, 30.0):
            job.failed(Failure.FORBIDDEN, now)
        job.succeeded()
        assert job.until == -math.inf
        job.failed(Failure.FORBIDDEN, 50.0)
        assert job.until == 60.0

    def test_done_forgets_the_tries(self):
        job = CircuitBreaker(10.0, Pace())
        job.failed(Failure.UNAVAILABLE, 0.0)
        job.failed(Failure.UNAVAILABLE, 0.0)
        job.succeeded()
        job.failed(Failure.UNAVAILABLE, 0.0)
        assert job.until == -math.inf


class TestDeadline:
    def test_a_job_that_is_owed_for_too_long_counts_as_a_time_out(self):
        job = CircuitBreaker(5.0, Pace())
        job.owe(True, 1.0)
        job.owe(True, 4.0)
        assert job.deadline == 6.0
        job.expire(5.999)
        assert job.until == -math.inf
        job.expire(6.0)
        assert job.until == 16.0

    def test_a_job_that_is_no_longer_owed_starts_again(self):
        job = CircuitBreaker(5.0, Pace())
        job.owe(True, 1.0)
        job.owe(False, 5.0)
        assert job.deadline == math.inf
        job.owe(True, 5.5)
        job.expire(6.0)
        assert job.until == -math.inf
        assert job.deadline == 10.5

    def test_while_unfit_its_time_does_not_run(self):
        job = CircuitBreaker(5.0, Pace())
        job.failed(Failure.FORBIDDEN, 0.0)
        job.owe(True, 1.0)
        assert job.deadline == 15.0
