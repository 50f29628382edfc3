"""Why a node steps aside."""

from __future__ import annotations

import math

from exoip.core.backoff import FIRST_UNFIT, CircuitBreaker
from exoip.core.calls import Failure, Pace
from exoip.core.events import EventName
from exoip.core.unfit import UnfitReason, UnfitReasons


def test_nothing_said_is_fit():
    unfit_reasons = UnfitReasons("me", {"attach": CircuitBreaker(10.0, Pace())})
    assert not unfit_reasons.unfit(0.0)
    assert unfit_reasons.next_deadline(0.0) == math.inf
    assert unfit_reasons.report_change(0.0) == []


def test_every_source_has_its_own_reason_and_all_must_be_gone():
    unfit_reasons = UnfitReasons("me", {})
    unfit_reasons.set("check", "the web server is down")
    unfit_reasons.set("operator", "drained")
    unfit_reasons.set("check", "")
    assert unfit_reasons.reasons(0.0) == (UnfitReason("operator", "drained"),)
    unfit_reasons.set("operator", "")
    unfit_reasons.set("operator", "")
    assert not unfit_reasons.unfit(0.0)


def test_a_reason_with_an_end_ends():
    unfit_reasons = UnfitReasons("me", {})
    unfit_reasons.set("operator", "handed over", 5.0)
    assert unfit_reasons.next_deadline(4.9) == 5.0
    assert unfit_reasons.unfit(4.9)
    assert not unfit_reasons.unfit(5.0)
    assert unfit_reasons.next_deadline(5.0) == math.inf


def test_failed_jobs_count_too():
    breaker = CircuitBreaker(10.0, Pace())
    unfit_reasons = UnfitReasons("me", {"attach": breaker})
    breaker.failed(Failure.FORBIDDEN, 1.0)
    assert unfit_reasons.reasons(2.0) == (UnfitReason("attach", "could not attach", 1.0 + FIRST_UNFIT),)
    assert not unfit_reasons.unfit(1.0 + FIRST_UNFIT)


def test_it_is_reported_when_it_begins_and_ends_and_not_between():
    unfit_reasons = UnfitReasons("me", {})
    unfit_reasons.set("check", "down")
    first = unfit_reasons.report_change(1.0)
    unfit_reasons.set("operator", "drained")
    between = unfit_reasons.report_change(2.0)
    unfit_reasons.set("check", "")
    unfit_reasons.set("operator", "")
    last = unfit_reasons.report_change(3.0)
    assert [(event.name, event.reason, event.details["cause"]) for event in first] == [
        (EventName.UNFIT, "down", "check")
    ]
    assert between == []
    assert [event.name for event in last] == [EventName.FIT]
    assert unfit_reasons.report_change(4.0) == []
