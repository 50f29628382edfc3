"""Who held the address, rebuilt from journals: entries in, changes out."""

from __future__ import annotations

from typing import Any

import pytest

from exoip.ctl.entries import cause_of
from exoip.ctl.failovers import failovers
from exoip.ctl.history import rebuild

A, B = "aaaaaaaa-0000-4000-8000-000000000000", "bbbbbbbb-0000-4000-8000-000000000000"
EIP = "198.51.100.50"


def entry(at: float, node: str, event: str, message: str = "", **fields: Any) -> dict[str, str]:
    named = {f"EXOIP_{name.upper()}": str(value) for name, value in fields.items()}
    told = {"EXOIP_TIME": f"{at:.6f}", "__REALTIME_TIMESTAMP": f"{(at + 9) * 1e6:.0f}", "MESSAGE": message or event}
    return {"EXOIP_EVENT": event, "EXOIP_EIP": EIP, "EXOIP_INSTANCE": node, "EXOIP_REASON": event} | told | named


def changes(*entries: dict[str, str]) -> list[tuple[float, str, bool, str]]:
    return [(one.at, one.instance, one.holds, one.why) for one in rebuild(entries).changes]


def attached(at: float, node: str) -> dict[str, str]:
    return entry(at, node, "attached", peer_instance=node, duration_ms=400)


def test_a_death_is_a_take_and_a_clear_and_the_peers_death_is_why() -> None:
    found = changes(
        attached(1, A),
        entry(9, B, "peer-dead", "a is dead", peer_instance=A),
        entry(9, B, "role", role="MASTER", old_role="BACKUP", cause="peer-dead", cause_instance=A),
        attached(9.4, B),
        entry(9.9, B, "cleared", peer_instance=A, duration_ms=300, reason="it is silent and held"),
    )
    assert found == [
        (1, A, True, "attached"),
        (9.4, B, True, "a is dead"),
        (9.9, A, False, "it is silent and held"),
    ]


@pytest.mark.parametrize(("seen", "at"), [(9.7, 9.7), (10.5, 9.9)], ids=["sooner", "later"])
def test_a_cleared_node_that_sees_it_too_is_reported_once_with_the_node_that_did_it(seen: float, at: float) -> None:
    cleared = entry(9.9, B, "cleared", peer_instance=A, duration_ms=300, reason="it is silent and held")
    found = changes(attached(1, A), attached(9.4, B), entry(seen, A, "lost", "a no longer holds"), cleared)
    assert found[2:] == [(at, A, False, "it is silent and held")]


def test_a_restarted_daemon_that_finds_itself_holding_changes_nothing() -> None:
    assert len(changes(attached(1, A), entry(2, A, "holds"), entry(3, A, "holds"))) == 1


def test_what_an_outsider_did_is_reported_by_the_read_that_found_it() -> None:
    found = changes(attached(1, A), entry(5, A, "lost", reason="nobody knows why"), attached(6, A))
    lost = f"{A} no longer holds {EIP}, nobody knows why"
    assert found[1:] == [(5, A, False, lost), (6, A, True, lost)]


def test_a_holder_that_attaches_again_because_it_cannot_read_itself_changes_nothing() -> None:
    """Also after a restart, which it went on to hold through."""
    again = attached(33, A) | {"EXOIP_CAUSE": "blind"}
    resumed = entry(2, A, "holds", reason="as before the restart")
    role = entry(3, A, "role", role="MASTER", old_role="LISTENING", cause="time")
    assert [change[0] for change in changes(attached(1, A), resumed, role, again)] == [1]
    assert [change[0] for change in changes(attached(1, A), resumed, role, attached(33, A))] == [1]
    cleared = entry(20, B, "cleared", peer_instance=A)
    assert [change[0] for change in changes(attached(1, A), resumed, role, cleared, again)] == [1, 20, 33]
    assert [change[0] for change in changes(attached(1, A), role, attached(33, A))] == [1, 33]


def test_a_holder_that_restarts_after_it_was_cleared_does_not_hold_again() -> None:
    """What it knows may be out of date, as long as it has not read it."""
    resumed = entry(21, A, "holds", reason="as before the restart", cause="blind")
    cleared, lost = entry(20, B, "cleared", peer_instance=A), entry(30, A, "lost")
    assert [change[0] for change in changes(attached(1, A), attached(19, B), cleared, resumed, lost)] == [1, 19, 20]
    assert [change[0] for change in changes(resumed, lost)] == [21, 30]
    assert failovers(rebuild([resumed, lost])) == [], "it held before"


