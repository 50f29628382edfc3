"""The commands except `check`.

Each takes the options, writes to a stream and returns the exit code. Shown by
tests/unit/ctl/test_commands.py.
"""

from __future__ import annotations

import shutil
import time
from argparse import Namespace
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

from exoip.ctl import journal, status, terminal, timeline
from exoip.ctl.client import ControlSocket, NoAnswer, Rejected, find_socket, list_sockets, requester, send
from exoip.ctl.failovers import Failover, failovers
from exoip.ctl.history import Entry, rebuild, time_of
from exoip.ctl.terminal import Style, as_json, duration, exit_code, style_for
from exoip.errors import UsageError
from exoip.exoscale.models import printable

DONE = 0
NOT_DONE = 1
NO_ANSWER = 3
POLL = 0.1  # seconds between two requests of `wait`
DEFAULT_WIDTH = 100  # columns of a timeline that is not shown on a terminal


def show_status(options: Namespace, environ: Mapping[str, str], out: TextIO) -> int:
    """Show the state of one daemon or of all; return the code of the worst level, see --fail-on."""
    name, runtime_dir = options.name, options.runtime_dir
    found = [_state(one) for one in ([find_socket(name, runtime_dir)] if name else list_sockets(runtime_dir))]
    level = terminal.worst(one["level"] for one in found)
    if options.json:
        out.write(as_json(level=level, instances=found))
        return exit_code(level, options.fail_on)
    if not found:
        raise NoAnswer(
            f"no {runtime_dir}/*/control: no exoip runs here, or only without a control socket"
            " (see RUNTIME_DIRECTORY in exoip(8))"
        )
    style = style_for(out, environ)
    for number, one in enumerate(found):
        out.write("\n" * bool(number))
        if one["status"] is not None:
            lines = list(status.lines(one["name"], one["status"], style))
        else:
            first = f"{style(one['name'], terminal.BOLD)}  {style(one['level'], terminal.COLORS[one['level']])}"
            lines = [first, *terminal.wrap(f"  ! {printable(one['error'])}", 4)]
        out.writelines(f"{line}\n" for line in lines)
    return exit_code(level, options.fail_on)


def _state(daemon: ControlSocket) -> dict[str, Any]:
    """Return a daemon's entry in the JSON output: its name, level, error and status."""
    try:
        state = send(daemon, "status")["status"]
    except (NoAnswer, Rejected) as error:
        level = getattr(error, "level", terminal.UNKNOWN)
        return {"name": daemon.name, "level": level, "error": str(error), "status": None}
    return {"name": daemon.name, "level": state["health"]["level"], "error": None, "status": state}


def send_order(options: Namespace, environ: Mapping[str, str], out: TextIO) -> int:
    """Send a drain, undrain, failover or priority; show what the daemon says about it."""
    fields: dict[str, object] = {"by": requester(environ)}
    if options.command == "drain":
        fields["why"] = options.why
    elif options.command == "failover":
        fields |= {"for": options.seconds, "force": options.force}
    elif options.command == "priority":
        fields["priority"] = options.priority
    answer = send(find_socket(options.name, options.runtime_dir), options.command, **fields)
    out.writelines(f"{printable(sentence)}\n" for sentence in answer["said"])
    return DONE


def show_metrics(options: Namespace, _environ: Mapping[str, str], out: TextIO) -> int:
    """Show the metrics in the format of Prometheus, also if the daemon has no port for them."""
    out.write(send(find_socket(options.name, options.runtime_dir), "metrics")["metrics"])
    return DONE


def wait(options: Namespace, _environ: Mapping[str, str], out: TextIO) -> int:
    """Wait until the daemon answers and has the wanted role or holds the Elastic IP, or does not.

    Raises NoAnswer or Rejected at the end of the timeout, UsageError if nothing is to be waited
    for.
    """
    if options.role is None and options.holds is None:
        raise UsageError("wait: needs --role or --holds")
    wanted = {"role": options.role} if options.role else {}
    wanted |= {"holds": options.holds == "yes"} if options.holds else {}
    daemon, began = find_socket(options.name, options.runtime_dir), time.monotonic()
    while True:
        waited = time.monotonic() - began
        try:
            state = send(daemon, "status")["status"]
        except NoAnswer:
            if waited >= options.timeout:
                raise
        else:
            if all(state.get(name) == value for name, value in wanted.items()):
                out.write(f"{daemon.name} {_role(state)}, after {duration(waited)}\n")
                return DONE
            if waited >= options.timeout:
                raise Rejected(f"{daemon.name} {_role(state)} after {duration(waited)}")
        time.sleep(POLL)


def _role(state: dict[str, Any]) -> str:
    if "role" not in state:
        return "is still starting"
    return f"is {state['role'].upper()} and {'holds' if state['holds'] else 'does not hold'} {state['eip']}"


def show_history(options: Namespace, environ: Mapping[str, str], out: TextIO) -> int:
    """Show the failovers of one daemon, or of all in the journal, as a table with timelines, or as
    JSON.
    """
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
    if options.json:
        out.write(as_json(first=first, last=last, failovers=[_failover(one, names) for one in found]))
    elif first is None or last is None:
        out.write("the journal has no entries of exoip for that time\n")
    elif not found:
        out.write(f"no failover from {terminal.local_time(first)} to {terminal.local_time(last)}\n")
    else:
        heading, *rows = timeline.table(found, names)
        style = style_for(out, environ)
        ended = max(last, found[-1].at, first + 1.0)
        lines = [style(heading, terminal.FAINT), *rows, *_timelines(found, names, first, ended, out, style)]
        out.writelines(f"{line}\n" for line in lines)
    return DONE


def _failover(one: Failover, names: timeline.Names) -> dict[str, Any]:
    """Return one of the `failovers` of the JSON output."""

    def node(instance: str) -> dict[str, str | None]:
        return {"instance": instance, "name": names.get(instance)}

    return {
        "at": round(one.at, 3),
        "eip": one.eip,
        "from": [node(instance) for instance in one.source],
        "to": node(one.to) if one.to else None,
        "why": timeline.named(one.why, names),
        "took": None if one.took is None else round(one.took, 3),
        "told_by": node(one.reporter),
        "seen": one.seen,
    }


def _timelines(
    found: list[Failover], names: timeline.Names, began: float, ended: float, out: TextIO, style: Style
) -> Iterator[str]:
    marks = timeline.UNICODE_MARKS if "utf" in (out.encoding or "").lower() else timeline.ASCII_MARKS
    width = shutil.get_terminal_size((DEFAULT_WIDTH, 24)).columns - 1 if out.isatty() else DEFAULT_WIDTH
    for eip in dict.fromkeys(one.eip for one in found):
        own = [one for one in found if one.eip == eip]
        yield from ("", style(eip, terminal.BOLD), *timeline.draw(own, names, began, ended, width, marks))
