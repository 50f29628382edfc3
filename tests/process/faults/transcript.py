"""What happened in a run, for a person: faults, the zone's record and every node's log as one text,
in the order of time.
"""

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
    """The time of day that a log line begins with."""
    found = _STAMP.match(text)
    return int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3]) if found else None


def of_log(name: str, lines: Iterable[str], began: float) -> list[Told]:
    """A node's log: each line with its Unix time; one without a stamp (a traceback) belongs to the
    one before it.
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
    """The zone's record without reads that went well. What is older than its clock belongs to the
    beginning.
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
    """All of it from a Unix time on, in the order of time; what came at the same time, in the order
    of the parts.
    """
    lines = sorted((line for part in parts for line in part if line[0] >= since), key=lambda line: line[0])
    return "\n".join(f"{_clock(at)} {text}" for at, text in lines)


def holes(
    holders: Sequence[tuple[float, frozenset[str], bool]], hosts: Sequence[tuple[float, str, bool]]
) -> list[tuple[float, float, bool]]:
    """When no live instance held the Elastic IP: (from, seconds, whether a fault began it), oldest
    first; not before the first holder.

    `holders`: (time, who holds from then on, whether a fault made it so). `hosts`: (time, name,
    whether that lives from then on).
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
