"""The commands except `check` and `history`.

Each takes the options, writes to a stream and returns the exit code. Shown by
tests/unit/ctl/test_commands.py.
"""

from __future__ import annotations

import json
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, TextIO

from exoip.ctl import cluster, status, terminal
from exoip.ctl.client import TIMEOUT, ControlSocket, NoAnswer, Rejected, find_socket, list_sockets, requester, send
from exoip.ctl.terminal import as_json, duration, exit_code, style_for
from exoip.ctl.watch import watch
from exoip.errors import UsageError
from exoip.exoscale.models import printable
from exoip.operator.control_protocol import VERSION
from exoip.telemetry.metrics import samples

DONE = 0
NOT_DONE = 1
NO_ANSWER = 3
POLL = 0.1  # seconds between two requests of `wait`

States = list[dict[str, Any]]  # one for each daemon, see `_state`
Blocks = Callable[[str, status.State], Iterator[status.Block]]


def show_status(options: Namespace, environ: Mapping[str, str], out: TextIO) -> int:
    """Show the state of one daemon or of all; return the code of the worst level, see --fail-on."""
    blocks = partial(status.blocks, events=options.lines, short=options.watch is not None)
    found = _show(options, environ, out, lambda found: {"level": _worst(found), "instances": found}, blocks)
    return DONE if options.watch is not None else exit_code(_worst(found), options.fail_on)


def _worst(found: States) -> str:
    return terminal.worst(one["level"] for one in found)


def show_cluster(options: Namespace, environ: Mapping[str, str], out: TextIO) -> int:
    """Show each node of the cluster as this host's daemons see it, one row each."""
    found = _show(options, environ, out, lambda found: {"clusters": list(map(_cluster, found))}, cluster.blocks)
    return DONE if options.watch is not None or any(one["status"] for one in found) else NO_ANSWER


def _cluster(one: dict[str, Any]) -> dict[str, Any]:
    """Return one of the `clusters` of the JSON output."""
    state = one["status"]
    known = {"eip": state["eip"], "nodes": cluster.nodes(state)} if state else {"eip": None, "nodes": []}
    return {key: one[key] for key in ("name", "level", "error")} | known


def _show(
    options: Namespace,
    environ: Mapping[str, str],
    out: TextIO,
    report: Callable[[States], dict[str, Any]],
    blocks: Blocks,
) -> States:
    """Show the states of the daemons, once or with --watch again and again, until Ctrl-C.

    `report` makes the JSON output, then one object a line; `blocks` what people read.
    """
    found: States = []
    if options.watch is None:
        found = _states(options)
        if options.json:
            out.write(as_json(**report(found)))
        else:
            style = style_for(out, environ)
            out.writelines(f"{line}\n" for block in _blocks(found, blocks) for line in block.styled(style))
    elif options.json:
        with suppress(KeyboardInterrupt):
            while True:
                out.write(json.dumps({"version": VERSION, **report(_states(options))}) + "\n")
                out.flush()
                time.sleep(options.watch)
    else:
        watch(lambda: _watched(options, blocks), options.watch, out, environ)
    return found


def _watched(options: Namespace, blocks: Blocks) -> list[status.Block]:
    try:
        return list(_blocks(_states(options), blocks))
    except NoAnswer as error:  # one may be started later
        return [status.Block(tuple(terminal.wrap(printable(str(error)), 2)))]


def _states(options: Namespace) -> States:
    """Return the entries in the JSON output of the daemon that is named, or of all.

    Raises NoAnswer if there is none and the output is for people.
    """
    name, runtime_dir = options.name, options.runtime_dir
    found = [_state(one) for one in ([find_socket(name, runtime_dir)] if name else list_sockets(runtime_dir))]
    if not found and not options.json:
        raise NoAnswer(
            f"no {runtime_dir}/*/control: no exoip runs here, or only without a control socket"
            " (see RUNTIME_DIRECTORY in exoip(8))"
        )
    return found


def _blocks(found: States, blocks: Blocks) -> Iterator[status.Block]:
    for number, one in enumerate(found):
        if number:
            yield status.Block(("",))
        if one["status"] is not None:
            yield from blocks(one["name"], one["status"])
        else:
            yield status.header((one["name"], terminal.BOLD), (one["level"], terminal.COLORS[one["level"]]))
            yield status.Block(tuple(terminal.wrap(f"  ! {printable(one['error'])}", 4)))


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
    if options.json:
        out.write(json.dumps(answer, indent=2) + "\n")
    else:
        out.writelines(f"{printable(sentence)}\n" for sentence in answer["said"])
    return DONE if answer.get("lasting", True) else NOT_DONE  # whoever reboots next has to know


def show_metrics(options: Namespace, _environ: Mapping[str, str], out: TextIO) -> int:
    """Show the metrics in the format of Prometheus, also if the daemon has no port for them."""
    text = send(find_socket(options.name, options.runtime_dir), "metrics")["metrics"]
    out.write(as_json(samples=samples(text)) if options.json else text)
    return DONE


def wait(options: Namespace, _environ: Mapping[str, str], out: TextIO) -> int:
    """Wait until the daemon runs and has the wanted role or knows that it holds the Elastic IP,
    or that it does not.

    Raises NoAnswer or Rejected at the end of the timeout, UsageError if nothing is to be waited
    for.
    """
    if options.role is None and options.holds is None:
        raise UsageError("wait: needs --role or --holds")
    wanted = {"role": options.role} if options.role else {}
    wanted |= {"holds": options.holds == "yes", "in_doubt": False, "attaching": False} if options.holds else {}
    daemon, began = find_socket(options.name, options.runtime_dir), time.monotonic()
    while True:
        left = options.timeout - (time.monotonic() - began)
        try:
            state = send(replace(daemon, timeout=min(TIMEOUT, max(left, POLL))), "status")["status"]
        except NoAnswer as error:
            if (waited := time.monotonic() - began) >= options.timeout:
                raise NoAnswer(f"{error}, after waiting for {duration(waited)}", error.level) from error
        else:
            waited = time.monotonic() - began
            if "role" in state and all(state.get(name, False) == value for name, value in wanted.items()):
                if options.json:
                    out.write(as_json(name=daemon.name, waited=round(waited, 3), status=state))
                else:
                    out.write(f"{daemon.name} {_role(state)}, after {duration(waited)}\n")
                return DONE
            if left <= 0:
                raise Rejected(f"{daemon.name} {_role(state)} after {duration(waited)}")
        time.sleep(POLL)


def _role(state: dict[str, Any]) -> str:
    if "role" not in state:
        return "is still starting"
    holds = "has to read whether it holds" if state["in_doubt"] else "holds" if state["holds"] else "does not hold"
    holds = "attaches" if state.get("attaching") else holds
    return f"is {state['role'].upper()} and {holds} {state['eip']}"
