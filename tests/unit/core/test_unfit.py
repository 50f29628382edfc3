"""Why a node steps aside."""

from __future__ import annotations

import math

from exoip.core.backoff import FIRST_UNFIT, Fitness
from exoip.core.calls import Failure
from exoip.core.events import EventName
from exoip.core.unfit import Aside, UnfitReason


def test_nothing_said_is_fit():
    aside = Aside("me", {"attach": Fitness()})
    assert not aside.unfit(0.0)
    assert aside.next_deadline(0.0) == math.inf
    assert aside.edge(0.0) == []


def test_every_source_has_its_own_reason_and_all_must_be_gone():
    aside = Aside("me", {})
    aside.set("check", "the web server is down")
    aside.set("operator", "drained")
    aside.set("check", "")
    assert aside.reasons(0.0) == (UnfitReason("operator", "drained"),)
    aside.set("operator", "")
    aside.set("operator", "")
    assert not aside.unfit(0.0)


def test_a_reason_with_an_end_ends():
    aside = Aside("me", {})
    aside.set("operator", "handed over", 5.0)
    assert aside.next_deadline(4.9) == 5.0
    assert aside.unfit(4.9)
    assert not aside.unfit(5.0)
    assert aside.next_deadline(5.0) == math.inf


def test_failed_jobs_count_too():
    fitness = Fitness()
    aside = Aside("me", {"attach": fitness})
    fitness.failed(Failure.FORBIDDEN, 1.0)
    assert aside.reasons(2.0) == (UnfitReason("attach", "attach failed", 1.0 + FIRST_UNFIT),)
    assert not aside.unfit(1.0 + FIRST_UNFIT)


def test_it_is_told_when_it_begins_and_ends_and_not_between():
    aside = Aside("me", {})
    aside.set("check", "down")
    first = aside.edge(1.0)
    aside.set("operator", "drained")
    between = aside.edge(2.0)
    aside.set("check", "")
    aside.set("operator", "")
    last = aside.edge(3.0)
    assert [(event.name, event.reason, event.details["cause"]) for event in first] == [
        (EventName.UNFIT, "down", "check")
    ]
    assert between == []
    assert [event.name for event in last] == [EventName.FIT]
    assert aside.edge(4.0) == []
