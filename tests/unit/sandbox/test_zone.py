"""The simulated zone as pure state, in virtual time: no socket, no thread, no waiting."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exoip.sandbox import call_lifecycle
from exoip.sandbox.faults import Fault, FaultBook, Match
from exoip.sandbox.model import Call, Conflict, Forbidden, Invalid, NotFound
from exoip.sandbox.responses import Response
from exoip.sandbox.zone import Zone

EIP = "198.51.100.50"
NOWHERE = "00000000-0000-0000-0000-000000000000"


@pytest.fixture
def zone() -> Zone:
    """Three instances a, b, c; an operation takes one second."""
    made = Zone(eip=EIP, operation_seconds=1.0)
    for number, name in enumerate("abc", start=11):
        made.add_instance(name, public_ip=f"127.0.0.{number}", groups=("web",))
    return made


def ident(zone: Zone, name: str) -> str:
    return zone.instance_named(name, -math.inf).id


def names(zone: Zone, now: float) -> set[str]:
    return {zone.instance(holder, now).name for holder in zone.holders(now)}


def attach(zone: Zone, name: str, now: float, **how: Any) -> str:
    return zone.attach(zone.eip.id, ident(zone, name), now, **how).id


def detach(zone: Zone, name: str, now: float, **how: Any) -> str:
    return zone.detach(zone.eip.id, ident(zone, name), now, **how).id


# Operations


def test_an_attach_takes_effect_when_it_is_complete_and_does_not_move(zone: Zone) -> None:
    operation = attach(zone, "a", 0.0)
    assert (names(zone, 0.999), zone.operation(operation, 0.999).state) == (set(), "pending")
    assert (names(zone, 1.0), zone.operation(operation, 1.0).state) == ({"a"}, "success")
    attach(zone, "b", 2.0)
    assert names(zone, 3.0) == {"a", "b"}
    detach(zone, "a", 3.0)
    assert names(zone, 4.0) == {"b"}


def test_an_attach_of_an_attached_one_succeeds_and_changes_nothing(zone: Zone) -> None:
    attach(zone, "a", 0.0)
    again = attach(zone, "a", 5.0)
    assert zone.operation(again, 6.0).state == "success"
    assert zone.record.holding(zone.eip.id) == [(1.0, frozenset({ident(zone, "a")}))]


@pytest.mark.parametrize(
    ("how", "expected"),
    [("404", NotFound), ("409", Conflict), ("operation", ("failure", "not-found")), ("success", ("success", ""))],
)
def test_a_detach_of_one_not_attached(zone: Zone, how: Any, expected: Any) -> None:
    zone.detach_unattached = how
    if isinstance(expected, tuple):
        ended = zone.operation(detach(zone, "a", 0.0), 1.0)
        assert (ended.state, ended.reason) == expected
    else:
        with pytest.raises(expected, match=f"{EIP} is not attached"):
            detach(zone, "a", 0.0)
        assert zone.operations(99.0) == []


def test_an_attach_under_way_cannot_be_detached_yet(zone: Zone) -> None:
    attach(zone, "a", 0.0)
    with pytest.raises(NotFound):
        detach(zone, "a", 0.5)
    assert names(zone, 2.0) == {"a"}


def test_of_two_detaches_of_one_holder_the_second_fails(zone: Zone) -> None:
    attach(zone, "a", 0.0)
    first, second = detach(zone, "a", 2.0), detach(zone, "a", 2.1)
    assert zone.operation(first, 9.0).state == "success"
    assert zone.operation(second, 9.0).reason == "not-found"


def test_nobody_and_nothing_are_not_found(zone: Zone) -> None:
    a = ident(zone, "a")
    calls: list[Callable[[], object]] = [
        lambda: zone.attach(NOWHERE, a, 0.0),
        lambda: zone.attach(zone.eip.id, NOWHERE, 0.0),
        lambda: zone.detach(zone.eip.id, NOWHERE, 0.0),
        lambda: zone.operation(NOWHERE, 0.0),
        lambda: zone.instance(NOWHERE, 0.0),
        lambda: zone.elastic_ip(NOWHERE),
        lambda: zone.security_group(NOWHERE),
        lambda: zone.instance_named("z", 0.0),
    ]
    for call in calls:
        with pytest.raises(NotFound):
            call()
    assert zone.operations(0.0) == []


def test_a_time_of_the_past_changes_nothing(zone: Zone) -> None:
    attach(zone, "a", 0.0)
    assert names(zone, 5.0) == {"a"}
    before = len(zone.record)
    assert names(zone, 0.5) == {"a"}
    assert len(zone.record) == before


# The world behind the API


def test_a_destroyed_instance_releases_and_fails_what_is_under_way(zone: Zone) -> None:
    a, b = ident(zone, "a"), ident(zone, "b")
    attach(zone, "a", 0.0)
    pending = zone.attach(zone.eip.id, b, 1.5).id
    zone.remove_instance(a, 2.0)
    zone.remove_instance(b, 2.0)
    assert zone.holders(9.0) == frozenset()
    assert zone.operation(pending, 9.0).reason == "not-found"
    with pytest.raises(NotFound):
        zone.attach(zone.eip.id, a, 9.0)
    assert zone.record.holding(zone.eip.id) == [(1.0, frozenset({a})), (2.0, frozenset())]


def test_a_stopped_instance_keeps_what_it_holds(zone: Zone) -> None:
    attach(zone, "a", 0.0)
    zone.set_state(ident(zone, "a"), "stopped", 2.0)
    assert zone.instance(ident(zone, "a"), 2.0).state == "stopped"
    assert names(zone, 3.0) == {"a"}


def test_an_outsider_changes_the_holders_at_once_and_without_a_call(zone: Zone) -> None:
    zone.force(ident(zone, "a"), True, 1.0)
    assert names(zone, 1.0) == {"a"}
    zone.force(ident(zone, "a"), True, 1.5)
    zone.force(ident(zone, "a"), False, 2.0)
    assert [(e.time, e.key) for e in zone.record if e.kind == "holders"] == [(1.0, "outsider"), (2.0, "outsider")]
    assert zone.record.calls() == []


def test_groups_are_joined_and_left(zone: Zone) -> None:
    a = ident(zone, "a")
    zone.join_group(a, "db", 0.0)
    zone.leave_group(a, "web", 0.0)
    assert {zone.security_group(g).name for g in zone.instance(a, 0.0).security_groups} == {"db"}
    assert zone.add_group("web") in zone.security_groups()
    assert [group.name for group in zone.security_groups()] == ["web", "db"]


def test_the_address_filter_finds_holders_and_owners_unless_it_is_off(zone: Zone) -> None:
    zone.add_instance("private", private_networks=frozenset({NOWHERE}))
    zone.add_instance("v6", public_ip="127.0.0.16", ipv6="2001:db8::16")
    attach(zone, "b", 0.0)

    def found(address: str) -> list[str]:
        return [one.name for one in zone.instances(5.0, ip_address=address)]

    assert found(EIP) == ["b"]
    assert found("127.0.0.13") == ["c"]
    assert found("2001:DB8:0::16") == ["v6"]
    assert found("203.0.113.1") == []
    with pytest.raises(Invalid, match="nonsense"):
        found("nonsense")
    zone.ip_filter = False
    assert found(EIP) == ["a", "b", "c", "private", "v6"]


def test_an_ipv6_elastic_ip_is_a_prefix_for_instances_with_ipv6(zone: Zone) -> None:
    v6 = zone.add_instance("v6", public_ip="127.0.0.16", ipv6="2001:db8::16").id
    eip = zone.add_elastic_ip("2001:db8:0:1::/96")
    assert (eip.ip, eip.cidr, eip.label) == ("2001:db8:0:1::1", "2001:db8:0:1::/96", "2001:db8:0:1::/96")
    assert (zone.eip.cidr, zone.eip.label) == (f"{EIP}/32", EIP)
    with pytest.raises(Conflict, match="no IPv6"):
        zone.attach(eip.id, ident(zone, "a"), 0.0)
    zone.attach(eip.id, v6, 0.0)
    assert zone.holders(5.0, eip.id) == {v6}
    assert [one.name for one in zone.instances(5.0, ip_address="2001:DB8:0:1::1")] == ["v6"]


@pytest.mark.parametrize("text", ["2001:db8::/64", "2001:db8::1/96", "2001:db8::/128", "192.0.2.0/24", "x/96", "/96"])
def test_what_is_no_elastic_ip(text: str) -> None:
    with pytest.raises(Invalid):
        Zone(eip=text)


def test_one_instance_name_means_one_id_and_only_one(zone: Zone) -> None:
    with pytest.raises(Conflict):
        zone.add_instance("a", public_ip="127.0.0.99")
    assert Zone().add_instance("a").id == ident(zone, "a")
    assert Zone("de-fra-1").add_instance("a").id != ident(zone, "a")


@pytest.mark.parametrize(
    "fields", [{"state": "asleep"}, {"public_ip": "::1"}, {"public_ip": "x"}, {"ipv6": "x"}, {"id": "7"}]
)
def test_an_impossible_instance_is_rejected(fields: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        Zone().add_instance("a", **fields)


def test_an_impossible_zone_is_rejected(zone: Zone) -> None:
    with pytest.raises(Invalid):
        Zone(eip="elastic")
    with pytest.raises(NotFound, match="no Elastic IP"):
        _ = Zone().eip
    with pytest.raises(Invalid):
        Zone().set_latency(-1.0)
    with pytest.raises(Invalid):
        attach(zone, "a", 0.0, reason="tired")
    with pytest.raises(Invalid):
        attach(zone, "a", 0.0, seconds=-1.0)
    assert zone.operations(99.0) == []


# Faults


def get(path: str = "/instance", key: str = "EXOa") -> Call:
    return Call("GET", path, key)


def test_a_fault_hits_what_it_matches_and_nothing_else() -> None:
    book = FaultBook()
    book.add(Fault("drop", Match(method="put", path=r":attach$", key="EXOa")))
    hit = Call("PUT", "/elastic-ip/x:attach", "EXOa")
    assert book.pick(hit, 0.0) is not None
    for miss in (
        Call("GET", "/elastic-ip/x:attach", "EXOa"),
        Call("PUT", "/elastic-ip/x:detach", "EXOa"),
        Call("PUT", "/elastic-ip/x:attach", "EXOb"),
        Call("PUT", "/elastic-ip/x:attach", "EXOa", service="metadata"),
    ):
        assert book.pick(miss, 0.0) is None


def test_a_fault_skips_counts_and_ends() -> None:
    book = FaultBook()
    book.add(Fault("drop", skip=2, count=2))
    assert [book.pick(get(), 0.0) is not None for _ in range(6)] == [False, False, True, True, False, False]
    assert book.active(0.0) == {}
    book.add(Fault("drop", until=5.0))
    assert book.pick(get(), 4.999) is not None
    assert book.pick(get(), 5.0) is None
    assert book.active(5.0) == {}


def test_the_oldest_fault_that_matches_hits_and_each_can_be_lifted() -> None:
    book = FaultBook()
    first = book.add(Fault("status", status=500))
    second = book.add(Fault("status", status=502))
    assert [fault.status for fault in book.active(0.0).values()] == [500, 502]
    assert (book.pick(get(), 0.0) or Fault("drop")).status == 500
    book.clear(first)
    book.clear(first)  # a second time is no error
    assert (book.pick(get(), 0.0) or Fault("drop")).status == 502
    book.clear()
    assert book.pick(get(), 0.0) is None
    assert second not in book.active(0.0)


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "fire"}, {"kind": "drop", "when": "before"}, {"kind": "hang"}, {"kind": "hang", "seconds": math.inf},
        {"kind": "operation-slow"}, {"kind": "status", "status": 200}, {"kind": "status", "form": "poem"},
        {"kind": "operation-failure", "reason": "tired"}, {"kind": "operation-failure", "when": "instead"},
        {"kind": "drop", "count": 0}, {"kind": "drop", "skip": -1},
    ],
)  # fmt: skip
def test_an_impossible_fault_is_rejected(fields: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        Fault(**fields)


def test_a_path_that_is_no_regular_expression_is_rejected() -> None:
    with pytest.raises(Invalid, match="regular expression"):
        Match(path="(")


# Calls with latency and faults, as a simulator drives them


def put(zone: Zone, name: str, action: str = "attach", key: str = "EXOa") -> Call:
    body = f'{{"instance": {{"id": "{ident(zone, name)}"}}}}'.encode()
    return Call("PUT", f"/elastic-ip/{zone.eip.id}:{action}", key, body=body)


def live(zone: Zone, call: Call, now: float) -> tuple[float, Response]:
    """One call's whole life with nothing else under way: when it ends, and with what."""
    ticket = call_lifecycle.begin(zone, call, now)
    answer = call_lifecycle.perform(zone, ticket, now + ticket.before)
    done = now + ticket.before + ticket.after
    call_lifecycle.end(zone, ticket, answer, done)
    return done, answer


