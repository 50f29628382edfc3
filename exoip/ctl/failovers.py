"""Find the failovers in a history: when, from which node to which, why, and how long. Pure.

The journal of the new holder reports its own failovers. Without it, the node that released names
its successor, and any other node still saw which node became master. So the journal of any one node
gives a history, and those of all nodes the whole one. Shown by tests/unit/ctl/test_failovers.py.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import chain, groupby

from exoip.core.events import Cause
from exoip.ctl.entries import Entry, cause_of, describe, started_anew, time_of
from exoip.ctl.history import Change, History

UNFIT_BEFORE = 120.0  # seconds before a takeover in which the holder's unfitness counts as its reason
SAME_SIGHTING = 60.0  # seconds within which two nodes that see a new master see the same failover
ALL_HEARD = 10.0  # seconds in which a node that heard nobody hears all others again, the master not always first

_HEARD = {"peer-alive", "peer-dead"}
_UNFIT = {"unfit", "leaving", "yielded", "stalled"}
_WORSE = {"peer-dead", "peer-priority"}  # how the best node ceases to be the best
_TELLING = {"attaching", "attached", "holds", "lost", "let-go"}


@dataclass(frozen=True, slots=True)
class Failover:
    """At `at` (Unix time) `to` began to hold; those in `source` had held, or had been master.

    Empty: unknown, or if `vacant` nobody, by the journals of all nodes that they mention.

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
    vacant: bool = False


@dataclass(slots=True)
class _Holders:
    """Who holds an Elastic IP after the changes so far."""

    known: list[str] = field(default_factory=list)  # in the order in which they came to hold
    latest: str = ""  # who came to hold last, if the changes say so, also if it has ceased to
    since: float = -math.inf  # when it did
    named: dict[str, float] = field(default_factory=dict)  # who holds since when, as only who released has read
    vacant: bool = False  # the last one has ceased to hold


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
        before, unknown = last.get(one.eip, ""), not one.source and not one.vacant
        linked.append(replace(one, source=(before,)) if unknown and before not in ("", one.to) else one)
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
    states: dict[str, _Holders] = defaultdict(_Holders)
    for change in history.changes:
        state = states[change.eip]
        for one in [one for one, since in state.named.items() if _ceased(history, one, change, since)]:
            state.known.remove(one)
            del state.named[one]
        if change.instance in state.known:
            state.known.remove(change.instance)
        yield from (_began if change.holds else _ended)(history, change, state)


def _began(history: History, change: Change, state: _Holders) -> Iterator[Failover]:
    vacant, state.vacant = state.vacant, False
    source = () if change.instance in state.named else _source(history, change, state)
    state.known.append(change.instance)
    if change.instance in state.named:
        del state.named[change.instance]
        return
    state.latest, state.since = change.instance, change.at
    if change.event == "attached" or (change.event == "holds" and (source or vacant)):
        yield replace(_failover(history, change, source), vacant=vacant and not source)


def _ended(history: History, change: Change, state: _Holders) -> Iterator[Failover]:
    state.named.pop(change.instance, None)
    last, before, at = state.latest == change.instance, [*state.known], change.at - change.within
    to = _successor(history, change, state)
    whole = all(history.begins(node, change.eip) <= change.at for node in history.names)
    state.vacant = whole and last and not before and not to
    known, later = to in state.known, history.begins(to, change.eip) > at
    state.latest = to if last and known else state.latest
    if change.event == "let-go" and (to or last) and to not in before and (known or later):
        why = describe(change.cause) if change.cause is not None else change.why
        told = [one["EXOIP_EVENT"] for one in _earlier(history, to, change) if one["EXOIP_EVENT"] in _TELLING]
        took = _took(change.cause, at) if later or told[-1:] == ["attaching"] else None
        yield Failover(at, change.eip, (change.instance,), to, why, took, change.reporter)
    elif last and known:
        yield replace(_failover(history, change, (change.instance,)), to=to, took=0.0)


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
    for entry in _earlier(history, change.reporter, change):
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


def _source(history: History, change: Change, state: _Holders) -> tuple[str, ...]:
    """Return from whom a new holder took over: nobody who was dead to it before the latest holder
    came to hold. A master that did not hold, according to its own journal, or that was cleared
    since, does not count.
    """
    known = state.latest in state.known
    held = tuple(sorted({*state.known} - _dead(history, change, state.since if known else -math.inf)))
    since = state.since if known else math.inf
    others = (one for one in _before(history, change) if one in held or not _ceased(history, one, change, since))
    before = (one for one in others if one in held or (one and _silent(history, one, change)))
    masters = tuple({next(before, "")} - {*held, ""})
    stood_back = change.cause is not None and change.cause["EXOIP_EVENT"] == "stand-back-over"
    return held or masters if stood_back else masters or held