def test_a_dead_node_that_was_cleared_gives_nothing_any_more() -> None:
    """To b, which was paused, a was the master all the time; the journal of a is missing."""
    c = "cccccccc-0000-4000-8000-000000000000"

    def became(at: float, node: str, role: str, old: str, master: str, **fields: str) -> dict[str, str]:
        return entry(at, node, "role", role=role, old_role=old, peer_instance=master, **fields)

    def took(at: float, node: str) -> list[dict[str, str]]:
        died = {"cause": "peer-dead", "cause_instance": A}
        return [
            entry(at, node, "peer-dead", peer_instance=A, silent_ms=3000),
            became(at, node, "MASTER", "BACKUP", node, **died),
            entry(at, node, "attaching", peer_instance=node),
            attached(at + 0.4, node),
        ]

    found = failovers(
        rebuild(
            [
                *(became(1, node, "BACKUP", "LISTENING", A, cause="time") for node in (B, c)),
                *took(50, c),
                entry(50.5, c, "clearing", peer_instance=A, cause="silent"),
                entry(51, c, "cleared", peer_instance=A, cause="silent"),
                *took(52, B),
                entry(53, c, "letting-go", successor=B),
                entry(54, c, "let-go", successor=B),
            ]
        )
    )
    assert [(one.source, one.to) for one in found] == [((A,), c), ((c,), B)]


def test_what_made_the_node_itself_master_is_why() -> None:
    found = changes(
        entry(1, A, "unfit", "steps aside"),
        entry(2, A, "fit", "is fit again"),
        entry(2, A, "role", role="MASTER", old_role="BACKUP", cause="fit"),
        entry(3, A, "role", role="MASTER", old_role="MASTER", cause="peer-dead", cause_instance=B),
        attached(4, A),
    )
    assert found == [(4, A, True, "is fit again")]


@pytest.mark.parametrize(
    ("cause", "event"),
    [("unfit", "unfit"), ("holds", "attached"), ("time", "role"), ("fit", "role"), ("later", "role")],
)
def test_a_change_of_role_is_its_own_cause_where_no_entry_is_it(cause: str, event: str) -> None:
    """Time passed; or the entry is not in the journal any more; or a later version names a cause
    that this one does not know.
    """
    role = entry(3, A, "role", role="MASTER", old_role="BACKUP", cause=cause)
    found = cause_of([attached(1, A), entry(2, A, "unfit"), role], to="MASTER")
    assert found is not None
    assert found["EXOIP_EVENT"] == event


def test_entries_without_the_fields_of_causes_show_the_change_alone() -> None:
    """As they were written before there were these fields: why it was by the entry itself, and the
    successor by the role.
    """
    prose = f"own priority 20, next none ({A} peer-dead)"
    found = rebuild(
        [
            entry(8, B, "peer-dead", "a is dead", peer_instance=A, reason="not heard for 3.00 s"),
            entry(8, B, "role", role="MASTER", old_role="BACKUP", reason=prose),
            attached(9, B) | {"EXOIP_REASON": "no peer is alive"},
            entry(19, B, "role", role="BACKUP", old_role="MASTER", peer_instance=A, reason=f"{A} advertises 10"),
            entry(20, B, "let-go", peer_instance=B, duration_ms=300, reason=f"{A} holds and is heard"),
        ]
    )
    assert [(one.at, one.why, one.cause, one.successor) for one in found.changes] == [
        (9, "no peer is alive", None, ""),
        (20, f"{A} holds and is heard", None, A),
    ]
    assert [(one.at, one.to, one.took) for one in failovers(found)] == [(9, B, None), (19.7, A, None)]


def test_a_node_that_releases_says_why_and_names_the_cause() -> None:
    found = rebuild(
        [
            attached(9, A),
            entry(18, A, "unfit", "stepping aside: drained", cause="operator"),
            entry(18, A, "role", role="BACKUP", old_role="MASTER", peer_instance=B, cause="unfit"),
            entry(20, A, "let-go", peer_instance=A, reason=f"{B} holds and is heard", successor=B),
        ]
    )
    (gone,) = (one for one in found.changes if not one.holds)
    assert gone.why == f"{B} holds and is heard"
    assert gone.cause is not None
    assert gone.cause["EXOIP_EVENT"] == "unfit"


@pytest.mark.parametrize("end", ["let-go", "lost", "cleared"])
def test_who_ceases_to_hold_had_held_since_its_journal_began(end: str) -> None:
    """Unless it started, or attached, since then; and of whom no entry is older, nothing is known."""
    told = entry(1, A, "peer-alive"), entry(9, B if end == "cleared" else A, end, peer_instance=A)
    assert [change[:3] for change in changes(*told)] == [(1, A, True), (9, A, False)]
    for since in (entry(2, A, "attaching"), entry(2, A, "role", role="BACKUP", old_role="LISTENING")):
        assert changes(told[0], since, told[1]) == []
    assert changes(entry(9, B, "cleared", peer_instance=A)) == []


