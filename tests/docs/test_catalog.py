"""The journal's catalog: a text for every MESSAGE_ID, which uses only fields that the entry has."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from exoip.core.events import Event, EventName
from exoip.telemetry.journal import Journal
from exoip.telemetry.messages import MESSAGES
from tests.support.paths import ROOT

CATALOG = ROOT / "systemd" / "exoip.catalog"
WIDTH = 80

# The fields that each entry always has beside EXOIP_EIP, EXOIP_INSTANCE, EXOIP_EVENT and
# EXOIP_REASON.
PEER = ("EXOIP_PEER", "EXOIP_PEER_INSTANCE")
ALWAYS: dict[EventName, tuple[str, ...]] = {
    EventName.ROLE: ("EXOIP_ROLE", "EXOIP_OLD_ROLE", "EXOIP_CAUSE"),
    EventName.PEER_ALIVE: PEER,
    EventName.PEER_DEAD: (*PEER, "EXOIP_SILENT_MS"),
    EventName.NEVER_HEARD: PEER,
    EventName.PEER_PRIORITY: PEER,
    EventName.PEER_ADDED: PEER,
    EventName.PEER_REMOVED: PEER,
    EventName.ATTACHED: ("EXOIP_DURATION_MS",),
    EventName.CLEARING: (*PEER, "EXOIP_CAUSE"),
    EventName.CLEARED: (*PEER, "EXOIP_CAUSE", "EXOIP_DURATION_MS"),
    EventName.LETTING_GO: ("EXOIP_SUCCESSOR",),
    EventName.LET_GO: ("EXOIP_SUCCESSOR", "EXOIP_DURATION_MS"),
    EventName.FAILED: ("EXOIP_API_CALL", "EXOIP_FAILURE"),
    EventName.API_DEGRADED: ("EXOIP_API_CALL", "EXOIP_FAILURE"),
    EventName.UNFIT: ("EXOIP_CAUSE",),
    EventName.YIELDED: PEER,
    EventName.STAND_BACK_OVER: ("EXOIP_CAUSE",),
    EventName.OUTSIDER_HOLDS: PEER,
    EventName.CHECK_FAILING: ("EXOIP_CHECK",),
    EventName.CHECK_PASSING: ("EXOIP_CHECK",),
    EventName.HOOK_DONE: ("EXOIP_ROLE", "EXOIP_DURATION_MS"),
    EventName.HOOK_FAILED: ("EXOIP_ROLE", "EXOIP_DURATION_MS"),
    EventName.SAME_ID: ("EXOIP_ADDRESS",),
    EventName.DATAGRAM_DROPPED: ("EXOIP_ADDRESS", "EXOIP_CAUSE"),
    EventName.SEND_FAILED: ("EXOIP_ADDRESS",),
    EventName.SEND_RECOVERED: ("EXOIP_ADDRESS",),
}


def entries() -> list[tuple[str, dict[str, str], str]]:
    """Return the catalog's entries: MESSAGE_ID, header fields, text."""
    found = []
    for part in re.split(r"^-- ", CATALOG.read_text(), flags=re.MULTILINE)[1:]:
        head, _, text = part.partition("\n\n")
        message_id, *lines = head.splitlines()
        found.append((message_id, dict(line.split(": ", 1) for line in lines), text.strip()))
    return found


def test_every_event_has_exactly_one_text() -> None:
    ids = [message_id for message_id, _, _ in entries()]
    assert sorted(ids) == sorted(row.message_id for row in MESSAGES.values())


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: str(entry[1]["Subject"]))
def test_a_text_has_its_parts_and_fits_a_terminal(entry: tuple[str, dict[str, str], str]) -> None:
    _, header, text = entry
    assert list(header) == ["Subject", "Defined-By", "Documentation"]
    assert header["Defined-By"] == "exoip"
    assert text.isascii()
    assert len(text) > len("No action is needed.")
    assert max(map(len, text.splitlines())) <= WIDTH


@pytest.mark.parametrize("what", EventName)
def test_a_text_uses_only_fields_that_its_entry_has(what: EventName) -> None:
    text = next(
        text + header["Subject"] for message_id, header, text in entries() if message_id == MESSAGES[what].message_id
    )
    used = set(re.findall(r"@(\w+)@", text))
    always = {"EXOIP_EIP", "EXOIP_INSTANCE", "EXOIP_EVENT", "EXOIP_REASON", *ALWAYS.get(what, ())}
    assert used <= always
    details = {
        "role": "MASTER",
        "old_role": "BACKUP",
        "duration": 0.5,
        "call": "attach",
        "failure": "timeout",
        "address": "192.0.2.1",
        "cause": "time",
        "silent": 3.0,
        "successor": "another-id",
        "check": "tcp 127.0.0.1:80",
    }
    event = Event(what, 1.0, "some-id", "a reason", details)
    assert used <= Journal("198.51.100.50", "own-id", lambda name: name).fields(event).keys()


def test_systemd_accepts_the_catalog(tmp_path: Path) -> None:
    """journalctl compiles it without a complaint and finds every text again."""
    journalctl = shutil.which("journalctl")
    if journalctl is None:
        pytest.skip("no journalctl here; script/setup installs it where it can use apt")
    folder = tmp_path / "usr/lib/systemd/catalog"
    folder.mkdir(parents=True)
    (tmp_path / "var/lib/systemd/catalog").mkdir(parents=True)
    shutil.copy(CATALOG, folder)
    for option in ("--update-catalog", "--list-catalog"):
        done = subprocess.run([journalctl, f"--root={tmp_path}", option], capture_output=True, text=True, timeout=30)
        assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == len(MESSAGES)
