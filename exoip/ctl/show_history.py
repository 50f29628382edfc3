"""The command `history`: show the failovers in the journal, as a table with timelines, as JSON or
as tab-separated values. Shown by tests/unit/ctl/test_show_history.py.
"""

from __future__ import annotations

import shutil
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TextIO

from exoip.ctl import journal, terminal, timeline
from exoip.ctl.client import find_socket
from exoip.ctl.entries import Entry, time_of
from exoip.ctl.failovers import Failover, failovers
from exoip.ctl.history import History, rebuild
from exoip.ctl.terminal import Style, as_json, local_time, style_for
from exoip.errors import UsageError

DEFAULT_WIDTH = 100  # columns of a timeline that is not shown on a terminal
TABLE, JSON, TSV = "table", "json", "tsv"
_OTHER_UNITS = "Without NAME it searches all units, also those of ifupdown and of your own.\n"
_ELSEWHERE = """\
If exoip logs elsewhere (--log-stdout, a container, a file), there is no history:
it needs the fields of the journal's entries. Let systemd start it, as
exoip@NAME.service, or start it with `systemd-cat -t exoip`.
"""


def show(options: Namespace, environ: Mapping[str, str], out: TextIO) -> int:
    """Show the failovers of one daemon, or of all in the journal; return 0."""
    if options.input and (options.name or options.since or options.until):
        raise UsageError("history: NAME, --since and --until select from this host's journal, not with --input")
    name = find_socket(options.name, options.runtime_dir).name if options.name else None
    source = options.input
    read = journal.from_files(source) if source else journal.from_journal(name, options.since, options.until)
    entries: list[Entry] = [entry for entry in read if "__REALTIME_TIMESTAMP" in entry]
    stamps = [time_of(entry) for entry in entries]
    first, last = min(stamps, default=None), max(stamps, default=None)
    history = rebuild(entry for entry in entries if "EXOIP_EVENT" in entry)
    found, names = failovers(history), history.names
    if options.json or options.output == JSON:
        out.write(as_json(first=first, last=last, failovers=[_failover(one, names) for one in found]))
    elif options.output == TSV:
        out.writelines("\t".join(row) + "\n" for row in _tsv(found, names))
    elif first is None or last is None:
        period = "".join(
            f" {word} {text}" for word, text in (("since", options.since), ("until", options.until)) if text
        )
        out.write(f"no entries of exoip in {_source(source, name)}{period}\n")
        out.write(_OTHER_UNITS if name else "")
        out.write("" if source else _ELSEWHERE)
    else:
        searched = f"{_source(source, name)}, from {local_time(first)} to {local_time(last)}"
        if not found:
            out.write(f"no failover in {searched}\n")
            return 0
        heading, *rows = timeline.table(found, names)
        style = style_for(out, environ)
        ended = max(last, found[-1].at, first + 1.0)
        lines = [style(heading, terminal.FAINT), *rows, *_timelines(found, history, first, ended, out, style)]
        out.writelines(f"{line}\n" for line in (*lines, style(f"searched: {searched}", terminal.FAINT)))
    return 0


def _source(files: Sequence[str], name: str | None) -> str:
    """Name what was searched."""
    if files:
        return "standard input" if list(files) == ["-"] else f"{len(files)} file{'s' * (len(files) > 1)}"
    return f"this host's journal of {f'exoip@{name}.service' if name else 'all exoip daemons'}"


def _tsv(found: Sequence[Failover], names: timeline.Names) -> Iterator[tuple[str, ...]]:
    """Yield a heading and the rows; no cell has a tab."""
    yield "at", "eip", "from", "to", "took", "why"
    for one in found:
        source = ",".join(timeline.short(instance, names) for instance in timeline.before(one))
        took = "" if one.took is None else f"{one.took:.3f}"
        yield local_time(one.at), one.eip, source, timeline.short(one.to, names), took, timeline.named(one.why, names)


def _failover(one: Failover, names: timeline.Names) -> dict[str, Any]:
    """Return one of the `failovers` of the JSON output."""

    def node(instance: str) -> dict[str, str | None]:
        return {"instance": instance, "name": names.get(instance)}

    return {
        "at": round(one.at, 3),
        "eip": one.eip,
        "from": [node(instance) for instance in one.source] if one.source or one.vacant else None,
        "to": node(one.to) if one.to else None,
        "why": timeline.named(one.why, names),
        "took": None if one.took is None else round(one.took, 3),
        "told_by": node(one.reporter),
        "seen": one.seen,
    }


def _timelines(
    found: list[Failover], history: History, began: float, ended: float, out: TextIO, style: Style
) -> Iterator[str]:
    marks = timeline.UNICODE_MARKS if "utf" in (out.encoding or "").lower() else timeline.ASCII_MARKS
    width = shutil.get_terminal_size((DEFAULT_WIDTH, 24)).columns - 1 if out.isatty() else DEFAULT_WIDTH
    for eip in dict.fromkeys(one.eip for one in found):
        own = [one for one in found if one.eip == eip]
        changes = [one for one in history.changes if one.eip == eip]
        lines = timeline.draw(own, changes, history.names, began, ended, width, marks)
        yield from ("", style(eip, terminal.BOLD), *lines)
