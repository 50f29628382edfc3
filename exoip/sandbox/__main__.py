"""The command `exoip-sandbox`: serve a simulated Exoscale zone, or inspect or break a running one.

Exit codes: 0 done, 1 failed (the message says why), 2 usage.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Sequence

from exoip import streams
from exoip.errors import ExoipError
from exoip.sandbox import output
from exoip.sandbox.client import ControlClient
from exoip.sandbox.model import ZoneError
from exoip.sandbox.options import FAULT_FIELDS, URL, build_parser
from exoip.sandbox.server import SandboxServer
from exoip.sandbox.traffic import Traffic, entrance
from exoip.sandbox.zone import Zone

FOLLOW_SECONDS = 0.2  # between two polls of `record --follow`
STOP_SIGNALS = {signal.SIGINT, signal.SIGTERM}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code."""
    streams.prepare()
    options = build_parser().parse_args(arguments)
    try:
        if options.command == "zone":
            _serve(options)
        else:
            with contextlib.closing(ControlClient(options.url)) as client:
                _COMMANDS[options.command](options, client)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader left: let the exit flush
    except (ExoipError, ZoneError, OSError) as error:
        sys.stderr.write(f"exoip-sandbox: {error}\n")
        return 1
    except KeyboardInterrupt:
        pass
    return 0


def _serve(options: argparse.Namespace) -> None:
    zone = Zone(options.name, options.eip, operation_seconds=options.operation_ms / 1000)
    zone.set_latency(options.latency_ms / 1000)
    groups = (options.group,) if options.group else ()
    v6 = (lambda number: f"2001:db8::{number:x}") if zone.eip.version == 6 else (lambda _: None)
    instances = [
        zone.add_instance(name, public_ip=ip, ipv6=v6(number), groups=groups)
        for number, (name, ip) in enumerate(options.instances, start=1)
    ]
    if options.group:
        zone.let_in(options.group, "udp", output.PORT, output.PORT, source=options.group)
    for one in instances:
        zone.add_key(output.key_name(one.name), output.key_secret(one.name))
    # Before any thread starts, so that all inherit it and only sigwait below gets the signal
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    traffic = ""
    with contextlib.ExitStack() as stack:
        with _naming("--listen", options.listen):
            server = stack.enter_context(SandboxServer(zone, *options.listen))
        if options.traffic is not None:
            targets = {one.id: (one.public_ip or "", options.traffic) for one in instances}
            address = (entrance(options.eip), options.traffic)
            with _naming("--traffic", address):
                traffic = str(stack.enter_context(Traffic(server.holders, address, targets)))
        at = "" if server.url == URL else f" --url {server.url}"
        _print(output.welcome(zone, instances, options.group, server.url, at, traffic))
        signal.sigwait(STOP_SIGNALS)


def _state(options: argparse.Namespace, client: ControlClient) -> None:
    state = client.state()
    _print([json.dumps(state, indent=2)] if options.json else output.state_lines(state))


def _record(options: argparse.Namespace, client: ControlClient) -> None:
    since, names = options.since, dict[str, str]()
    while True:
        record = client.record(since)
        if since == options.since or any(entry["kind"] == "instance" for entry in record["entries"]):
            names |= {one["id"]: one["name"] for one in client.state()["instances"]}
        _print(json.dumps(entry) if options.json else output.entry_line(entry, names) for entry in record["entries"])
        if not options.follow:
            return
        since = record["next"]
        time.sleep(FOLLOW_SECONDS)


def _fault(options: argparse.Namespace, client: ControlClient) -> None:
    given = {name: value for name, value in vars(options).items() if value is not None}
    match = {name: given[name] for name in ("method", "path", "key") if name in given}
    number = client.fault(options.kind, match=match, **{name: given[name] for name in FAULT_FIELDS if name in given})
    at = "" if options.url == URL else f" --url {options.url}"
    _print([f"fault {number} is active; `exoip-sandbox clear {number}{at}` removes it"])


def _clear(options: argparse.Namespace, client: ControlClient) -> None:
    client.clear(options.number)


def _latency(options: argparse.Namespace, client: ControlClient) -> None:
    client.latency(options.ms / 1000, options.key)


def _instance(options: argparse.Namespace, client: ControlClient) -> None:
    fields = {
        name: value for name in ("state", "group", "public_ip", "ipv6") if (value := getattr(options, name)) is not None
    }
    if options.do == "add" and "group" in fields:
        fields["groups"] = [fields.pop("group")]
    fields["name" if options.do == "add" else "instance"] = options.instance
    _print([client.instance(options.do, **fields)])


def _set(options: argparse.Namespace, client: ControlClient) -> None:
    client.settings(**dict(options.settings))


_COMMANDS = {
    "state": _state,
    "record": _record,
    "fault": _fault,
    "clear": _clear,
    "latency": _latency,
    "instance": _instance,
    "set": _set,
}


@contextlib.contextmanager
def _naming(option: str, address: tuple[str, int]) -> Iterator[None]:
    """Name the option in the error if its address cannot be bound."""
    try:
        yield
    except OSError as error:
        host, port = address
        raise OSError(f"{option}: cannot listen on {host}:{port}: {error.strerror or error}") from error


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
