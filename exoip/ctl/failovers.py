"""Find the failovers in a history: when, from which node to which, why, and how long. Pure.

The journal of the new holder reports its own failovers. Without it, the node that released names
its successor, and any other node still saw which node became master. So the journal of any one node
gives a history, and those of all nodes the whole one. Shown by tests/unit/ctl/test_failovers.py.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby

from exoip.ctl.history import Change, Entry, History, cause_of, describe, time_of

UNFIT_BEFORE = 120.0  # seconds before a takeover in which the holder's unfitness counts as its reason
SAME_SIGHTING = 60.0  # seconds within which two nodes that see a new master see the same failover
ALL_HEARD = 10.0  # seconds in which a node that heard nobody hears all others again, the master not always first

_HEARD = {"peer-alive", "peer-dead"}
_UNFIT = {"unfit", "leaving", "yielded", "stalled"}


@dataclass(frozen=True, slots=True)
class Failover:
    """At `at` (Unix time) `to` began to hold; those in `source` had held, or had been master.

    Empty: nobody.

    `took`: seconds since the cause (for a dead node, since its last heartbeat), None if unknown, 0
    if `to` held all the time beside the source.
    `reporter`: the node whose journal says so. `seen`: it is a third node, which saw `to` become
    the master, but not whether it held.
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
    found: list[Failover] = []
    every = sorted([*_seen(history), *_read(history)], key=lambda one: (one.eip, round(one.at - (one.took or 0.0), 3)))
    for _, run in groupby(every, key=lambda one: (one.eip, one.to)):  # by their causes, which all hear at once
        first = len(found)
        for one in sorted(run, key=lambda one: one.seen):
            if not one.seen or all(abs(one.at - other.at) >= SAME_SIGHTING for other in found[first:]):
                found.append(replace(one, took=None) if one.seen else one)
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


def _read(history: History) -> Iterator[Failover]:
    """Yield the failovers that the new holder reports, or that the node that released reports if
    the successor's journal is missing; and those back to a holder that is left when the new one
    ends: it need not report that it still holds.

    The master before and the successor, if an entry names them, count more than a holder of which
    no journal says that it ceased to hold: it may be dead. One that was dead when another took over
    is no source after that, and one that is dead as another ceases to hold is no successor, nor is
    one that has started again and not found that it holds. A node that stood back in a split had
    not heard the holder.
    """
    holding: dict[str, list[str]] = defaultdict(list)  # in the order in which they came to hold
    latest: dict[str, str] = {}
    since: dict[str, float] = {}  # when the latest one came to hold
    named: set[tuple[str, str]] = set()  # who holds as the node that released has read, and has not said so yet
    for change in history.changes:
        holders = holding[change.eip]
        if change.instance in holders:
            holders.remove(change.instance)
        if change.holds and (change.eip, change.instance) in named:
            holders.append(change.instance)
        elif change.holds:
            known = since[change.eip] if latest.get(change.eip) in holders else -math.inf
            source = _source(history, change, holders, known)
            holders.append(change.instance)
            latest[change.eip], since[change.eip] = change.instance, change.at
            if change.event != "holds" or source:
                yield _failover(history, change, source)
        named.discard((change.eip, change.instance))
        if change.holds:
            continue
        last, to = latest.get(change.eip) == change.instance, _successor(history, change, holders, named)
        if last and to in holders:
            latest[change.eip] = to
            yield replace(_failover(history, change, (change.instance,)), to=to, took=0.0)
        elif change.event == "let-go" and to not in history.nodes and (to or last):
            at, why = change.at - change.within, describe(change.cause) if change.cause is not None else change.why
            yield Failover(at, change.eip, (change.instance,), to, why, _took(change.cause, at), change.reporter)


def _failover(history: History, change: Change, source: tuple[str, ...]) -> Failover:
    death = _death(history, change, source)
    cause, why = (change.cause, change.why) if death is None else (death, describe(death))
    for giver in source:
        unfit = _stood_aside(history.journals.get((giver, change.eip), []), change.at)
        if unfit is not None and unfit["EXOIP_EVENT"] in _UNFIT and change.at - time_of(unfit) < UNFIT_BEFORE:
            cause, why = unfit, describe(unfit)
    return Failover(change.at, change.eip, source, change.instance, why, _took(cause, change.at), change.reporter)


def _death(history: History, change: Change, source: tuple[str, ...]) -> Entry | None:
    """Return the last death in `source`, if all in it are dead to the new holder, and it has not
    held or heard of another holder since: others may have failed to attach, or it may itself.
    """
    last: dict[str, Entry] = {}
    for entry in history.journals.get((change.reporter, change.eip), []):
        if time_of(entry) >= change.at:
            break
        if entry["EXOIP_EVENT"] in ("attached", "holds", "lost", "yielded"):
            last.clear()
        elif entry["EXOIP_EVENT"] in _HEARD:
            last[entry.get("EXOIP_PEER_INSTANCE", "")] = entry
    deaths = [last[giver] for giver in source if giver in last and last[giver]["EXOIP_EVENT"] == "peer-dead"]
    return max(deaths, key=time_of) if source and len(deaths) == len(source) else None