def test_half_of_a_calls_latency_lies_before_its_effect(zone: Zone) -> None:
    zone.set_latency(0.4)
    zone.set_latency(2.0, "EXOslow")
    done, answer = live(zone, put(zone, "a"), 10.0)
    assert (done, answer.status) == (pytest.approx(10.4), 200)
    assert zone.record.holding(zone.eip.id) == []
    zone.advance(20.0)
    assert [at for at, _ in zone.record.holding(zone.eip.id)] == [pytest.approx(10.2 + 1.0)]
    assert live(zone, get(key="EXOslow"), 30.0)[0] == 32.0


def test_calls_under_way_take_effect_in_the_order_they_get_through(zone: Zone) -> None:
    zone.set_latency(4.0, "EXOa")
    slow = call_lifecycle.begin(zone, put(zone, "a", key="EXOa"), 0.0)
    quick = call_lifecycle.begin(zone, put(zone, "b", key="EXOb"), 0.5)
    call_lifecycle.perform(zone, quick, 0.5 + quick.before)
    call_lifecycle.perform(zone, slow, 0.0 + slow.before)
    assert names(zone, 1.5) == {"b"}
    assert names(zone, 2.999) == {"b"}
    assert names(zone, 3.0) == {"a", "b"}


def test_a_dropped_call_takes_no_effect_and_a_lost_reply_does(zone: Zone) -> None:
    zone.add_fault(Fault("drop", count=1), 0.0)
    zone.add_fault(Fault("drop", when="after", count=1), 0.0)
    assert live(zone, put(zone, "a"), 0.0)[1].status == 0
    assert live(zone, put(zone, "b"), 0.0)[1].status == 0
    assert names(zone, 9.0) == {"b"}