def test_who_releases_or_attaches_again_because_it_cannot_read_itself_had_held_too() -> None:
    releases = entry(1, A, "letting-go"), entry(3, A, "holds")
    assert [change[:3] for change in changes(*releases)] == [(1, A, True)]
    blind = entry(1, A, "attaching", cause="blind"), attached(2, A) | {"EXOIP_CAUSE": "blind"}
    assert [change[:3] for change in changes(*blind)] == [(1, A, True)]
    assert [change[:3] for change in changes(entry(1, A, "peer-alive"), entry(3, A, "holds"))] == [(3, A, True)]


@pytest.mark.parametrize(("began", "since"), [(9.5, 9), (99.0, 99)])
def test_who_still_held_shortly_after_another_attached_held_before_it(began: float, since: float) -> None:
    found = changes(attached(9, B), entry(began, A, "unfit"), entry(100, A, "let-go", peer_instance=A))
    assert (since, A, True) in [change[:3] for change in found]
    assert [change[1] for change in found] == ([A, B, A] if since == 9 else [B, A, A])


@pytest.mark.parametrize(("starts", "told"), [(2, ["A", "B", "A"]), (6, ["A", "B", "B", "A"])])
def test_who_was_named_holds_unless_it_starts_after_that(starts: float, told: list[str]) -> None:
    """Its own attach counts if it was taken for no holder."""
    entries = [
        attached(1, B),
        entry(starts, A, "role", role="BACKUP", old_role="LISTENING"),
        entry(5, B, "let-go", peer_instance=B, successor=A),
        attached(7, B),
        entry(8, B, "lost"),
    ]
    if starts > 5:
        entries += [attached(9, B), attached(10, A)]
    assert ["A" if one.to == A else "B" for one in failovers(rebuild(entries))[1:]] == told


@pytest.mark.parametrize(("event", "took"), [("attaching", 0.75), ("peer-alive", None)])
def test_a_move_to_a_node_that_reports_none_took_until_the_other_read_it(event: str, took: float | None) -> None:
    """Unknown if the new holder's journal lacks its attach."""
    entries = [
        attached(1, A),
        entry(9, A, "unfit"),
        entry(9, A, "role", role="BACKUP", old_role="MASTER", peer_instance=B, cause="unfit"),
        entry(9.25, B, event, peer_instance=B),
        entry(10, A, "let-go", peer_instance=A, duration_ms=250, successor=B),
    ]
    assert [(one.at, one.to, one.took) for one in failovers(rebuild(entries))[1:]] == [(9.75, B, took)]


def test_each_address_has_a_history_of_its_own() -> None:
    other = attached(2, A) | {"EXOIP_EIP": "198.51.100.51"}
    history = rebuild([attached(1, A), other, attached(3, B)])
    held = [(change.eip, change.instance) for change in history.changes]
    assert held == [(EIP, A), ("198.51.100.51", A), (EIP, B)]
    assert [(one.eip, one.source, one.to) for one in failovers(history)] == [
        (EIP, (), A),
        ("198.51.100.51", (), A),
        (EIP, (A,), B),
    ]


def test_a_node_whose_times_waver_keeps_the_order_of_its_journal() -> None:
    found = changes(
        entry(9.000002, B, "peer-dead", "a is dead", peer_instance=A),
        entry(9.000001, B, "role", role="MASTER", old_role="BACKUP", cause="peer-dead", cause_instance=A),
        attached(9.4, B),
    )
    assert found == [(9.4, B, True, "a is dead")]


def test_entries_that_lack_what_is_needed_are_left_out() -> None:
    for name in ("EXOIP_INSTANCE", "EXOIP_EIP", "EXOIP_REASON", "MESSAGE", "__REALTIME_TIMESTAMP"):
        assert changes({key: value for key, value in attached(1, A).items() if key != name}) == []


def test_an_entry_that_is_read_twice_counts_once() -> None:
    told = [attached(1, A), entry(5, A, "let-go", peer_instance=A, duration_ms=300), attached(9, A)]
    told = [one | {"__CURSOR": f"s={number}"} for number, one in enumerate(told)]
    assert len(changes(*told, *told)) == 3


def test_journals_of_one_node_for_two_addresses_may_come_one_after_the_other() -> None:
    told = [attached(1, A), attached(3, B)]
    history = rebuild([*told, *(one | {"EXOIP_EIP": "198.51.100.51"} for one in told)])
    for eip in (EIP, "198.51.100.51"):
        assert [(one.at, one.instance) for one in history.changes if one.eip == eip] == [(1, A), (3, B)]
