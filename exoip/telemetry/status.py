"""A node's state as the control socket tells it: a snapshot, the configuration and the topology as one JSON object. Pure.

Times are Unix seconds, durations seconds; null is "never", "not known" or "no such thing". The names of version 1 stay; others may
come beside them. exoipctl(8) and packaging/examples/status.schema.json say the same to users.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from exoip import __version__
from exoip.config.options import OPTIONS, Config
from exoip.core.calls import Trouble
from exoip.core.events import replace_ids
from exoip.core.snapshot import PeerView, Snapshot
from exoip.exoscale.topology import Topology
from exoip.telemetry.assessment import Level, assess

if TYPE_CHECKING:
    from exoip.core.snapshot import CheckView

Wall = Callable[[float], float]  # from the node's clock to Unix time
Label = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class StatusInput:
    """What is known beside the node: its present configuration and topology, and its health checks."""

    config: Config
    topology: Topology
    checks: tuple[CheckView, ...] = ()


def describe_starting(config: Config, why: str, started: float, now: float) -> dict[str, Any]:
    """Return what there is to tell before the API has said who is who. Both times are Unix time."""
    waits = (
        f"this node takes no part yet: {why}"
        if why
        else "this node takes no part yet: it reads who is who from the API"
    )
    return {
        "at": round(now, 3),
        "daemon": {"version": __version__, "started": round(started, 3), "phase": "starting"},
        "eip": config.address,
        "health": {"level": str(Level.CRITICAL), "reasons": [waits]},
        "configuration": _configuration(config),
    }


def describe_running(node: Snapshot, facts: StatusInput, label: Label, started: float, wall: Wall) -> dict[str, Any]:
    """Return all there is to tell of a node that takes part. `started` is Unix time."""
    level, reasons = assess(node, label)
    topology = facts.topology
    names = {member.instance_id: member.name for member in topology.members}
    return {
        "at": _time(node.at, wall),
        "daemon": {
            "version": __version__,
            "started": round(started, 3),
            "phase": "leaving" if node.leaving else "running",
        },
        "eip": topology.eip,
        "zone": topology.zone or None,
        "instance": topology.instance_id,
        "health": {"level": str(level), "reasons": list(reasons)},
        "role": node.role.lower(),
        "since": _time(node.since, wall),
        "reason": replace_ids(node.reason, label),
        "master": node.master and {"instance": node.master, "name": names.get(node.master) or None},
        "holds": node.holds,
        "in_doubt": node.in_doubt,
        "read_at": _time(node.known_at, wall),
        "priority": {"configured": node.priority, "advertised": node.advertised},
        **_held_back(node, wall),
        "checks": [_check(check, wall) for check in facts.checks],
        "api": _api(node, topology, wall),
        "peers": [_peer(peer, names.get(peer.instance_id), wall) for peer in node.peers],
        "outsiders": list(node.outsiders),
        "refused": dict(sorted(node.dropped.items())),
        "configuration": _configuration(facts.config),
    }


def _held_back(node: Snapshot, wall: Wall) -> dict[str, Any]:
    """What keeps this node from the Elastic IP, or a better one from taking it."""
    flapping = node.flapping
    return {
        "aside": [{"why": one.why, "until": _time(one.until, wall)} for one in node.unfit_reasons],
        "stand_back_until": _time(node.stand_back_until, wall),
        "preempt_delay": None if node.preempt_delay == math.inf else node.preempt_delay,
        "flapping": {"changes": flapping.changes, "delay": flapping.delay, "until": _time(flapping.until, wall)},
    }


def _api(node: Snapshot, topology: Topology, wall: Wall) -> dict[str, Any]:
    return {
        "endpoint": topology.endpoint,
        "answered_at": _time(node.answered_at, wall),
        "failing": [_failing(kind, trouble, wall) for kind, trouble in node.trouble.items()],
        "again": [{"job": job, "at": _time(at, wall)} for job, at in node.again.items()],
    }


def _time(at: float, wall: Wall) -> float | None:
    return round(wall(at), 3) if math.isfinite(at) else None


def _failing(kind: str, trouble: Trouble, wall: Wall) -> dict[str, Any]:
    return {
        "call": kind,
        "failure": str(trouble.failure),
        "since": _time(trouble.since, wall),
        "detail": trouble.detail,
    }


def _check(check: CheckView, wall: Wall) -> dict[str, Any]:
    return {
        "name": check.name,
        "health": str(check.health),
        "since": _time(check.since, wall),
        "why": check.why or None,
        "results": check.runs,
        "bad": check.bad,
    }


def _peer(peer: PeerView, name: str | None, wall: Wall) -> dict[str, Any]:
    return {
        "instance": peer.instance_id,
        "name": name or None,
        "address": peer.address or None,
        "port": peer.port or None,
        "member": peer.listed,
        "alive": peer.alive,
        "denied": peer.denied or None,
        "priority": peer.priority if math.isfinite(peer.last_seen) else None,
        "heard_at": _time(peer.last_seen, wall),
        "holds": peer.holds,
        "presumed": peer.presumed,
        "read_at": _time(peer.read_at, wall),
    }


def _configuration(config: Config) -> dict[str, Any]:
    shown = {option.field: _json(getattr(config, option.field)) for option in OPTIONS if option.status}
    return {"file": config.config_file} | shown


def _json(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if type(value) is tuple:
        return [str(each) for each in value]
    return value if isinstance(value, bool | int | float | None) else str(value)