@pytest.mark.parametrize(
    ("when", "held_at_2", "held_at_9", "status"),
    [("instead", set(), set(), 0), ("before", set(), {"a"}, 200), ("after", {"a"}, {"a"}, 200)],
)
def test_a_call_hangs_in_front_of_the_zone_or_behind_it(
    zone: Zone, when: str, held_at_2: set[str], held_at_9: set[str], status: int
) -> None:
    zone.add_fault(Fault("hang", when=when, seconds=5.0), 0.0)
    ticket = call_lifecycle.begin(zone, put(zone, "a"), 0.0)
    if ticket.before == 0.0:
        answer = call_lifecycle.perform(zone, ticket, 0.0)
        assert names(zone, 2.0) == held_at_2
    else:
        assert names(zone, 2.0) == held_at_2
        answer = call_lifecycle.perform(zone, ticket, ticket.before)
    assert ticket.before + ticket.after == 5.0
    assert names(zone, 9.0) == held_at_9
    assert answer.status == status


@pytest.mark.parametrize("when", ["instead", "after"])
@pytest.mark.parametrize(
    ("form", "told"),
    [
        ("message", lambda answer: answer.json()["message"]),
        ("problem", lambda answer: answer.json()["detail"]),
        ("text", lambda answer: answer.body.decode()),
    ],
)
def test_an_error_status_comes_in_every_form(zone: Zone, when: str, form: str, told: Callable[[Response], str]) -> None:
    zone.add_fault(Fault("status", status=429, when=when, form=form, message="slow down", retry_after=7.0), 0.0)
    answer = live(zone, put(zone, "a"), 0.0)[1]
    assert (answer.status, answer.retry_after, told(answer)) == (429, 7.0, "slow down")
    assert names(zone, 9.0) == ({"a"} if when == "after" else set())


