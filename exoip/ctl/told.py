"""The command `history`: the failovers as a table with a timeline, or as JSON."""

from __future__ import annotations

import json
import shutil
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TextIO

from exoip.ctl.client import daemon
from exoip.ctl.failovers import Failover, failovers
from exoip.ctl.history import Entry, History, moment, rebuild
from exoip.ctl.journal import from_files, from_journal
from exoip.ctl.terminal import BOLD, FAINT, Paint, columns, paint_for, plain, span
from exoip.ctl.terminal import moment as local
from exoip.ctl.timeline import FINE, NOBODY, PLAIN, draw
from exoip.errors import UsageError
from exoip.operator.control_protocol import VERSION

WIDTH = 100  # of what is not a terminal


def tell(options: Namespace, environ: Mapping[str, str], out: TextIO) -> int:
    """`history`: of one daemon, or of all that the journal has."""
    if options.input and (options.name or options.since or options.until):
        raise UsageError("history: NAME, --since and --until are for the journal of this host; not with --input")
    name = daemon(options.name, options.runtime_dir).name if options.name else None
    read = from_files(options.input) if options.input else from_journal(name, options.since, options.until)
    first, last, entries = _range(read)
    history = rebuild(entries)
    found = failovers(history)
    if options.json:
        told = {
            "version": VERSION,
            "first": first,
            "last": last,
            "failovers": [_as_json(one, history) for one in found],
        }
        out.write(json.dumps(told, indent=2) + "\n")
        return 0
    paint = paint_for(out, environ)
    out.writelines(f"{line}\n" for line in _lines(found, history, first, last, paint, out))
    return 0


def _range(read: Iterable[Entry]) -> tuple[float | None, float | None, list[Entry]]:
    """The events among the entries, and the moments of the first and the last of all."""
    entries, stamps = [], []
    for entry in read:
        if "__REALTIME_TIMESTAMP" in entry:
            stamps.append(moment(entry))
        if "EXOIP_EVENT" in entry:
            entries.append(entry)
    return min(stamps, default=None), max(stamps, default=None), entries


def _as_json(one: Failover, history: History) -> dict[str, Any]:
    def named(instance: str) -> dict[str, str | None]:
        return {"instance": instance, "name": history.names.get(instance)}

    return {
        "at": round(one.at, 3),
        "eip": one.eip,
        "from": [named(instance) for instance in one.source],
        "to": named(one.to) if one.to else None,
        "why": _people(one.why, history),
        "took": None if one.took is None else round(one.took, 3),
        "told_by": named(one.told_by),
        "seen": one.seen,
    }


def _people(text: str, history: History) -> str:
    for instance, name in history.names.items():
        text = text.replace(instance, name)
    return text


def _lines(
    found: list[Failover], history: History, first: float | None, last: float | None, paint: Paint, out: TextIO
) -> Iterator[str]:
    if first is None or last is None:
        yield "the journal has nothing of exoip in that time"
        return
    if not found:
        yield f"no failover from {local(first)} to {local(last)}"
        return
    yield from _table(found, history, paint)
    fine = "utf" in (getattr(out, "encoding", None) or "").lower()
    width = shutil.get_terminal_size((WIDTH, 24)).columns - 1 if out.isatty() else WIDTH
    ended = max(last, found[-1].at, first + 1.0)
    for eip in dict.fromkeys(one.eip for one in found):
        own = [one for one in found if one.eip == eip]
        names = {who: _short(who, history) for who in (w for one in own for w in (*one.source, one.to))}
        yield ""
        yield paint(eip, BOLD)
        yield from draw(own, names, first, ended, width, FINE if fine else PLAIN)


def _table(found: list[Failover], history: History, paint: Paint) -> Iterator[str]:
    several = len({one.eip for one in found}) > 1
    head = ["when", *(["address"] if several else []), "from", "to", "took", "why"]
    rows = [head]
    for one in found:
        cells = [local(one.at), *([one.eip] if several else [])]
        cells += [" and ".join(_short(who, history) for who in one.source) or NOBODY, _short(one.to, history) or NOBODY]
        cells += ["?" if one.took is None else span(one.took), plain(_people(one.why, history))]
        rows.append(cells)
    first, *rest = columns(rows)
    yield paint(first, FAINT)
    yield from rest


def _short(instance: str, history: History) -> str:
    """A node's name without its address."""
    return plain(history.names.get(instance, instance)).partition(" (")[0]
