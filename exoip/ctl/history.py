"""Rebuild who held an Elastic IP when, and why that changed, from the journals of its nodes. Pure.

An entry is a journal entry as `journalctl -o json` prints it; entries with values that are not text
are skipped. The nodes' clocks are assumed to be synchronized. The journal of one node shows what
that node did and saw; those of all nodes show everything. They may begin at any time: if the first
change of a node is that it ceased to hold, it held before.

Only the fields that `exoip.telemetry.journal` documents count; MESSAGE and EXOIP_REASON are shown
to people and never parsed. Entries without EXOIP_CAUSE or EXOIP_SUCCESSOR (written before these
fields existed) still show the change, but neither its cause nor how long it took; the successor is
then the master by the node's last role. Shown by tests/unit/ctl/test_history.py.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from exoip.core.events import Cause
from exoip.ctl.entries import Entry, cause_of, describe, started_anew, time_of

Journals = Mapping[tuple[str, str], list[Entry]]  # by node and Elastic IP, each in its own order

_NEEDED = ("EXOIP_EVENT", "EXOIP_INSTANCE", "EXOIP_EIP", "EXOIP_REASON", "MESSAGE", "__REALTIME_TIMESTAMP")
HANDOVER = 60.0  # seconds in which a node that still holds logs that another one has come to hold
HELD = "held"  # the event of a change that no entry reports: the instance held as its journal begins


@dataclass(frozen=True, slots=True)
class Change:
    """At `at` (Unix time), or up to `within` seconds before, `instance` began or ceased to hold.

    `event` in the journal of `reporter` says so, or is HELD. `cause` is the entry that caused it,
    if known, and `why` describes it. `successor` holds in place of an instance that released.
    """

    at: float
    within: float
    eip: str
    instance: str
    holds: bool
    why: str
    event: str
    reporter: str
    cause: Entry | None = None
    successor: str = ""


@dataclass(frozen=True, slots=True)
class History:
    """The changes, oldest first; the names of instances by id; the entries that show it."""

    changes: tuple[Change, ...]
    names: Mapping[str, str]
    journals: Journals

    @property
    def nodes(self) -> set[str]:
        """The instances whose journals are known."""
        return {node for node, _ in self.journals}

    def begins(self, node: str, eip: str) -> float:
        """Return when a node's journal begins (Unix time); infinity if it is not known."""
        journal = self.journals.get((node, eip))
        return time_of(journal[0]) if journal else math.inf


def rebuild(entries: Iterable[Entry]) -> History:
    """Return the history that the entries show.

    Those of each node must be in the order of its journal.
    """
    usable = (entry for entry in entries if all(isinstance(entry.get(name), str) for name in _NEEDED))
    unique = {entry.get("__CURSOR") or number: entry for number, entry in enumerate(usable)}
    merged = _merged(list(unique.values()))
    changes: list[Change] = []
    journals: defaultdict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in merged:
        reporter = entry["EXOIP_INSTANCE"], entry["EXOIP_EIP"]
        change = _change(entry, journals[reporter])
        journals[reporter].append(entry)
        if change is not None and change.event == "holds" and entry.get("EXOIP_CAUSE") == Cause.BLIND:
            change = None if _of(changes, change) else replace(change, event=HELD)  # it has not read it again
        if change is not None:
            anew = change.event == "attached" and entry.get("EXOIP_CAUSE") != Cause.BLIND
            if not anew and not _of(changes, change):
                _add_held(changes, change, journals)
            _add(changes, change, anew=anew and _played_another_role(journals[reporter]))
    return History(tuple(sorted(changes, key=lambda change: change.at)), _names(merged), journals)


def _merged(entries: list[Entry]) -> list[Entry]:
    """Sort by time, but keep those of each node and Elastic IP in the order of their journal."""
    latest: dict[tuple[str, str], float] = {}
    keys = []
    for entry in entries:
        journal = entry["EXOIP_INSTANCE"], entry["EXOIP_EIP"]
        latest[journal] = max(latest.get(journal, 0.0), time_of(entry))
        keys.append(latest[journal])
    return [entries[number] for number in sorted(range(len(entries)), key=keys.__getitem__)]


def _change(entry: Entry, earlier: list[Entry]) -> Change | None:
    """Return what an entry says about the holders, if anything.

    `earlier`: those of the same node before it.
    """
    if (release := _unfinished_release(entry, earlier)) is not None:
        entry = {**release, "EXOIP_EVENT": "let-go", "EXOIP_TIME": str(time_of(entry))}
    event, reporter = entry["EXOIP_EVENT"], entry["EXOIP_INSTANCE"]
    instance, cause, successor = reporter, None, ""
    if event == "attached":
        cause = cause_of(earlier, to="MASTER")
    elif event == "let-go":
        cause = None if _attached_by_another(earlier) else cause_of(earlier, to="BACKUP")
        successor = _successor(entry, earlier)
    elif event == "cleared":
        instance = entry.get("EXOIP_PEER_INSTANCE", reporter)
    elif event not in ("holds", "lost"):
        return None
    described = entry if event in ("holds", "lost") else cause if event == "attached" else None
    why = describe(described) if described is not None else entry["EXOIP_REASON"]
    if event == "holds" and _attached_by_another([*earlier, entry]):
        why = f"attached by somebody else: {why}"
    took, holds = float(entry.get("EXOIP_DURATION_MS", 0)) / 1000, event in ("attached", "holds")
    return Change(time_of(entry), took, entry["EXOIP_EIP"], instance, holds, why, event, reporter, cause, successor)