def test_an_error_status_that_has_no_name_is_possible_too(zone: Zone) -> None:
    zone.add_fault(Fault("status", status=599), 0.0)
    assert "status 599" in live(zone, get(), 0.0)[1].json()["message"]


@pytest.mark.parametrize("kind", ["garbage", "half"])
def test_a_damaged_body_is_no_json(zone: Zone, kind: str) -> None:
    zone.add_fault(Fault(kind, when="after"), 0.0)
    answer = live(zone, put(zone, "a"), 0.0)[1]
    assert answer.status == 200
    with pytest.raises(ValueError, match=r"codec|Unterminated|Expecting"):
        answer.json()
    assert names(zone, 9.0) == {"a"}


@pytest.mark.parametrize(
    ("fault", "at", "state"),
    [
        (Fault("operation-failure", reason="conflict"), 1.0, "failure"),
        (Fault("operation-failure", reason="busy", seconds=3.0), 3.0, "failure"),
        (Fault("operation-timeout"), 1.0, "timeout"),
        (Fault("operation-slow", seconds=8.0), 8.0, "success"),
        (Fault("operation-never"), math.inf, "pending"),
    ],
)
def test_an_operation_is_bent_as_ordered(zone: Zone, fault: Fault, at: float, state: str) -> None:
    zone.add_fault(fault, 0.0)
    operation = live(zone, put(zone, "a"), 0.0)[1].json()["id"]
    assert zone.next_due() == at
    assert zone.operation(operation, min(at, 1e9) - 0.001).state == "pending"
    told = live(zone, get(f"/operation/{operation}"), min(at, 1e9))[1].json()
    assert told["state"] == state
    assert ("reason" in told) == (state in ("failure", "timeout"))
    assert names(zone, 1e9) == ({"a"} if state == "success" else set())


