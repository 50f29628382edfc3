"""Find the failovers in a history: when, from which node to which, why, and how long. Pure.

The journal of the new holder reports its own failovers. Without it, the node that released names
its successor, and any other node still saw which node became master. So the journal of any one node
gives a history, and those of all nodes the whole one. Shown by tests/unit/ctl/test_failovers.py.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace

from exoip.ctl.history import Change, Entry, History, cause_of, describe, time_of

UNFIT_BEFORE = 120.0  # seconds before a takeover in which the holder's unfitness counts as its reason
SAME_SIGHTING = 60.0  # seconds within which two nodes that see a new master see the same failover

_UNFIT = {"unfit", "leaving", "yielded", "stalled"}


@dataclass(frozen=True, slots=True)
class Failover:
    """At `at` (Unix time) `to` began to hold; those in `source` had held, or had been master.

    Empty: nobody.

    `took`: seconds since the cause (for a dead node, since its last heartbeat), None if unknown, 0
    if `to` held all the time beside the source.
    `reporter`: the node whose journal says so. `seen`: it is a third node, which saw it happen.
    """

    at: float
    eip: str
    source: tuple[str, ...]
    to: str
    why: str
    took: float | None
    reporter: str
    seen: bool = False


def failovers(history: History) -> list[Failover]:
    """Return all failovers, the oldest first."""
    found = [*_taken(history), *_given(history)]
    for one in sorted(_seen(history), key=lambda one: one.at):
        if not any((one.eip, one.to) == (o.eip, o.to) and abs(one.at - o.at) < SAME_SIGHTING for o in found):
            found.append(one)
    return _linked(sorted(found, key=lambda one: one.at))


def _linked(found: list[Failover]) -> list[Failover]:
    """Set an unknown source to the node that the failover before went to."""
    last: dict[str, str] = {}
    linked = []
    for one in found:
        before = last.get(one.eip, "")
        linked.append(one if one.source or before in ("", one.to) else replace(one, source=(before,)))
        last[one.eip] = one.to
    return linked


def _taken(history: History) -> Iterator[Failover]:
    """Yield the failovers that the new holder reports, and those back to a holder that is left when
    the new one ends: it need not report that it still holds.
    """
    holding: dict[str, list[str]] = defaultdict(list)  # in the order in which they came to hold
    latest: dict[str, str] = {}
    for change in history.changes:
        holders = holding[change.eip]
        if change.instance in holders:
            holders.remove(change.instance)
        source = tuple(sorted(holders)) or tuple({_master_before(history, change)} - history.nodes - {""})
        if change.holds:
            holders.append(change.instance)
            if change.event != "holds" or source:
                latest[change.eip] = change.instance
                yield _failover(history, change, source)
        elif holders and latest.get(change.eip) == change.instance:
            latest[change.eip] = holders[-1]
            yield replace(_failover(history, change, (change.instance,)), to=holders[-1], took=0.0)


def _failover(history: History, change: Change, source: tuple[str, ...]) -> Failover:
    cause, why = change.cause, change.why
    for giver in source:
        unfit = _stood_aside(history.journals.get((giver, change.eip), []), change.at)
        if unfit is not None and unfit["EXOIP_EVENT"] in _UNFIT and change.at - time_of(unfit) < UNFIT_BEFORE:
            cause, why = unfit, describe(unfit)
    return Failover(change.at, change.eip, source, change.instance, why, _took(cause, change.at), change.reporter)


def _stood_aside(journal: list[Entry], by: float) -> Entry | None:
    """Return what made a node a BACKUP, if it still is one at `by`."""
    roles = [entry["EXOIP_ROLE"] for entry in journal if entry["EXOIP_EVENT"] == "role" and time_of(entry) <= by]
    return cause_of(journal, to="BACKUP", by=by) if roles[-1:] == ["BACKUP"] else None


def _master_before(history: History, change: Change) -> str:
    """Return who was master when the new holder was a backup; "" if it had held itself, or had just
    started.
    """
    for entry in reversed(history.journals.get((change.reporter, change.eip), [])):
        if time_of(entry) >= change.at:
            continue
        role = entry.get("EXOIP_ROLE") if entry["EXOIP_EVENT"] == "role" else None
        if entry["EXOIP_EVENT"] in ("attached", "holds") or role == "LISTENING":
            break
        if role == "BACKUP":
            return entry.get("EXOIP_PEER_INSTANCE", "")
    return ""


def _given(history: History) -> Iterator[Failover]:
    """Yield the failovers that only the node that released reports, because the successor's journal
    is missing.
    """
    for change in history.changes:
        if change.holds or change.event != "let-go":
            continue
        to, at = change.successor, change.at - change.within
        if to not in history.nodes and (to or not history.holders(change.eip, change.at)):
            took = _took(change.cause, at)
            why = describe(change.cause) if change.cause is not None else change.why
            yield Failover(at, change.eip, (change.instance,), to, why, took, change.reporter)


def _seen(history: History) -> Iterator[Failover]:
    """Yield the failovers to a node whose journal is missing, as another backup saw them."""
    for (node, eip), entries in history.journals.items():
        before = ""
        for number, entry in enumerate(entries):
            if entry["EXOIP_EVENT"] != "role":
                continue
            master = entry.get("EXOIP_PEER_INSTANCE", "")
            backup = entry.get("EXOIP_ROLE") == entry.get("EXOIP_OLD_ROLE") == "BACKUP"
            if backup and before and master and master != before and master not in history.nodes:
                at, trigger = time_of(entry), cause_of(entries[: number + 1], to="", by=time_of(entry)) or entry
                took = None if trigger is entry else _took(trigger, at)
                yield Failover(at, eip, (before,), master, describe(trigger), took, node, seen=True)
            before = master


def _took(cause: Entry | None, at: float) -> float | None:
    if cause is None:
        return None
    return max(0.0, at - time_of(cause) + float(cause.get("EXOIP_SILENT_MS", 0)) / 1000)
