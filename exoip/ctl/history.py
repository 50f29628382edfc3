"""Rebuild who held an Elastic IP when, and why that changed, from the journals of its nodes. Pure.

An entry is a journal entry as `journalctl -o json` prints it; entries with values that are not text
are skipped. The nodes' clocks are taken to be synchronised. The journal of one node shows what that
node did and saw; those of all nodes show everything.

Only the fields that `exoip.telemetry.journal` documents count; MESSAGE and EXOIP_REASON are shown to
people and never parsed. Entries without EXOIP_CAUSE or EXOIP_SUCCESSOR (written before these fields
existed) still show the change, but neither its cause nor how long it took; the successor is then
the master by the node's last role.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from exoip.core.events import EventName

Entry = Mapping[str, str]
Told = Mapping[tuple[str, str], list[Entry]]  # by node and Elastic IP, in the order of its journal

_EVENTS = frozenset(EventName)
# A cause that is one of several events, of which the state of the node alone does not tell which.
_ONE_OF = {EventName.HOLDS: (EventName.HOLDS, EventName.ATTACHED)}
# In place of a MESSAGE that speaks of "this instance": whoever reads it may be at another one.
_WORDS = {
    EventName.HOLDS: "{} holds {}, {}",
    EventName.LOST: "{} no longer holds {}, {}",
    EventName.ATTACHED: "{} attached {}: {}",
    EventName.LETTING_GO: "{} is detaching {}: {}",
    EventName.LET_GO: "{} detached {}: {}",
    EventName.FAILED: "{} failed to detach {}: {}",  # the only failure that changes a role
}


@dataclass(frozen=True, slots=True)
class Change:
    """At `at` (Unix time), or up to `within` seconds before, `instance` came to hold, or ceased to.

    `told_by` is whose journal says so, by its entry `event`. `cause` is the entry that it came from, if one is known, `why` the words
    for it. `successor` holds in place of an instance that let go.
    """

    at: float
    within: float
    eip: str
    instance: str
    holds: bool
    why: str
    event: str
    told_by: str
    cause: Entry | None = None
    successor: str = ""


@dataclass(frozen=True, slots=True)
class History:
    """The changes, oldest first, words for instance ids, and what was told."""

    changes: tuple[Change, ...]
    names: Mapping[str, str]
    told: Told

    def holders(self, eip: str, at: float) -> frozenset[str]:
        """The instances that held an Elastic IP at a moment."""
        held = {change.instance: change.holds for change in self.changes if change.eip == eip and change.at <= at}
        return frozenset(instance for instance, holds in held.items() if holds)


def rebuild(entries: Iterable[Entry]) -> History:
    """The history that journal entries tell: of any number of nodes, each node's own in their order."""
    once = {entry.get("__CURSOR") or number: entry for number, entry in enumerate(entries) if _of_use(entry)}
    merged = _merged(list(once.values()))  # an entry that was read twice is one
    changes: list[Change] = []
    told: defaultdict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in merged:
        own = told[entry["EXOIP_INSTANCE"], entry["EXOIP_EIP"]]
        change = _change(entry, own)
        own.append(entry)
        if change is not None:
            _add(changes, change)
    return History(tuple(sorted(changes, key=lambda change: change.at)), _names(merged), told)


def _of_use(entry: Entry) -> bool:
    names = ("EXOIP_EVENT", "EXOIP_INSTANCE", "EXOIP_EIP", "EXOIP_REASON", "MESSAGE", "__REALTIME_TIMESTAMP")
    return all(isinstance(entry.get(name), str) for name in names)


def moment(entry: Entry) -> float:
    """When it happened (Unix time): by the daemon, by when the daemon told it, or by when the journal got it."""
    if "EXOIP_TIME" in entry:
        return float(entry["EXOIP_TIME"])
    return float(entry.get("_SOURCE_REALTIME_TIMESTAMP") or entry["__REALTIME_TIMESTAMP"]) / 1e6


def _merged(entries: list[Entry]) -> list[Entry]:
    """All in the order of their time, those of each node and Elastic IP in the order that its journal has them in."""
    latest: dict[tuple[str, str], float] = {}
    keys = []
    for entry in entries:
        teller = entry["EXOIP_INSTANCE"], entry["EXOIP_EIP"]
        latest[teller] = max(latest.get(teller, 0.0), moment(entry))
        keys.append(latest[teller])
    return [entries[number] for number in sorted(range(len(entries)), key=keys.__getitem__)]