def test_a_role_refuses_by_operation_and_names_it(zone: Zone) -> None:
    zone.add_key("EXOa", "secret", refused=("attach-instance-to-elastic-ip", "list-instances"))
    answer = live(zone, put(zone, "a"), 0.0)[1]
    assert answer.status == 403
    assert answer.json()["message"].startswith("Forbidden by role policy for compute")
    assert "attach-instance-to-elastic-ip" in answer.json()["message"]
    assert live(zone, get(), 0.0)[1].status == 403
    assert live(zone, put(zone, "a", key="EXOb"), 0.0)[1].status == 200
    with pytest.raises(Forbidden):
        zone.permit("EXOa", "list-instances")
    assert "secret" not in repr(zone.keys)


@pytest.mark.parametrize(
    ("call", "status"),
    [
        (Call("GET", f"/elastic-ip/{NOWHERE}"), 404), (Call("GET", "/nothing"), 404),
        (Call("DELETE", f"/instance/{NOWHERE}"), 404), (Call("GET", "/elastic-ip/7"), 400),
        *((Call("GET", "/instance", query=(query,)), 400) for query in (
            ("ip-address", "nonsense"), ("ip_address", "127.0.0.11"), ("manager-id", NOWHERE),
        )),
        *((Call("PUT", f"/elastic-ip/{NOWHERE}:attach", body=body), 400) for body in (
            b"{", b"[]", b'{"instance": {"id": 7}}', b'{"instance": {"id": "7"}}',
        )),
    ],
)  # fmt: skip
def test_wrong_input_is_rejected_with_a_message(zone: Zone, call: Call, status: int) -> None:
    answer = live(zone, call, 0.0)[1]
    assert answer.status == status
    assert answer.json()["message"]
    assert ("errors" in answer.json()) == (status == 400)


def test_a_pool_lists_its_instances(zone: Zone) -> None:
    zone.add_instance("pooled", public_ip="127.0.0.14", pool=NOWHERE)
    query = (("manager-id", NOWHERE), ("manager-type", "instance-pool"))
    listed = live(zone, Call("GET", "/instance", query=query), 0.0)[1].json()["instances"]
    assert [(one["name"], one["manager"]["id"]) for one in listed] == [("pooled", NOWHERE)]


# The record