def _dead(history: History, change: Change, by: float) -> set[str]:
    """Return who was dead to the new holder before that time, and has logged nothing since."""
    journal = [entry for entry in history.journals.get((change.reporter, change.eip), []) if time_of(entry) < by]
    heard = {entry.get("EXOIP_PEER_INSTANCE", ""): entry for entry in journal if entry["EXOIP_EVENT"] in _HEARD}
    dead = {peer for peer, entry in heard.items() if entry["EXOIP_EVENT"] == "peer-dead"}
    return {
        one for one in dead if time_of((history.journals.get((one, change.eip)) or journal)[-1]) < time_of(heard[one])
    }


def _source(history: History, change: Change, holders: list[str], since: float) -> tuple[str, ...]:
    """Return from whom a new holder took over: nobody who was dead to it before `since`."""
    held = tuple(sorted({*holders} - _dead(history, change, since)))
    masters = tuple({_master_before(history, change, held)} - history.nodes - {""})
    stood_back = change.cause is not None and change.cause["EXOIP_EVENT"] == "stand-back-over"
    return held or masters if stood_back else masters or held


def _successor(history: History, change: Change, holders: list[str], named: set[tuple[str, str]]) -> str:
    """Return who holds now that a node has ceased to, "" if unknown.

    It takes from `holders` who holds no more, and adds to them, and to `named`, whom the node that
    released has read to hold.
    """
    gone = _dead(history, change, change.at) | {one for one in holders if _started_anew(history, one, change)}
    holders[:] = [one for one in holders if one not in gone]
    given = change.event == "let-go"
    to = change.successor if given else ""
    if to in history.nodes and to not in holders and not _ceased(history, to, change):
        holders.append(to)
        named.add((change.eip, to))
    cleared = to in history.nodes and to not in holders
    return holders[-1] if holders and (cleared or not given) else to


def _ceased(history: History, node: str, change: Change) -> bool:
    """Return whether a node has ceased to hold since the release that names it began."""
    ended = [one.at for one in history.changes if (one.instance, one.eip, one.holds) == (node, change.eip, False)]
    return any(change.at - change.within <= at <= change.at for at in ended)


def _started_anew(history: History, node: str, change: Change) -> bool:
    """Return whether a node's daemon has started since it last reported that it holds."""
    anew, reported, role = False, False, ""
    for entry in history.journals.get((node, change.eip), []):
        if time_of(entry) >= change.at:
            break
        if entry["EXOIP_EVENT"] in ("attached", "holds"):
            anew, reported = False, entry["EXOIP_EVENT"] == "holds"
        elif entry["EXOIP_EVENT"] == "role":
            starts = role not in ("", "LISTENING") and entry.get("EXOIP_OLD_ROLE") == "LISTENING"
            anew, reported, role = anew or (starts and not reported), False, entry.get("EXOIP_ROLE", "")
    return anew


def _stood_aside(journal: list[Entry], by: float) -> Entry | None:
    """Return what made a node a BACKUP, if it still is one at `by`."""
    roles = [entry["EXOIP_ROLE"] for entry in journal if entry["EXOIP_EVENT"] == "role" and time_of(entry) <= by]
    return cause_of(journal, to="BACKUP", by=by) if roles[-1:] == ["BACKUP"] else None


def _master_before(history: History, change: Change, held: tuple[str, ...]) -> str:
    """Return who was master when the new holder was a backup; "" if it had held itself, or had just
    started. A master that did not hold, according to its own journal, does not count, nor does one
    that became its master only after it had called its attach.
    """
    called = change.event != "attached"
    for entry in reversed(history.journals.get((change.reporter, change.eip), [])):
        if time_of(entry) >= change.at:
            continue
        role = entry.get("EXOIP_ROLE") if entry["EXOIP_EVENT"] == "role" else None
        if entry["EXOIP_EVENT"] in ("attached", "holds") or role == "LISTENING":
            break
        called = called or entry["EXOIP_EVENT"] == "attaching"
        master = entry.get("EXOIP_PEER_INSTANCE", "")
        if called and role == "BACKUP" and (master in held or master not in history.nodes):
            return master
    return ""


def _seen(history: History) -> Iterator[Failover]:
    """Yield the failovers to a node whose journal is missing, as another backup saw them."""
    for (node, eip), entries in history.journals.items():
        before, heard_since = "", -math.inf
        for number, entry in enumerate(entries):
            if entry["EXOIP_EVENT"] != "role":
                continue
            at, master = time_of(entry), entry.get("EXOIP_PEER_INSTANCE", "")
            backup = entry.get("EXOIP_ROLE") == entry.get("EXOIP_OLD_ROLE") == "BACKUP"
            heard_late = entry.get("EXOIP_CAUSE") == "peer-alive" and at - heard_since < ALL_HEARD
            if backup and before and master not in {"", before, *history.nodes} and not heard_late:
                trigger = cause_of(entries[: number + 1], to="", by=at) or entry
                took = None if trigger is entry else _took(trigger, at)
                yield Failover(at, eip, (before,), master, describe(trigger), took, node, seen=True)
            heard_since = heard_since if before else at
            before = master


def _took(cause: Entry | None, at: float) -> float | None:
    if cause is None:
        return None
    return max(0.0, at - time_of(cause) + float(cause.get("EXOIP_SILENT_MS", 0)) / 1000)
