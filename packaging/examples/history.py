#!/usr/bin/python3
"""Who held an Elastic IP when, and why it moved: rebuilt from the journals of its nodes, and from nothing else.

    for node in a b c; do ssh "$node" journalctl -t exoip -o json; done | python3 history.py
    python3 history.py a.json b.json c.json

Prints a line for each change of the holders. Their clocks are believed: they are to be synchronised.
"""

from __future__ import annotations

import fileinput
import json
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

Entry = Mapping[str, str]

OWN_CONDITION = {"fit", "unfit", "stalled", "stand-back-over"}


@dataclass(frozen=True, slots=True)
class Change:
    """At `at` (Unix time), or up to `within` seconds before, `instance` came to hold, or ceased to. `told_by` is whose journal says so."""

    at: float
    within: float
    eip: str
    instance: str
    holds: bool
    why: str
    event: str
    told_by: str


@dataclass(frozen=True, slots=True)
class History:
    """The changes, oldest first, and words for instance ids."""

    changes: tuple[Change, ...]
    names: Mapping[str, str]

    def holders(self, eip: str, at: float) -> frozenset[str]:
        """The instances that held an Elastic IP at a moment."""
        held = {change.instance: change.holds for change in self.changes if change.eip == eip and change.at <= at}
        return frozenset(instance for instance, holds in held.items() if holds)


def rebuild(entries: Iterable[Entry]) -> History:
    """The history that journal entries tell: of any number of nodes, each node's own in their order."""
    told = _merged([entry for entry in entries if "EXOIP_EVENT" in entry])
    changes: list[Change] = []
    earlier: list[Entry] = []
    for entry in told:
        change = _change(entry, earlier)
        earlier.append(entry)
        if change is not None:
            _add(changes, change)
    return History(tuple(sorted(changes, key=lambda change: change.at)), _names(told))


def moment(entry: Entry) -> float:
    """When it happened (Unix time): by the daemon, by when the daemon told it, or by when the journal got it."""
    if "EXOIP_TIME" in entry:
        return float(entry["EXOIP_TIME"])
    return float(entry.get("_SOURCE_REALTIME_TIMESTAMP") or entry["__REALTIME_TIMESTAMP"]) / 1e6


def _merged(entries: list[Entry]) -> list[Entry]:
    """All in the order of their time, each node's in the order that its journal has them in."""
    latest: dict[str, float] = {}
    keys = []
    for entry in entries:
        node = entry["EXOIP_INSTANCE"]
        latest[node] = max(latest.get(node, 0.0), moment(entry))
        keys.append(latest[node])
    return [entries[number] for number in sorted(range(len(entries)), key=keys.__getitem__)]


def _change(entry: Entry, earlier: list[Entry]) -> Change | None:
    """What an entry says of the holders, if anything."""
    event, teller, reason = entry["EXOIP_EVENT"], entry["EXOIP_INSTANCE"], entry.get("EXOIP_REASON", "")
    if event == "attached":
        instance, holds, why = teller, True, _cause(entry, earlier) or reason
    elif event in ("let-go", "cleared"):
        instance, holds, why = entry.get("EXOIP_PEER_INSTANCE", teller), False, reason
    elif event in ("holds", "lost"):
        instance, holds, why = teller, event == "holds", entry["MESSAGE"]
    else:
        return None
    took = float(entry.get("EXOIP_DURATION_MS", 0)) / 1000
    return Change(moment(entry), took, entry["EXOIP_EIP"], instance, holds, why, event, teller)


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


def _cause(attached: Entry, earlier: list[Entry]) -> str:
    """Why a node took, in the words of its journal: what made it master, or that it lost the address while it was."""
    own = [one for one in earlier if all(one[name] == attached[name] for name in ("EXOIP_INSTANCE", "EXOIP_EIP"))]
    for number, entry in reversed(list(enumerate(own))):
        if entry["EXOIP_EVENT"] == "lost":
            return entry["MESSAGE"]
        if entry["EXOIP_EVENT"] == "role" and entry["EXOIP_ROLE"] == "MASTER" != entry["EXOIP_OLD_ROLE"]:
            return _trigger(entry, own[:number]) or entry["EXOIP_REASON"]
    return ""


def _trigger(role: Entry, earlier: list[Entry]) -> str:
    """The words of the entry that a change of role came from; none for the mere passing of time."""
    found = re.search(r"\((?:(\S+) (peer-\S+)|own condition changed)\)$", role["EXOIP_REASON"])
    if found is None:
        return ""
    for one in reversed(earlier):
        if found[2] and (one["EXOIP_EVENT"], one.get("EXOIP_PEER_INSTANCE")) == (found[2], found[1]):
            return one["MESSAGE"]
        if not found[2] and one["EXOIP_EVENT"] in OWN_CONDITION:
            return one["MESSAGE"]
    return ""


def _names(told: list[Entry]) -> dict[str, str]:
    hosts = {entry["EXOIP_INSTANCE"]: entry["_HOSTNAME"] for entry in told if "_HOSTNAME" in entry}
    return {entry["EXOIP_PEER_INSTANCE"]: entry["EXOIP_PEER"] for entry in told if "EXOIP_PEER" in entry} | hosts


def lines(history: History) -> Iterator[str]:
    """The history for people."""
    for change in history.changes:
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(change.at)) + f".{int(change.at % 1 * 1000):03d}"
        does = "holds" if change.holds else "no longer holds"
        holders = " and ".join(sorted(history.names.get(one, one) for one in history.holders(change.eip, change.at)))
        why = change.why
        for instance, name in history.names.items():
            why = why.replace(instance, name)
        name = history.names.get(change.instance, change.instance)
        yield f"{stamp}  {name} {does} {change.eip} (now: {holders or 'nobody'}): {why}"


def main() -> None:
    with fileinput.input(encoding="utf-8") as journals:
        history = rebuild(json.loads(line) for line in journals if line.startswith("{"))
    sys.stdout.writelines(f"{line}\n" for line in lines(history))


if __name__ == "__main__":
    main()