def test_the_record_shows_each_request_and_its_result(zone: Zone) -> None:
    mark = len(zone.record)
    zone.set_latency(0.5)
    live(zone, put(zone, "a", key="EXOa"), 10.0)
    live(zone, get(key="EXOb"), 12.0)
    zone.add_fault(Fault("drop"), 12.0)
    live(zone, put(zone, "b", "detach", key="EXOb"), 13.0)
    told = [(e.kind, e.key, e.operation, e.status, e.outcome) for e in zone.record.since(mark)]
    assert told == [
        ("call", "EXOa", "attach-instance-to-elastic-ip", 0, ""),
        ("answer", "EXOa", "attach-instance-to-elastic-ip", 200, "ok"),
        ("holders", "EXOa", "attach-instance-to-elastic-ip", 0, "attached"),
        ("operation", "EXOa", "attach-instance-to-elastic-ip", 0, "success"),
        ("call", "EXOb", "list-instances", 0, ""),
        ("answer", "EXOb", "list-instances", 200, "ok"),
        ("fault", "", "", 0, "1: drop instead"),
        ("call", "EXOb", "detach-instance-from-elastic-ip", 0, ""),
        ("answer", "EXOb", "detach-instance-from-elastic-ip", 0, "drop instead"),
    ]
    assert [entry.index for entry in zone.record] == list(range(len(zone.record)))
    call, answer = zone.record[mark], zone.record[mark + 1]
    assert (answer.call, answer.arrived, call.instance) == (call.index, call.time, ident(zone, "a"))
    counts = zone.record.count(mark)
    assert (counts.reads, counts.mutations) == (1, 2)
    assert zone.record.count(mark, key="EXOb").mutations == 1
    assert zone.record.count(len(zone.record)).mutations == 0
    with pytest.raises(ValueError, match="gossip"):
        zone.record.add("gossip", 0.0)


def test_the_record_as_data_keeps_what_matters_even_when_it_is_nothing(zone: Zone) -> None:
    zone.add_fault(Fault("drop", count=1), 0.0)
    live(zone, get(), 0.0)
    zone.force(ident(zone, "a"), True, 1.0)
    zone.force(ident(zone, "a"), False, 2.0)
    assert zone.record[-1].as_dict()["holders"] == ()
    answers = [entry.as_dict() for entry in zone.record if entry.kind == "answer"]
    assert [(data["status"], data["arrived"]) for data in answers] == [(0, 0.0)]
    assert zone.record[0].wall is None


# Against a dumb second implementation


moves = st.tuples(
    st.sampled_from(["attach", "detach"]),
    st.sampled_from("abc"),
    st.integers(0, 40),  # called at, in quarter seconds
    st.integers(0, 20),  # takes
    st.booleans(),  # fails
)


@settings(max_examples=300, deadline=None)
@given(st.lists(moves, max_size=25), st.lists(st.integers(0, 80), max_size=6))
def test_the_holders_are_those_of_a_naive_replay(planned: list[tuple[Any, ...]], looks: list[int]) -> None:
    zone = Zone(eip=EIP)
    zone.detach_unattached = "operation"
    for name in "abc":
        zone.add_instance(name)
    # When nothing is due yet at the time of the call, calls and looks come in the order of their
    # time
    calendar = sorted(
        [(move[2], 0, move) for move in planned] + [(look, 1, None) for look in looks], key=lambda e: e[:2]
    )
    for at, _, move in calendar:
        if move is None:
            assert names(zone, at / 4) == replay(planned, at)
        else:
            action, name, _, takes, fails = move
            start = zone.attach if action == "attach" else zone.detach
            start(zone.eip.id, ident(zone, name), at / 4, seconds=takes / 4, reason="busy" if fails else "")
    assert names(zone, 1e6) == replay(planned, 10**6)
    times = [entry.time for entry in zone.record]
    assert times == sorted(times)


def replay(planned: list[tuple[Any, ...]], until: int) -> set[str]:
    """Who holds at `until`: every move applied in the order of its completion, the call's order
    among equals.
    """
    holders: set[str] = set()
    calls = sorted(planned, key=lambda move: move[2])
    for action, name, called, takes, fails in sorted(calls, key=lambda move: move[2] + move[3]):
        if called + takes <= until and not fails:
            holders = holders | {name} if action == "attach" else holders - {name}
    return holders


def test_the_same_calls_give_the_same_record() -> None:
    def run() -> list[dict[str, Any]]:
        zone = Zone(eip=EIP, operation_seconds=0.7)
        zone.add_instance("a")
        zone.add_instance("b")
        for number in range(20):
            live(zone, put(zone, "ab"[number % 2], ("attach", "detach")[number % 3 == 0]), number * 0.4)
        return [entry.as_dict() for entry in zone.record]

    assert run() == run()
