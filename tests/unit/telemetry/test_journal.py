"""The journal: a sentence, an id and fields for every event that a node makes."""

from __future__ import annotations

import logging
import re
from dataclasses import replace

import pytest

from exoip.core.calls import Failure, Kind
from exoip.core.events import Cause, Event, EventName
from exoip.heartbeat.wire import Heartbeat
from exoip.telemetry.journal import Journal
from exoip.telemetry.messages import MESSAGES, TRIGGERS
from tests.simulation.world import EIP, instance_id
from tests.support.journals import Journals

OWN, OTHER = instance_id("a"), instance_id("b")


def names(one: str) -> str:
    """Return a name and address for an instance id, as the daemon does."""
    return {OTHER: "web-2 (192.0.2.2)"}.get(one, one)


@pytest.fixture
def journal() -> Journal:
    return Journal(EIP, OWN, names)


def eventful(journals: Journals) -> None:
    """Let everything happen to three nodes that can."""
    world, a, b = journals.world, journals["a"], journals["b"]
    journals.step(a.crash, 0.5)
    journals.step(a.start)
    journals.step(journals["c"].kill)
    for mode in ("fail", "refuse", "unreachable", "hang", "lost", "late", "operation"):
        b.api.modes["all"] = mode
        journals.step(a.crash, 40.0)
        journals.step(b.api.modes.clear)
        journals.step(a.start, 40.0)
    journals.step(lambda: a.stall(5.0))
    journals.aside("b", "operator", "drained by ann")
    journals.step(lambda: journals.aside("b", "operator", ""))
    journals.step(a.leave)
    journals.step(a.start)
    journals.step(lambda: world.zone.detach(world.eip_id, a.id, world.now))
    for _ in range(4):
        journals.step(lambda: world.split("a", "b"), 10.0)
        journals.step(world.cut.clear, 10.0)
    journals.step(lambda: world.split("a", "b"), 900.0)
    journals.step(world.cut.clear, 900.0)
    stranger = world.zone.add_instance("stranger", now=world.now)
    journals.step(lambda: world.zone.attach(world.eip_id, stranger.id, world.now), 100.0)
    a.node.drop("192.0.2.77", "short", a.now)
    a.node.heard(Heartbeat(5, EIP, a.id), "192.0.2.78", a.now)
    a.node.set_members({}, a.now)
    journals.step(lambda: a.node.set_members(world.members(a), a.now))


@pytest.fixture(scope="module")
def happened() -> list[tuple[str, Event]]:
    """(own id, event) of an eventful life."""
    events: list[tuple[str, Event]] = []
    journals = Journals()
    journals.world.listeners.append(lambda host, event: events.append((host.id, event)))
    eventful(journals)
    # What does not come from the node itself: sender, receiver, health checks and the notify
    # program.
    hook = {"role": "MASTER", "duration": 0.5, "detail": "exit status 1", "then": "once more"}
    for what, details in (
        ((EventName.SEND_FAILED, EventName.SEND_RECOVERED), {"address": "192.0.2.1:12345", "others": "", "count": 3}),
        ((EventName.FLOODED, EventName.FLOOD_OVER), {}),
        ((EventName.CHECK_FAILING, EventName.CHECK_PASSING), {"check": "tcp 127.0.0.1:80"}),
        ((EventName.HOOK_DONE, EventName.HOOK_FAILED), hook),
    ):
        events += [(OWN, Event(name, 1.0, "", "some reason", details)) for name in what]
    return events


def test_every_event_becomes_a_sentence_and_fields(happened):
    assert {event.name for _, event in happened} == set(EventName)
    for own, event in happened:
        journal = Journal(EIP, own, names)
        text, fields = journal.sentence(event), journal.fields(event)
        assert text
        assert not re.search(r"\{|None|\n", text), text
        assert all(re.fullmatch("EXOIP_[A-Z_]+|MESSAGE_ID", name) for name in fields), fields
        assert all(isinstance(value, str) for value in fields.values())
        assert (fields["EXOIP_EVENT"], fields["EXOIP_EIP"], fields["EXOIP_INSTANCE"]) == (event.name, EIP, own)
        assert fields["MESSAGE_ID"] == MESSAGES[event.name].message_id
        if event.name in (EventName.ATTACHED, EventName.CLEARED, EventName.LET_GO):
            assert 0 <= int(fields["EXOIP_DURATION_MS"]) < 60_000
        if event.name in (EventName.FAILED, EventName.API_DEGRADED):
            assert fields["EXOIP_API_CALL"] in set(Kind)
            assert fields["EXOIP_FAILURE"] in set(Failure)


def test_every_event_has_one_row_with_an_id_of_its_own():
    ids = {row.message_id for row in MESSAGES.values()}
    assert set(MESSAGES) == set(EventName)
    assert len(ids) == len(EventName)
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in ids)


