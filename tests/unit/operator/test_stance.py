"""Role and holding, from the events of a node in virtual time."""

from __future__ import annotations

import pytest

from exoip.core.events import Event, EventName
from exoip.operator.stance import Stance


def role(new: str, old: str) -> Event:
    return Event(EventName.ROLE, 5.0, "x", "why", {"role": new, "old_role": old})


def test_a_node_begins_listening_and_not_holding():
    assert (Stance().role, Stance().holds) == ("LISTENING", False)


def test_another_role_is_another_stance_with_its_time_and_reason():
    stance = Stance().after(role("MASTER", "LISTENING"))
    assert stance == Stance("MASTER", False, 5.0, "why")


def test_another_master_is_none():
    assert Stance("BACKUP").after(role("BACKUP", "BACKUP")) is None


@pytest.mark.parametrize(
    ("what", "holds"),
    [(EventName.ATTACHED, True), (EventName.HOLDS, True), (EventName.LET_GO, False), (EventName.LOST, False)],
)
def test_holding(what, holds):
    after = Stance("MASTER", not holds).after(Event(what, 2.0, "x", "why"))
    assert after == Stance("MASTER", holds, 2.0, "why")
    assert Stance("MASTER", holds).after(Event(what, 2.0, "x", "why")) is None


@pytest.mark.parametrize(
    "what",
    sorted(set(EventName) - {EventName.ROLE, EventName.ATTACHED, EventName.HOLDS, EventName.LET_GO, EventName.LOST}),
)
def test_nothing_else_is_one(what):
    assert Stance("MASTER", True).after(Event(what, 2.0, "x", "why", {"role": "BACKUP", "old_role": "MASTER"})) is None


def test_in_words():
    assert Stance("MASTER", True).words == "MASTER, holding"
    assert Stance("BACKUP").words == "BACKUP, not holding"
