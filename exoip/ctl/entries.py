"""Say what the entries of one node's journal tell. Pure.

An entry is a journal entry as `journalctl -o json` prints it, with all fields that `history` needs.
Shown by tests/unit/ctl/test_history.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from exoip.core.events import EventName

Entry = Mapping[str, str]

_EVENTS = frozenset(EventName)
# Causes that stand for one of several events; the node's state alone does not say which
_ONE_OF = {EventName.HOLDS: (EventName.HOLDS, EventName.ATTACHED)}
# Instead of a MESSAGE that says "this instance", which would mislead a reader on another node
_DESCRIPTIONS = {
    EventName.HOLDS: "{} holds {}, {}",
    EventName.LOST: "{} no longer holds {}, {}",
    EventName.ATTACHED: "{} attached {}: {}",
    EventName.LETTING_GO: "{} is detaching {}: {}",
    EventName.LET_GO: "{} detached {}: {}",
    EventName.FAILED: "{} failed to detach {}: {}",  # the only failure that changes a role
}


def time_of(entry: Entry) -> float:
    """Return when it happened (Unix time): according to the daemon, or else when the journal got
    the entry.
    """
    if "EXOIP_TIME" in entry:
        return float(entry["EXOIP_TIME"])
    return float(entry.get("_SOURCE_REALTIME_TIMESTAMP") or entry["__REALTIME_TIMESTAMP"]) / 1e6


def describe(entry: Entry) -> str:
    """Return an entry as a sentence that names its node by its id."""
    event = entry["EXOIP_EVENT"]
    if event == "role":
        return entry["EXOIP_REASON"]
    if event in _DESCRIPTIONS:
        text = _DESCRIPTIONS[EventName(event)]
        return text.format(entry["EXOIP_INSTANCE"], entry["EXOIP_EIP"], entry["EXOIP_REASON"])
    return entry["MESSAGE"]


def started_anew(journal: Iterable[Entry], since: float = -math.inf) -> bool:
    """Return whether a daemon has started since then, and since it last reported that it holds."""
    anew, reported, role = False, False, ""
    for entry in journal:
        if entry["EXOIP_EVENT"] in ("attached", "holds"):
            anew, reported = False, entry["EXOIP_EVENT"] == "holds"
        elif entry["EXOIP_EVENT"] == "role":
            starts = role != "LISTENING" and entry.get("EXOIP_OLD_ROLE") == "LISTENING" and time_of(entry) > since
            anew, reported, role = anew or (starts and not reported), False, entry.get("EXOIP_ROLE", "")
    return anew


def cause_of(journal: list[Entry], *, to: str, by: float = math.inf) -> Entry | None:
    """Return the entry that caused a node's last change of role; None if no entry says so.

    `to`: MASTER, BACKUP, or "" for any role entry, such as that of a backup that sees another
    master. Entries after `by` do not count. For MASTER the cause may also be a loss of what the
    node held.
    """
    for number in range(len(journal) - 1, -1, -1):
        entry = journal[number]
        if time_of(entry) > by:
            continue
        if entry["EXOIP_EVENT"] == "lost" and to == "MASTER":
            return entry
        became = not to or entry.get("EXOIP_ROLE") == to != entry.get("EXOIP_OLD_ROLE")
        if entry["EXOIP_EVENT"] == "role" and became:
            return _trigger(entry, journal[:number]) if "EXOIP_CAUSE" in entry else None
    return None


def _trigger(role: Entry, earlier: list[Entry]) -> Entry:
    """Return the entry that triggered a change of role, or the change itself if no such entry is
    known.
    """
    if role["EXOIP_CAUSE"] not in _EVENTS or role["EXOIP_CAUSE"] == EventName.LET_GO:  # that explains no takeover
        return role
    cause, peer = EventName(role["EXOIP_CAUSE"]), role.get("EXOIP_CAUSE_INSTANCE", "")
    events = _ONE_OF.get(cause, (cause,))
    fitting = (one for one in reversed(earlier) if one["EXOIP_EVENT"] in events)
    return next((one for one in fitting if peer in ("", one.get("EXOIP_PEER_INSTANCE"))), role)
