"""Holds docs/journal.md to the code: events, MESSAGE_IDs and fields."""

from __future__ import annotations

import re
from pathlib import Path

from exoip.telemetry import journal
from exoip.telemetry.messages import MESSAGES
from tests.docs.pages import JOURNAL, rows, section


def test_the_message_ids_are_those_of_the_events() -> None:
    text = JOURNAL.read_text()
    listed = {row[1].strip("`"): row[0].strip("`") for row in rows(section(JOURNAL, "Events"))}
    assert listed
    known = {row.message_id: str(row.name) for row in MESSAGES.values()}
    assert all(known.get(name) == what for name, what in listed.items()), listed
    assert set(re.findall(r"\b[0-9a-f]{32}\b", text)) <= known.keys()
    events = set(re.findall(r"EXOIP_EVENT=([a-z-]+)", text))
    assert events
    assert events <= set(known.values())


def test_the_fields_are_those_that_are_written() -> None:
    source = Path(journal.__file__).read_text()
    written = {f"EXOIP_{name}" for name in (*journal._FIELDS.values(), *journal._MILLISECONDS.values())}
    written |= set(re.findall(r'"(EXOIP_[A-Z_]+)"', source))
    assert set(re.findall(r"`(EXOIP_[A-Z_]+)`", section(JOURNAL, "Fields"))) == written