def _unfinished_release(entry: Entry, earlier: list[Entry]) -> Entry | None:
    """Return the entry of a release under way as the daemon ended, if it has started again, and has
    not found that it still holds.
    """
    roles = entry.get("EXOIP_OLD_ROLE"), entry.get("EXOIP_ROLE")
    if entry["EXOIP_EVENT"] != "role" or roles != ("LISTENING", "BACKUP"):
        return None
    ended = {"attached", "holds", "let-go", "lost", "failed"}
    last = next((one for one in reversed(earlier) if one["EXOIP_EVENT"] in {"letting-go", *ended}), entry)
    return last if last["EXOIP_EVENT"] == "letting-go" else None


def _successor(entry: Entry, earlier: list[Entry]) -> str:
    """Return the holder in place of a node that released; "" for none."""
    if "EXOIP_SUCCESSOR" in entry:
        return entry["EXOIP_SUCCESSOR"]
    return next((one.get("EXOIP_PEER_INSTANCE", "") for one in reversed(earlier) if one["EXOIP_EVENT"] == "role"), "")


def _attached_by_another(journal: list[Entry]) -> bool:
    """Return whether a node that holds came to do so as a backup, without an attach of its own."""
    held = backup = False
    for entry in reversed(journal):
        event, role, old = entry["EXOIP_EVENT"], entry.get("EXOIP_ROLE"), entry.get("EXOIP_OLD_ROLE")
        if event in ("attaching", "attached", "let-go", "lost"):
            return (event == "let-go" and held) or (event == "lost" and backup)
        held = held or event == "holds"
        if event == "role" and role != old:
            backup = held and (backup or role == "BACKUP")
            if not backup or old == "LISTENING":
                return backup
    return False


def _played_another_role(journal: list[Entry]) -> bool:
    """Return whether a node that reports an attach has started, or was a backup, since it last
    reported that it holds: then it may have lost the Elastic IP, which only another journal shows.
    """
    since = itertools.takewhile(lambda entry: entry["EXOIP_EVENT"] not in ("attached", "holds"), reversed(journal[:-1]))
    backup = any("BACKUP" in (entry.get("EXOIP_ROLE"), entry.get("EXOIP_OLD_ROLE")) for entry in since)
    return backup or started_anew(journal[:-1])


def _add_held(changes: list[Change], change: Change, journals: Journals) -> None:
    """Add that an instance held as its journal began, if its first change shows that: it ceased to
    hold, or attached again while it could not read itself, without a start or an attach before. So
    does a release before these.

    Who came to hold shortly before, and has neither started nor been a backup since, did so after
    it.
    """
    journal = journals.get((change.instance, change.eip), [])
    before = list(itertools.takewhile(lambda one: not _may_begin(one), journal))
    released = any(one["EXOIP_EVENT"] == "letting-go" for one in before)
    if not journal or not (released or (len(before) == len(journal) and change.event != "holds")):
        return
    began = time_of(journal[0])
    held, place = replace(change, at=began, within=0.0, holds=True, event=HELD), len(changes)
    for number, one in reversed(list(enumerate(changes))):
        recent = one.eip == change.eip and one.holds and one.at > began - HANDOVER
        if recent and _of(changes, one)[-1] is one and not _stepped_down(journals, one, began):
            held, place = replace(held, at=min(held.at, one.at)), number
    changes.insert(place, held)


def _may_begin(entry: Entry) -> bool:
    """Return whether a node has started, or calls an attach although it does not hold."""
    attaches = entry["EXOIP_EVENT"] == "attaching" and entry.get("EXOIP_CAUSE") != Cause.BLIND
    return attaches or entry.get("EXOIP_OLD_ROLE") == "LISTENING"


def _stepped_down(journals: Journals, change: Change, by: float) -> bool:
    """Return whether who came to hold has started, or been a backup, between then and `by`."""
    journal = (one for one in journals.get((change.instance, change.eip), []) if change.at < time_of(one) <= by)
    return any(one.get("EXOIP_OLD_ROLE") == "LISTENING" or one.get("EXOIP_ROLE") == "BACKUP" for one in journal)


def _of(changes: list[Change], change: Change) -> list[Change]:
    """Return the changes so far of the same instance and Elastic IP."""
    return [one for one in changes if (one.eip, one.instance) == (change.eip, change.instance)]


def _add(changes: list[Change], change: Change, *, anew: bool) -> None:
    """Add a change unless it is known; `anew`: it is not, whatever was the last one known.

    A node may see the effect of an operation before its author reports it.
    """
    same = _of(changes, change)
    if anew or not same or same[-1].holds is not change.holds:
        if same or change.holds:
            changes.append(change)
    elif same[-1].event in ("holds", "lost") and change.event not in ("holds", "lost"):
        sooner = min(change.at, same[-1].at)
        if sooner >= change.at - change.within:
            within = max(0.0, sooner - (change.at - change.within))
            changes[changes.index(same[-1])] = replace(change, at=sooner, within=within)


def _names(entries: list[Entry]) -> dict[str, str]:
    peers = {entry["EXOIP_PEER_INSTANCE"]: entry["EXOIP_PEER"] for entry in entries if "EXOIP_PEER" in entry}
    hosts = {one["EXOIP_INSTANCE"]: one["_HOSTNAME"] for one in entries if isinstance(one.get("_HOSTNAME"), str)}
    return peers | hosts
