"""The commands that ask the daemons: each writes to a stream and returns the exit code."""

from __future__ import annotations

import json
import time
from argparse import Namespace
from collections.abc import Mapping
from typing import Any, TextIO

from exoip.ctl import status
from exoip.ctl.client import Daemon, Refused, Unanswered, ask, asker, daemon, daemons
from exoip.ctl.levels import CODES, UNKNOWN, worst
from exoip.ctl.terminal import BOLD, COLOURS, paint_for, plain, span
from exoip.errors import UsageError
from exoip.operator.control_protocol import VERSION

DONE, NOT_DONE, NOBODY = 0, 1, 3
LOOK = 0.1  # seconds between two looks of `wait`


def show(options: Namespace, environ: Mapping[str, str], out: TextIO) -> int:
    """`status`: of one daemon, or of all."""
    chosen = [daemon(options.name, options.runtime_dir)] if options.name else daemons(options.runtime_dir)
    found = [_look(one) for one in chosen]
    level = worst(one["level"] for one in found)
    if options.json:
        out.write(json.dumps({"version": VERSION, "level": level, "instances": found}, indent=2) + "\n")
        return CODES[level]
    paint = paint_for(out, environ)
    if not found:
        raise Unanswered(f"no exoip runs here: there is no {options.runtime_dir}/*/control")
    for number, one in enumerate(found):
        out.write("\n" * bool(number))
        if one["status"] is None:
            out.write(
                f"{paint(one['name'], BOLD)}  {paint(one['level'], COLOURS[one['level']])}\n  ! {plain(one['error'])}\n"
            )
        else:
            out.writelines(f"{line}\n" for line in status.lines(one["name"], one["status"], paint))
    return CODES[level]


def _look(one: Daemon) -> dict[str, Any]:
    try:
        told = ask(one, "status")["status"]
    except (Unanswered, Refused) as error:
        level = getattr(error, "level", UNKNOWN)
        return {"name": one.name, "level": level, "error": str(error), "status": None}
    return {"name": one.name, "level": told["health"]["level"], "error": None, "status": told}


def order(options: Namespace, environ: Mapping[str, str], out: TextIO) -> int:
    """`drain`, `undrain`, `failover`, `priority`: what the daemon says of it, line by line."""
    fields: dict[str, object] = {"by": asker(environ)}
    if options.command == "drain":
        fields["why"] = options.why
    elif options.command == "failover":
        fields |= {"for": options.seconds, "force": options.force}
    elif options.command == "priority":
        fields["priority"] = options.priority
    answer = ask(daemon(options.name, options.runtime_dir), options.command, **fields)
    out.writelines(f"{plain(sentence)}\n" for sentence in answer["said"])
    return DONE


def metrics(options: Namespace, _environ: Mapping[str, str], out: TextIO) -> int:
    """`metrics`: the text of the metrics' port, also where there is none."""
    out.write(ask(daemon(options.name, options.runtime_dir), "metrics")["metrics"])
    return DONE


def wait(options: Namespace, _environ: Mapping[str, str], out: TextIO) -> int:
    """`wait`: until the daemon has a role, or holds; a daemon that does not answer is waited for too."""
    if options.role is None and options.holds is None:
        raise UsageError("wait: say for what, --role or --holds")
    wanted = {"role": options.role} if options.role else {}
    wanted |= {"holds": options.holds == "yes"} if options.holds else {}
    one, began = daemon(options.name, options.runtime_dir), time.monotonic()
    while True:
        waited = time.monotonic() - began
        try:
            told = ask(one, "status")["status"]
        except Unanswered:
            if waited >= options.timeout:
                raise
        else:
            if all(told.get(name) == value for name, value in wanted.items()):
                out.write(f"{one.name} {_as(told)}, after {span(waited)}\n")
                return DONE
            if waited >= options.timeout:
                raise Refused(f"{one.name} {_as(told)} after {span(waited)}")
        time.sleep(LOOK)


def _as(told: dict[str, Any]) -> str:
    if "role" not in told:
        return "takes no part yet"
    return f"is {told['role'].upper()} and {'holds' if told['holds'] else 'does not hold'} {told['eip']}"