def _successor(history: History, change: Change, state: _Holders) -> str:
    """Return who holds now that a node has ceased to, "" if unknown.

    It takes from the known holders who holds no more, and adds to them, and to those `named`, whom
    the node that released has read to hold.
    """
    holders = state.known
    gone = _dead(history, change, change.at)
    for one in holders:  # since it reported that it holds, or since who released named it
        if started_anew(_earlier(history, one, change), state.named.get(one, -math.inf)):
            gone.add(one)
    holders[:] = [one for one in holders if one not in gone]
    state.named = {one: since for one, since in state.named.items() if one in holders}
    given = change.event == "let-go"
    to, began = change.successor if given else "", change.at - change.within
    tells = history.begins(to, change.eip) <= began  # a later journal may lack that it ceased to hold
    if tells and to not in holders and not _ceased(history, to, change, began):
        holders.append(to)
        state.named[to] = began
    cleared = tells and to not in holders
    return holders[-1] if holders and (cleared or not given) else to


def _ceased(history: History, node: str, change: Change, since: float) -> bool:
    """Return whether a node has ceased to hold since then. That it was cleared is no change if no
    entry says that it held.
    """
    ended = [one.at for one in history.changes if (one.instance, one.eip, one.holds) == (node, change.eip, False)]
    journals = (journal for (_, eip), journal in history.journals.items() if eip == change.eip)
    cleared = (one for one in chain(*journals) if one["EXOIP_EVENT"] == "cleared")
    ended += [time_of(one) for one in cleared if one.get("EXOIP_PEER_INSTANCE") == node]
    return any(since <= at <= change.at for at in ended)


def _stood_aside(journal: list[Entry], by: float) -> Entry | None:
    """Return what made a node a BACKUP, if it still is one at `by`."""
    roles = [entry["EXOIP_ROLE"] for entry in journal if entry["EXOIP_EVENT"] == "role" and time_of(entry) <= by]
    return cause_of(journal, to="BACKUP", by=by) if roles[-1:] == ["BACKUP"] else None


def _before(history: History, change: Change) -> Iterator[str]:
    """Yield who may have held before, as the new holder saw it, the likeliest first: the masters
    since it had held itself or had started, unless they became its master only after it had called
    its attach; whose death or priority made it master; and whom it then cleared.
    """
    journal = history.journals.get((change.reporter, change.eip), [])
    called, superseded = change.event != "attached", ""
    for entry in reversed(_earlier(history, change.reporter, change)):
        role = entry.get("EXOIP_ROLE") if entry["EXOIP_EVENT"] == "role" else None
        if entry["EXOIP_EVENT"] in ("attached", "holds") or role == "LISTENING":
            break
        called = called or entry["EXOIP_EVENT"] == "attaching"
        if called and role == "BACKUP":
            yield entry.get("EXOIP_PEER_INSTANCE", "")
        elif called and role == "MASTER" and entry.get("EXOIP_OLD_ROLE") == "BACKUP":
            superseded = _superseded(entry)
    yield superseded
    for entry in (entry for entry in journal if time_of(entry) >= change.at):
        if entry["EXOIP_EVENT"] in ("letting-go", "lost"):
            break
        if entry["EXOIP_EVENT"] == "clearing" and entry.get("EXOIP_CAUSE") == Cause.SILENT:
            yield entry.get("EXOIP_PEER_INSTANCE", "")


def _superseded(role: Entry) -> str:
    """Return whose death or priority triggered a change of role: it had been the best node."""
    who = role.get("EXOIP_CAUSE_INSTANCE", "")
    return who if role.get("EXOIP_CAUSE") in _WORSE and who != role.get("EXOIP_PEER_INSTANCE") else ""


def _earlier(history: History, node: str, change: Change) -> list[Entry]:
    """Return what a node logged before a change."""
    return [entry for entry in history.journals.get((node, change.eip), []) if time_of(entry) < change.at]


def _silent(history: History, node: str, change: Change) -> bool:
    """Return whether a node's journal, if there is one, does not say whether it held then."""
    return not any(
        entry["EXOIP_EVENT"] in _TELLING or entry.get("EXOIP_OLD_ROLE") in ("LISTENING", "BACKUP")
        for entry in _earlier(history, node, change)
    )


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
            was = before or _superseded(entry)
            late = history.begins(master, eip) - at > SAME_SIGHTING  # it does not say itself whether it came to hold
            if backup and was and late and master not in ("", was) and not heard_late:
                trigger = cause_of(entries[: number + 1], to="", by=at) or entry
                took = None if trigger is entry else _took(trigger, at)
                yield Failover(at, eip, (was,), master, describe(trigger), took, node, seen=True)
            heard_since = heard_since if before else at
            before = master


def _took(cause: Entry | None, at: float) -> float | None:
    if cause is None:
        return None
    return max(0.0, at - time_of(cause) + float(cause.get("EXOIP_SILENT_MS", 0)) / 1000)
