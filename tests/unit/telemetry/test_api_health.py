"""Which kinds of API call fail: of real nodes in virtual time."""

from __future__ import annotations

import pytest

from exoip.core.calls import Call, Failure, Kind, Lane, Outcome
from exoip.core.events import Event, EventName
from exoip.core.peers import Role
from exoip.telemetry.api_health import ApiHealth, ApiView, Trouble
from tests.support.single_node import DEAD, SingleNode, backup


def degraded(bench: SingleNode) -> str:
    return bench.api.view().degraded


def test_each_failure_is_reported_at_its_edge_only():
    bench = backup()
    bench.failing[Kind.READ] = Failure.UNAVAILABLE
    bench.advance(300)
    (edge,) = bench.said(EventName.API_DEGRADED)
    assert edge.details == {"call": Kind.READ, "failure": Failure.UNAVAILABLE}
    assert degraded(bench) == "read unavailable"
    bench.failing[Kind.READ] = Failure.TIMEOUT
    bench.advance(300)
    assert len(bench.said(EventName.API_DEGRADED)) == 2
    assert bench.api.view().trouble == {Kind.READ: Trouble(Failure.TIMEOUT, edge.at, "as told")}, "since the first one"
    bench.failing.clear()
    bench.advance(60)
    assert len(bench.said(EventName.API_RECOVERED)) == 1
    assert degraded(bench) == ""
    assert bench.now - 60 < bench.api.view().answered_at <= bench.now


def test_an_attach_that_is_done_in_the_end():
    bench = SingleNode()
    bench.failing[Kind.ATTACH] = Failure.UNAVAILABLE
    bench.advance(DEAD + 30)
    assert degraded(bench) == "attach unavailable"
    assert len(bench.said(EventName.API_DEGRADED)) == 1
    bench.failing.clear()
    bench.until(lambda: bench.view.holds)
    assert len(bench.said(EventName.API_RECOVERED)) == 1
    assert degraded(bench) == ""


def test_both_lanes_may_fail():
    bench = SingleNode(peers="")
    bench.failing |= {Kind.READ: Failure.UNREACHABLE, Kind.ATTACH: Failure.FORBIDDEN}
    bench.advance(DEAD + 2)
    assert degraded(bench).split(", ") == ["read unreachable", "attach refused"]


def test_a_pending_operation_is_no_success():
    bench = SingleNode()
    bench.failing[Kind.ATTACH] = Failure.UNAVAILABLE
    bench.advance(DEAD + 1)
    bench.failing.clear()
    bench.operation = 5.0
    bench.until(lambda: bool(bench.asked(Kind.POLL)))
    assert degraded(bench) == "attach unavailable"
    bench.until(lambda: bench.view.holds)
    assert degraded(bench) == ""


def test_no_longer_wanted_after_a_change_of_role():
    bench = SingleNode()
    bench.failing[Kind.ATTACH] = Failure.UNAVAILABLE
    bench.advance(DEAD + 1)
    bench.beating["a"] = 5
    bench.heard("a", 5)
    assert bench.role is Role.BACKUP
    assert degraded(bench) == ""


def test_one_that_fails_after_the_role_has_changed():
    bench = SingleNode()
    bench.manual.add(Kind.ATTACH)
    bench.advance(DEAD + 1)
    bench.beating["a"] = 5
    bench.heard("a", 5)
    bench.answer(Lane.MUTATIONS, Failure.TIMEOUT)
    assert degraded(bench) == ""


def test_lists_that_only_a_start_or_a_master_asks_for():
    bench = SingleNode()
    bench.failing[Kind.HOLDERS] = Failure.UNAVAILABLE
    bench.beating["a"] = 5
    bench.advance(1)
    assert degraded(bench) == "holders unavailable"
    bench.advance(DEAD)
    assert bench.role is Role.BACKUP
    assert degraded(bench) == ""


def test_an_instance_that_is_gone_is_an_answer_but_this_one_is_there():
    api = ApiHealth("m", lambda _event: None)
    api.note(Call(Kind.READ, "x"), Outcome(1.0, 2.0, Failure.NOT_SO))
    assert api.view() == ApiView({}, 2.0)
    api.note(Call(Kind.READ, "m"), Outcome(3.0, 4.0, Failure.NOT_SO))
    assert api.view().degraded == "read not-so"


@pytest.mark.parametrize(("kind", "holds"), [(Kind.ATTACH, True), (Kind.DETACH, False)])
def test_no_longer_wanted_if_a_read_shows_what_it_was_to_do(kind, holds):
    told: list[Event] = []
    api = ApiHealth("x" if kind is Kind.ATTACH else "m", told.append)
    api.on_event(Event(EventName.ROLE, 0.0, details={"role": Role.MASTER}))
    api.note(Call(kind, "x"), Outcome(1.0, 2.0, Failure.TIMEOUT))
    api.note(Call(Kind.READ, "x"), Outcome(3.0, 3.1, holds=not holds))
    api.note(Call(Kind.READ, "y"), Outcome(4.0, 4.1, holds=holds))
    api.note(Call(Kind.READ, "x"), Outcome(5.0, 5.1, Failure.TIMEOUT))
    assert [*api.view().trouble] == [kind, Kind.READ]
    api.note(Call(Kind.READ, "x"), Outcome(6.0, 6.1, holds=holds))
    assert api.view() == ApiView({}, 6.1)
    assert [event.name for event in told] == [EventName.API_DEGRADED] * 2 + [EventName.API_RECOVERED] * 2
