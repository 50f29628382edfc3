"""The failovers that journals tell of: when, from whom to whom, why, and how long each took. Pure.

Where the new holder's own journal is there, it says so itself. Where it is not, the node that let go says to whom; and a node that did
neither still saw who became master. So the journal of any one node gives a history, and those of all nodes the whole one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from exoip.ctl.history import Change, Entry, History, cause_of, moment, words

BESIDE = 120.0  # seconds within which a node's stepping aside is the reason for another's taking over
SAME = 60.0  # seconds within which two nodes that see a new master see the same thing

_ASIDE = {"unfit", "leaving", "yielded", "stalled"}


@dataclass(frozen=True, slots=True)
class Failover:
    """At `at` (Unix time) `to` came to hold; `source` had held, or had been master. Empty: nobody.

    `took`: seconds since what it came from began (of a dead node: since its last heartbeat), None when that is not known.
    `told_by`: whose journal says so; `seen`: it was neither of the two.
    """

    at: float
    eip: str
    source: tuple[str, ...]
    to: str
    why: str
    took: float | None
    told_by: str
    seen: bool = False


def failovers(history: History) -> list[Failover]:
    """Return them all, the oldest first."""
    found = [*_taken(history), *_given(history)]
    for one in sorted(_seen(history), key=lambda one: one.at):
        if not any(one.eip == other.eip and one.to == other.to and abs(one.at - other.at) < SAME for other in found):
            found.append(one)
    return _linked(sorted(found, key=lambda one: one.at))


def _linked(found: list[Failover]) -> list[Failover]:
    """Take for the one before whoever the failover before that went to, where nothing else is known."""
    last: dict[str, str] = {}
    linked = []
    for one in found:
        before = last.get(one.eip, "")
        linked.append(one if one.source or before in ("", one.to) else replace(one, source=(before,)))
        last[one.eip] = one.to
    return linked


def _taken(history: History) -> Iterator[Failover]:
    """Those that the new holder tells of."""
    tellers = {node for node, _ in history.told}
    holding: dict[str, set[str]] = {}
    for change in history.changes:
        holders = holding.setdefault(change.eip, set())
        if not change.holds:
            holders.discard(change.instance)
            continue
        others = holders - {change.instance}
        holders.add(change.instance)
        source = others or {_master_before(history, change)} - tellers - {""}
        if change.event != "holds" or source:
            yield _failover(history, change, tuple(sorted(source)))


def _failover(history: History, change: Change, source: tuple[str, ...]) -> Failover:
    cause, why = change.cause, change.why
    for giver in source:
        aside = cause_of(history.told.get((giver, change.eip), []), to="BACKUP", by=change.at)
        if aside is not None and aside["EXOIP_EVENT"] in _ASIDE and change.at - moment(aside) < BESIDE:
            cause, why = aside, words(aside)
    return Failover(change.at, change.eip, source, change.instance, why, _took(cause, change.at), change.told_by)


def _master_before(history: History, change: Change) -> str:
    """Who was master, in the eyes of the node that took, while it was a backup; a node that has just started knows of nobody."""
    for entry in reversed(history.told.get((change.told_by, change.eip), [])):
        if moment(entry) >= change.at:
            continue
        if entry["EXOIP_EVENT"] in ("attached", "holds"):
            break  # it was the holder itself
        if entry["EXOIP_EVENT"] != "role":
            continue
        if entry.get("EXOIP_ROLE") == "LISTENING":
            break
        if entry.get("EXOIP_ROLE") == "BACKUP":
            return entry.get("EXOIP_PEER_INSTANCE", "")
    return ""


def _given(history: History) -> Iterator[Failover]:
    """Those of which only the node that let go tells: nothing of the other's journal is there."""
    tellers = {node for node, _ in history.told}
    for change in history.changes:
        if change.holds or change.event != "let-go":
            continue
        to, at = change.successor, change.at - change.within
        if to not in tellers and (to or not history.holders(change.eip, change.at)):
            took = _took(change.cause, at)
            yield Failover(at, change.eip, (change.instance,), to, change.why, took, change.told_by)


def _seen(history: History) -> Iterator[Failover]:
    """Those to a node whose journal is not there, as another node saw them."""
    tellers = {node for node, _ in history.told}
    for (node, eip), entries in history.told.items():
        before = ""
        for number, entry in enumerate(entries):
            if entry["EXOIP_EVENT"] != "role":
                continue
            master = entry.get("EXOIP_PEER_INSTANCE", "")
            steady = entry.get("EXOIP_ROLE") == entry.get("EXOIP_OLD_ROLE") == "BACKUP"
            if steady and before and master and master != before and master not in tellers:
                trigger = cause_of(entries[: number + 1], to="", by=moment(entry)) or entry
                took = _took(trigger, moment(entry)) if trigger is not entry else None
                yield Failover(moment(entry), eip, (before,), master, words(trigger), took, node, seen=True)
            before = master


def _took(cause: Entry | None, at: float) -> float | None:
    if cause is None:
        return None
    return max(0.0, at - moment(cause) + float(cause.get("EXOIP_SILENT_MS", 0)) / 1000)