class TestSentences:
    def role(self, role: str, old: str, master: str, **cause: str) -> Event:
        details = {"role": role, "old_role": old, "master": master, "old_master": "", "cause": Cause.TIME}
        return Event(EventName.ROLE, 1.0, master, "no peer is alive", details | cause)

    @pytest.mark.parametrize(
        ("cause", "trigger"),
        [
            ({"cause": EventName.PEER_DEAD, "peer": OTHER}, "web-2 (192.0.2.2) died"),
            ({"cause": EventName.FIT}, TRIGGERS[EventName.FIT]),
            ({"cause": EventName.LEAVING}, ""),
            ({"cause": Cause.TIME}, ""),
        ],
    )
    def test_a_role_with_its_reason_and_what_triggered_it(self, journal, cause, trigger):
        event = self.role("MASTER", "BACKUP", OWN, **cause)
        reason = "no peer is alive" + (f" ({trigger})" if trigger else "")
        assert journal.explain(event) == reason
        assert journal.sentence(event).endswith(f": {reason}")
        fields = journal.fields(event)
        assert (fields["EXOIP_ROLE"], fields["EXOIP_OLD_ROLE"]) == ("MASTER", "BACKUP")
        assert fields["EXOIP_REASON"] == "no peer is alive"
        assert (fields["EXOIP_CAUSE"], fields.get("EXOIP_CAUSE_INSTANCE")) == (cause["cause"], cause.get("peer"))

    @pytest.mark.parametrize(("master", "name"), [(OTHER, "web-2 (192.0.2.2)"), ("", "none")])
    def test_the_same_role_under_another_master(self, journal, master, name):
        assert name in journal.sentence(self.role("BACKUP", "BACKUP", master))

    def test_ids_are_replaced_in_reasons_too_and_only_once(self, journal):
        event = Event(EventName.LETTING_GO, 1.0, OWN, f"{OTHER} holds and is heard")
        assert journal.sentence(event).endswith(": web-2 (192.0.2.2) holds and is heard")
        journal = Journal(EIP, OWN, lambda one: f"{one} (192.0.2.2)")
        assert journal.sentence(replace(event, instance_id=OTHER)).count("(192.0.2.2)") == 1

    @pytest.mark.parametrize("odd", ["{who} {0} {nothing!r:>9}", "disk 100%s full %(x)d"])
    def test_braces_and_percent_signs_in_what_others_said_are_no_format(self, journal, caplog, odd):
        details = {"call": "attach", "failure": "unavailable", "again": 0.5, "detail": odd}
        with caplog.at_level(logging.INFO):
            journal.log(Event(EventName.FAILED, 1.0, OWN, "", details))
        assert caplog.records[0].getMessage().endswith(odd)

    def test_the_instance_that_an_event_is_about(self, journal):
        fields = journal.fields(Event(EventName.PEER_DEAD, 1.0, OTHER, "why", {"silent": 3.0, "priority": 10}))
        assert fields["EXOIP_PEER_INSTANCE"] == OTHER
        assert fields["EXOIP_PEER"] == "web-2 (192.0.2.2)"
        assert fields["EXOIP_REASON"] == "why"
        assert fields["EXOIP_PRIORITY"] == "10"
        assert fields["EXOIP_SILENT_MS"] == "3000"
        assert "EXOIP_PEER" not in journal.fields(Event(EventName.DATAGRAM_DROPPED, 1.0, "", "short"))


@pytest.fixture(autouse=True)
def propagate(monkeypatch):
    """Let caplog see the logger, whatever an earlier test did to it."""
    monkeypatch.setattr(logging.getLogger("exoip"), "propagate", True)


def test_an_event_is_logged_with_its_level_and_fields(journal, caplog):
    event = Event(EventName.PEER_DEAD, 1.0, OTHER, "not heard for 3.00 s")
    journal.log(event)
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (logging.WARNING, journal.sentence(event))
    assert vars(record).items() >= journal.fields(event).items()


def test_a_forbidden_call_is_an_error_logged_once(journal, caplog):
    details = {"call": Kind.ATTACH, "failure": Failure.FORBIDDEN, "detail": "403", "again": 30.0}
    for name in (EventName.API_DEGRADED, EventName.FAILED, EventName.FAILED):
        journal.log(Event(name, 1.0, OWN, "403", details))
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


@pytest.mark.parametrize("detail", ["PUT /elastic-ip/…:attach: 404", "GET /instance/…: 404", "conflict"])
def test_a_404_or_409_claims_nothing_about_who_holds(journal, detail):
    """The thing may be gone, the instance may have no IPv6, or it may be as wished already."""
    details = {"call": Kind.ATTACH, "failure": Failure.NOT_SO, "detail": detail, "again": 1.0}
    sentence = journal.sentence(Event(EventName.FAILED, 1.0, OWN, "", details))
    assert sentence.endswith(
        f" failed: the API says not found, or a conflict; tried again in 1.0 s, if still wanted: {detail}"
    )


def test_stalls_are_logged_once_a_minute_with_their_number(journal, caplog):
    caplog.set_level(logging.WARNING, "exoip")
    for at in range(100):
        journal.log(Event(EventName.STALLED, float(at), OWN, f"paused for {at}.00 s", {"slept": float(at)}))
    assert [record.getMessage() for record in caplog.records] == [
        "this node was paused for 0.00 s; listening again before acting",
        "this node was paused for 60.00 s (60 times in 60 s); listening again before acting",
    ]
