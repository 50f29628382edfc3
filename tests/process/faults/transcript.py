"""Merge faults, the zone's record and all logs of a run into one text, in the order of time."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence

from exoip.sandbox.record import Entry

_STAMP = re.compile(r"(\d\d):(\d\d):(\d\d\.\d{3}) exoip ")
_DAY = 86400.0
Told = tuple[float, str]  # Unix time, a line of the run's own


def _clock(wall: float) -> str:
    milliseconds = int(wall % 1 * 1000)
    return f"{time.strftime('%H:%M:%S', time.localtime(wall))}.{milliseconds:03d}"


def _seconds(text: str) -> float | None:
    """Return the time of day at the beginning of a log line."""
    found = _STAMP.match(text)
    return int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3]) if found else None


def of_log(name: str, lines: Iterable[str], began: float) -> list[Told]:
    """Return the lines of a node's log with their Unix times.

    A line without a stamp (a traceback) gets the time of the line before.
    """
    local = time.localtime(began)
    midnight = began - (local.tm_hour * 3600 + local.tm_min * 60 + local.tm_sec + began % 1)
    told, at = list[Told](), began
    for line in lines:
        day = _seconds(line)
        if day is not None:
            at = midnight + day + (_DAY if midnight + day < began - _DAY / 2 else 0.0)
            line = line[line.index(" exoip ") + 7 :]
        told.append((at, f"    {name}: {line}"))
    return told


def of_record(entries: Sequence[Entry], names: Mapping[str, str], began: float) -> list[Told]:
    """Return the zone's record without successful reads.

    Entries from before its clock began get the time of the beginning.
    """
    told = list[Told]()
    for entry in entries:
        read = entry.method == "GET"
        if entry.kind in ("call", "metadata") and (read or entry.kind == "metadata"):
            continue
        if entry.kind == "answer" and read and entry.outcome == "ok":
            continue
        words = [entry.kind, entry.key, entry.method, entry.operation, names.get(entry.instance, entry.instance)]
        words += [
            str(entry.status) if entry.kind == "answer" else "",
            entry.outcome,
            entry.detail if entry.kind == "fault" else "",
        ]
        if entry.kind == "holders":
            words.append("-> " + (" ".join(sorted(names.get(one, one) for one in entry.holders)) or "nobody"))
        told.append((entry.wall or began, "  zone: " + " ".join(filter(None, words))))
    return told


def merged(parts: Iterable[Sequence[Told]], since: float = 0.0) -> str:
    """Return all lines since a Unix time, sorted by time; lines of one time stay in their order."""
    lines = sorted((line for part in parts for line in part if line[0] >= since), key=lambda line: line[0])
    return "\n".join(f"{_clock(at)} {text}" for at, text in lines)


def holes(
    holders: Sequence[tuple[float, frozenset[str], bool]], hosts: Sequence[tuple[float, str, bool]]
) -> list[tuple[float, float, bool]]:
    """Return when no live instance held the Elastic IP, after the first holder, oldest first.

    Each as (from, seconds, whether a fault caused it). `holders`: (time, the holders from then on,
    whether a fault caused that). `hosts`: (time, name, whether it is alive from then on).
    """
    changes = sorted(
        [(at, 1, now, "", fault) for at, now, fault in holders]
        + [(at, 0, frozenset[str](), name, up) for at, name, up in hosts]
    )
    found, held, dead, since = list[tuple[float, float, bool]](), frozenset[str](), set[str](), None
    blamed = True
    for at, is_holders, now, name, flag in changes:
        before = bool(held - dead)
        if is_holders:
            held = now
        else:
            (dead.discard if flag else dead.add)(name)
        after = bool(held - dead)
        if before and not after:
            since, blamed = at, flag if is_holders else True
        elif after and not before and since is not None:
            found.append((since, at - since, blamed))
            since = None
    return found