def _change(entry: Entry, own: list[Entry]) -> Change | None:
    """What an entry says of the holders, if anything; `own` are the earlier ones of the same node."""
    event, teller = entry["EXOIP_EVENT"], entry["EXOIP_INSTANCE"]
    instance, cause, successor = teller, None, ""
    if event == "attached":
        cause = cause_of(own, to="MASTER")
    elif event == "let-go":
        cause, successor = cause_of(own, to="BACKUP"), _successor(entry, own)
    elif event == "cleared":
        instance = entry.get("EXOIP_PEER_INSTANCE", teller)
    elif event not in ("holds", "lost"):
        return None
    why = words(cause or entry) if cause is not None or event in ("holds", "lost") else entry["EXOIP_REASON"]
    took, holds = float(entry.get("EXOIP_DURATION_MS", 0)) / 1000, event in ("attached", "holds")
    return Change(moment(entry), took, entry["EXOIP_EIP"], instance, holds, why, event, teller, cause, successor)


def words(entry: Entry) -> str:
    """Return an entry as words for people, in which the node that told it is named by its id."""
    event = entry["EXOIP_EVENT"]
    if event == "role":
        return entry["EXOIP_REASON"]
    if event in _WORDS:
        return _WORDS[EventName(event)].format(entry["EXOIP_INSTANCE"], entry["EXOIP_EIP"], entry["EXOIP_REASON"])
    return entry["MESSAGE"]


def _successor(entry: Entry, own: list[Entry]) -> str:
    """Who holds in place of a node that let go: "" for nobody."""
    if "EXOIP_SUCCESSOR" in entry:
        return entry["EXOIP_SUCCESSOR"]
    return next((one.get("EXOIP_PEER_INSTANCE", "") for one in reversed(own) if one["EXOIP_EVENT"] == "role"), "")


def _add(changes: list[Change], change: Change) -> None:
    """Add a change, unless that is so already. A node may see that something is done before the one that did it."""
    same = [one for one in changes if (one.eip, one.instance) == (change.eip, change.instance)]
    if not same or same[-1].holds is not change.holds:
        if same or change.holds:
            changes.append(change)
    elif same[-1].event in ("holds", "lost") and change.event not in ("holds", "lost"):
        sooner = min(change.at, same[-1].at)
        if sooner >= change.at - change.within:
            within = max(0.0, sooner - (change.at - change.within))
            changes[changes.index(same[-1])] = replace(change, at=sooner, within=within)


def cause_of(own: list[Entry], *, to: str, by: float = math.inf) -> Entry | None:
    """Return the entry that made a node take (`to` MASTER), let go (BACKUP), or see another master (""); None when none says so.

    `own`: its entries up to then, of which those after `by` do not count. A master may also have lost what it held.
    """
    for number in range(len(own) - 1, -1, -1):
        entry = own[number]
        if moment(entry) > by:
            continue
        if entry["EXOIP_EVENT"] == "lost" and to == "MASTER":
            return entry
        became = not to or entry.get("EXOIP_ROLE") == to != entry.get("EXOIP_OLD_ROLE")
        if entry["EXOIP_EVENT"] == "role" and became:
            return _trigger(entry, own, number) if "EXOIP_CAUSE" in entry else None
    return None


def _trigger(role: Entry, own: list[Entry], before: int) -> Entry:
    """Return the entry that triggered a change of role; the change itself when it was no event, or one that is not there."""
    if role["EXOIP_CAUSE"] not in _EVENTS:
        return role
    cause, peer = EventName(role["EXOIP_CAUSE"]), role.get("EXOIP_CAUSE_INSTANCE", "")
    for number in range(before - 1, -1, -1):
        one = own[number]
        if one["EXOIP_EVENT"] in _ONE_OF.get(cause, (cause,)) and peer in ("", one.get("EXOIP_PEER_INSTANCE")):
            return one
    return role


def _names(told: list[Entry]) -> dict[str, str]:
    hosts = {entry["EXOIP_INSTANCE"]: entry["_HOSTNAME"] for entry in told if isinstance(entry.get("_HOSTNAME"), str)}
    return {entry["EXOIP_PEER_INSTANCE"]: entry["EXOIP_PEER"] for entry in told if "EXOIP_PEER" in entry} | hosts
