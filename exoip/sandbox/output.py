"""Format what `exoip-sandbox` prints: a zone's state and record, and the commands that join nodes
to it. Pure.
"""

from __future__ import annotations

import shlex
import time
from typing import Any

from exoip.sandbox.model import Instance
from exoip.sandbox.zone import Zone

PORT = 12345  # UDP, for heartbeats


def key_name(instance: str) -> str:
    """Return the API key of an instance; each has its own, so that a fault can hit one only."""
    return f"EXO{instance}"


def key_secret(instance: str) -> str:
    return f"sandbox-{instance}"


def join_command(zone: Zone, instance: Instance, peers: list[Instance], priority: int, group: str | None) -> list[str]:
    """Return the command that joins `instance` to the cluster of `peers`."""
    named = ["-G", group] if group else [word for peer in peers for word in ("-p", f"{peer.public_ip}:{PORT}")]
    return [
        *("exoip", "-W", "-xi", zone.eip.label, "-i", instance.id, *named, "-P", str(priority)),
        *("-xk", key_name(instance.name), "-xs", key_secret(instance.name), "-xe", zone.endpoint, "-xz", zone.name),
        *("-l", f"{instance.public_ip}:{PORT}"),
    ]


def welcome(
    zone: Zone, instances: list[Instance], group: str | None, url: str, at: str, traffic: str = ""
) -> list[str]:
    """Return the lines at the start of `zone`: what it serves, and commands to copy.

    `at`: their `--url`, if any. `traffic`: where the holder's traffic arrives, if any is forwarded.
    """
    lines = [
        f"zone {zone.name}, API {zone.endpoint}, Elastic IP {zone.eip.label}",
        f"a call takes {zone.latency() * 1000:g} ms, an operation {zone.operation_seconds * 1000:g} ms",
        *([f"connections to {traffic} reach the holder"] if traffic else []),
        "",
        "To join nodes, run each of these in its own terminal (the lowest -P wins):",
    ]
    for number, one in enumerate(instances, start=1):
        peers = [other for other in instances if other is not one]
        command = shlex.join(join_command(zone, one, peers, 10 * number, group))
        lines += ["", f"# {one.name}: its id and zone are also at -xm {url}/metadata/{one.name}", command]
    return [
        *lines,
        "",
        f"To watch it:  exoip-sandbox record --follow{at}",
        f"To break it:  exoip-sandbox fault status --status 503 --for 20{at}",
        "To stop it:   Ctrl-C",
    ]


def state_lines(state: dict[str, Any]) -> list[str]:
    """Return the state from the control interface as lines."""
    names = {one["id"]: one["name"] for one in state["instances"]}
    lines = [f"zone {state['name']}, API {state['endpoint']}"]
    for eip in state["elastic_ips"]:
        lines.append(f"{eip['cidr'].removesuffix('/32')} held by {_named(eip['holders'], names)}")
    for one in state["instances"]:
        groups = f", in {' '.join(one['groups'])}" if one["groups"] else ""
        lines.append(f"{one['name']}: {one['id']}, {one['public_ip'] or 'private'}, {one['state']}{groups}")
    for operation in state["pending"]:
        lines.append(f"pending: {operation['action']} {_named([operation['instance']], names)}")
    for number, fault in state["faults"].items():
        match = {key: value for key, value in fault["match"].items() if value and key != "service"}
        lines.append(f"fault {number}: {fault['kind']} {fault['when']} {match or 'every call'}")
    for key, seconds in state["latencies"].items():
        lines.append(f"latency of {key or 'all other keys'}: {seconds * 1000:g} ms")
    counts = state["counts"]
    return [*lines, f"calls: {counts['reads']} reads, {counts['mutations']} mutations"]


def entry_line(entry: dict[str, Any], names: dict[str, str]) -> str:
    """Return one entry of the record as a line; `names` are those of instances by id."""
    wall = entry["wall"] if entry["wall"] is not None else entry["time"]
    clock = time.strftime("%H:%M:%S", time.localtime(wall)) + f".{int(wall % 1 * 1000):03d}"
    what = {
        "holders": f"{entry.get('outcome')} -> {_named(entry.get('holders', []), names)}",
        "call": f"{entry.get('method')} {entry.get('path')}",
        "answer": f"{entry.get('status')} {entry.get('outcome')} to {entry.get('method')} {entry.get('path')}",
        "operation": f"{entry.get('operation')}: {entry.get('outcome')}",
    }.get(entry["kind"], entry.get("outcome", entry.get("path", "")))
    about = names.get(entry.get("instance", ""), entry.get("instance", ""))
    parts = [clock, f"{entry['kind']:9}", what, f"[{about}]" if about else "", entry.get("key", "")]
    return " ".join(part for part in parts if part)


def _named(ids: list[str], names: dict[str, str]) -> str:
    return " ".join(names.get(one, one) for one in ids) or "nobody"
