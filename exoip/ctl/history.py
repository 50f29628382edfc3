"""Who held an Elastic IP when, and why that changed: rebuilt from the journals of its nodes, and from nothing else. Pure.

An entry is a journal entry as `journalctl -o json` prints it, of which only the texts count. The nodes' clocks are believed: they are
to be synchronised. The journal of one node tells what that node did and saw; those of all nodes tell all.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

Entry = Mapping[str, str]
Told = Mapping[tuple[str, str], list[Entry]]  # by node and Elastic IP, in the order of its journal

OWN_CONDITION = {"fit", "unfit", "stalled", "stand-back-over", "leaving", "yielded"}


@dataclass(frozen=True, slots=True)
class Change:
    """At `at` (Unix time), or up to `within` seconds before, `instance` came to hold, or ceased to.

    `told_by` is whose journal says so, by its entry `event`. `cause` is the entry that it came from, if one is known.
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
    event, teller, reason = entry["EXOIP_EVENT"], entry["EXOIP_INSTANCE"], entry["EXOIP_REASON"]
    cause: Entry | None = None
    if event == "attached":
        cause, why = cause_of(own, to="MASTER")
        instance, holds, why = teller, True, why or reason
    elif event in ("let-go", "cleared"):
        instance, holds, why = entry.get("EXOIP_PEER_INSTANCE", teller), False, reason
        cause = cause_of(own, to="BACKUP")[0] if event == "let-go" else None
    elif event in ("holds", "lost"):
        instance, holds, why = teller, event == "holds", entry["MESSAGE"]
    else:
        return None
    took = float(entry.get("EXOIP_DURATION_MS", 0)) / 1000
    return Change(moment(entry), took, entry["EXOIP_EIP"], instance, holds, why, event, teller, cause)


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


def cause_of(own: list[Entry], *, to: str, by: float = math.inf) -> tuple[Entry | None, str]:
    """Why a node took (`to` MASTER), let go (BACKUP), or saw another master (""): the entry that it came from, and its words.

    `own`: its entries up to then, of which those after `by` do not count. A master may also have lost what it held.
    """
    for number in range(len(own) - 1, -1, -1):
        entry = own[number]
        if moment(entry) > by:
            continue
        if entry["EXOIP_EVENT"] == "lost" and to == "MASTER":
            return entry, entry["MESSAGE"]
        became = not to or entry.get("EXOIP_ROLE") == to != entry.get("EXOIP_OLD_ROLE")
        if entry["EXOIP_EVENT"] == "role" and became:
            trigger = _trigger(entry, own, number)
            return (trigger, trigger["MESSAGE"]) if trigger is not None else (entry, entry["EXOIP_REASON"])
    return None, ""


def _trigger(role: Entry, own: list[Entry], before: int) -> Entry | None:
    """The entry that a change of role came from; none for the mere passing of time."""
    found = re.search(r"\((?:(\S+) (peer-\S+)|own condition changed)\)$", role["EXOIP_REASON"])
    if found is None:
        return None
    for number in range(before - 1, -1, -1):
        one = own[number]
        if found[2] and (one["EXOIP_EVENT"], one.get("EXOIP_PEER_INSTANCE")) == (found[2], found[1]):
            return one
        if not found[2] and one["EXOIP_EVENT"] in OWN_CONDITION:
            return one
    return None


def _names(told: list[Entry]) -> dict[str, str]:
    hosts = {entry["EXOIP_INSTANCE"]: entry["_HOSTNAME"] for entry in told if isinstance(entry.get("_HOSTNAME"), str)}
    return {entry["EXOIP_PEER_INSTANCE"]: entry["EXOIP_PEER"] for entry in told if "EXOIP_PEER" in entry} | hosts
