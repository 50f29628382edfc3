"""The command line of `exoip-sandbox`."""

from __future__ import annotations

import argparse
import json
import math
import re
from ipaddress import ip_address
from typing import Any

from exoip.sandbox import faults, model

URL = "http://127.0.0.1:8080"
FAULT_FIELDS: dict[str, dict[str, Any]] = {
    "when": {"choices": ("instead", "before", "after"), "help": "whether the fault acts before the zone or after it"},
    "count": {"type": int, "metavar": "N", "help": "hit N calls (default: all)"},
    "skip": {"type": int, "metavar": "N", "help": "skip the first N calls"},
    "for": {"type": float, "metavar": "SECONDS", "help": "remove the fault after that"},
    "status": {"type": int, "help": "for a status fault (default: 503)"},
    "form": {"choices": faults.FORMS, "help": "the form of a status fault's body (default: message)"},
    "message": {"help": "for a status fault"},
    "retry_after": {"type": float, "metavar": "SECONDS", "help": "for a status fault: send Retry-After"},
    "seconds": {"type": float, "help": "duration of a hang or of a slow operation"},
    "reason": {"choices": sorted(model.REASONS), "metavar": "REASON", "help": "why the operation fails"},
}


def build_parser() -> argparse.ArgumentParser:
    """Return the parser. Its result has the name of the command in `command`."""
    parser = argparse.ArgumentParser(
        prog="exoip-sandbox",
        description="A simulated Exoscale zone: API v2, metadata, Elastic IP traffic, faults to inject.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_zone(commands.add_parser("zone", help="serve a zone", description="Serve a zone until SIGINT or SIGTERM."))
    for name, add_arguments, about in (
        ("state", _add_state, "show the zone's state"),
        ("record", _add_record, "show the zone's record: all calls and changes"),
        ("fault", _add_fault, "inject a fault"),
        ("clear", _add_clear, "remove one fault, or all"),
        ("latency", _add_latency, "set how long a call takes"),
        ("instance", _add_instance, "change an instance or the holders without the API"),
        (
            "set",
            _add_set,
            "change a setting: operation_seconds, ip_filter, bare_groups, groups_listed, detach_unattached",
        ),
    ):
        command = commands.add_parser(name, help=about, description=about)
        command.add_argument("--url", default=URL, help="the sandbox (default: %(default)s)")
        add_arguments(command)
    return parser


def _add_zone(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--listen", type=_host_port, default=("127.0.0.1", 8080), metavar="HOST:PORT", help="default: 127.0.0.1:8080")
    add("--name", default="ch-gva-2", help="the zone's name (default: %(default)s)")
    add(
        "--eip",
        type=_elastic_ip,
        default="127.0.0.100",
        metavar="ADDRESS|PREFIX/96",
        help="the Elastic IP (default: %(default)s)",
    )
    add(
        "--instances",
        type=_instances,
        default="a=127.0.0.11,b=127.0.0.12,c=127.0.0.13",
        metavar="NAME=ADDRESS,…",
        help="default: %(default)s",
    )
    add(
        "--group",
        metavar="NAME",
        help="add the instances to this security group, which lets their heartbeats in; nodes join with -G",
    )
    add("--latency-ms", type=_number, default=0.0, metavar="MS", help="how long a call takes (default: 0)")
    add("--operation-ms", type=_number, default=200.0, metavar="MS", help="how long an operation takes (default: 200)")
    add(
        "--traffic",
        type=_port,
        metavar="PORT",
        help="forward EIP:PORT (IPv6: of ::1 if this machine does not have the prefix) to the holder's address, same port",
    )


def _add_state(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print JSON")


def _add_record(command: argparse.ArgumentParser) -> None:
    command.add_argument("--since", type=int, default=0, metavar="INDEX", help="from this entry on")
    command.add_argument("--follow", action="store_true", help="continue until interrupted")
    command.add_argument("--json", action="store_true", help="print one JSON object per line")


def _add_fault(command: argparse.ArgumentParser) -> None:
    command.add_argument("kind", choices=faults.KINDS)
    command.add_argument("--method", help="only calls of this method")
    command.add_argument("--path", metavar="REGEX", help="only calls whose path (without /v2) contains this")
    command.add_argument("--key", help="only calls of this API key")
    for name, details in FAULT_FIELDS.items():
        command.add_argument(f"--{name.replace('_', '-')}", **details)


def _add_clear(command: argparse.ArgumentParser) -> None:
    command.add_argument("number", type=int, nargs="?", help="the fault (default: all)")


def _add_latency(command: argparse.ArgumentParser) -> None:
    command.add_argument("ms", type=_number, metavar="MS")
    command.add_argument("--key", default="", help="only for calls of this API key")


def _add_instance(command: argparse.ArgumentParser) -> None:
    command.add_argument("do", choices=("add", "remove", "state", "join", "leave", "attach", "detach"))
    command.add_argument("instance", help="its name or id")
    command.add_argument("--state", help="for state")
    command.add_argument("--group", help="for add, join and leave")
    command.add_argument("--public-ip", help="for add")
    command.add_argument("--ipv6", metavar="ADDRESS", help="for add")


def _add_set(command: argparse.ArgumentParser) -> None:
    command.add_argument("settings", type=_setting, nargs="+", metavar="NAME=VALUE", help="the value as JSON or a word")


def _address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not an IP address") from None


def _elastic_ip(text: str) -> str:
    try:
        return model.parse_elastic_ip(text)
    except model.Invalid as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: 0..65535")
    return int(text)


def _host_port(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return host.strip("[]") or "127.0.0.1", _port(port)


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 0 or more")
    return number


def _instances(text: str) -> list[tuple[str, str]]:
    pairs = []
    for part in text.split(","):
        name, equals, address = part.strip().partition("=")
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name) or not equals:
            raise argparse.ArgumentTypeError(f"{part!r} is not NAME=ADDRESS, the name of letters, digits, _ and -")
        pairs.append((name, _address(address)))
    if len({name for name, _ in pairs}) != len(pairs):
        raise argparse.ArgumentTypeError(f"{text!r} names an instance twice")
    return pairs


def _setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    try:
        return name, json.loads(value) if name != "detach_unattached" else value
    except ValueError:
        return name, value
