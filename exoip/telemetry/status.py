"""Describe a node as JSON for the control socket: state, configuration and topology. Pure.

Times are Unix seconds, durations seconds; null is "never", "not known" or "does not exist". The
names of version 1 stay, and others may be added. exoipctl(8) and
packaging/examples/status.schema.json describe the object for users. Shown by
tests/unit/telemetry/test_status.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from exoip import __version__
from exoip.config.options import OPTIONS, Config
from exoip.core.peers import Role
from exoip.core.snapshot import PeerView, Snapshot
from exoip.exoscale.ingress import rule_command
from exoip.exoscale.topology import Topology
from exoip.telemetry.api_health import WELL, ApiView
from exoip.telemetry.assessment import Level, assess
from exoip.telemetry.journal import Told, replace_ids

if TYPE_CHECKING:
    from exoip.telemetry.addon_views import CheckView

DisplayName = Callable[[str], str]  # from an instance id to a name and address
UnixTime = Callable[[float], float]  # from a moment of the node's clock
Time = Callable[[float], float | None]  # the same as JSON: None for never


@dataclass(frozen=True, slots=True)
class StatusInput:
    """What the status needs beside the snapshot: configuration, topology, checks, events, API."""

    config: Config
    topology: Topology
    checks: tuple[CheckView, ...] = ()
    events: tuple[Told, ...] = ()
    api: ApiView = WELL

    def cure_of_silence(self, instance_id: str) -> str:
        """Return what to do about a running peer of which nothing arrives."""
        port = self.config.bind_address.port
        if instance_id in self.topology.shut_out:
            return f"no rule allows UDP {port} from it: {rule_command(self.config.peer_group or '', port)}"
        return f"check that exoip runs there, and that both nodes allow UDP {port}"


def describe_starting(config: Config, why: str, started: float, now: float) -> dict[str, Any]:
    """Describe a node that waits for the API before it takes part. Both times are Unix time."""
    waits = f"this node does not take part yet: {why or 'it is reading the members from the API'}"
    return {
        "at": round(now, 3),
        "daemon": {"version": __version__, "started": round(started, 3), "phase": "starting"},
        "eip": config.address,
        "health": {"level": str(Level.CRITICAL), "reasons": [waits]},
        "configuration": _configuration(config),
    }


def describe_running(
    node: Snapshot, given: StatusInput, display_name: DisplayName, started: float, unix_time: UnixTime
) -> dict[str, Any]:
    """Describe a node that takes part. `started` is Unix time."""

    def time(at: float) -> float | None:
        return round(unix_time(at), 3) if math.isfinite(at) else None

    topology, damping, stopped = given.topology, node.damping, given.topology.stopped
    names = {member.instance_id: member.name or None for member in topology.members}
    level, reasons = assess(node, display_name, given.cure_of_silence, stopped, given.api)
    phase = "leaving" if node.leaving else "running"
    return {
        "at": time(node.at),
        "daemon": {"version": __version__, "started": round(started, 3), "phase": phase},
        **_identity(given),
        "health": {"level": str(level), "reasons": list(reasons)},
        "role": node.role.lower(),
        "since": time(node.since),
        "reason": replace_ids(node.reason, display_name),
        "master": node.master and {"instance": node.master, "name": names.get(node.master)},
        "holds": node.holds,
        "in_doubt": node.in_doubt,
        "attaching": node.attaching,
        "read_at": time(node.known_at),
        "priority": {"configured": node.priority, "advertised": node.advertised},
        "aside": [{"cause": one.cause, "why": one.why, "until": time(one.until)} for one in node.unfit_reasons],
        "stand_back_until": None if node.mute else time(node.stand_back_until),
        "mute": node.mute or None,
        "preempt_delay": _json(node.preempt_delay),
        "flapping": {"changes": len(damping.changes), "delay": damping.delay, "until": time(damping.until)},
        "checks": [_check(check, time) for check in given.checks],
        "api": _api(node, given.api, topology.endpoint, time),
        "peers": [_peer(one, names.get(one.instance_id), one.instance_id not in stopped, time) for one in node.peers],
        "outsiders": list(node.outsiders),
        "refused": dict(sorted(node.dropped.items())),
        "events": [_event(one) for one in given.events],
        "configuration": _configuration(given.config),
    }


def status_line(node: Snapshot, eip: str, api: ApiView = WELL) -> str:
    """Return the node's state in one line, for `systemctl status`."""
    alive = sum(peer.alive for peer in node.peers)
    words = [f"{node.role} of {eip}" if node.role is Role.MASTER else f"{node.role} for {eip}"]
    words.append(f"{alive} of {len(node.peers)} peers alive")
    if node.holds != (node.role is Role.MASTER):
        words.append("holding it" if node.holds else "perhaps holding it" if node.in_doubt else "not holding it")
    states = {
        "unable to send": node.mute,
        "stopping": node.leaving,
        "standing back": node.yielded,
        "stepping aside": node.unfit,
    }
    words += [state for state, applies in states.items() if applies]
    words += [
        f"dropping heartbeats from {peer.address} ({peer.denied})"
        for peer in node.peers
        if peer.denied and not peer.alive
    ]
    if api.degraded:
        words.append(f"degraded: {api.degraded}")
    return ", ".join(words)


def _identity(given: StatusInput) -> dict[str, Any]:
    topology, bound = given.topology, given.config.bind_address.host
    return {
        "eip": topology.eip_label,
        "zone": topology.zone or None,
        "instance": topology.instance_id,
        "name": topology.name or None,
        "address": (bound if bound.strip(":") else topology.address) or None,
    }


def _event(told: Told) -> dict[str, Any]:
    return {"at": round(told.at, 3), "event": str(told.event), "level": told.level, "message": told.message}


def _api(node: Snapshot, api: ApiView, endpoint: str, time: Time) -> dict[str, Any]:
    failing = [
        {"call": kind, "failure": str(trouble.failure), "since": time(trouble.since), "detail": trouble.detail}
        for kind, trouble in api.trouble.items()
    ]
    again = [{"job": job, "at": time(at)} for job, at in node.again.items()]
    return {"endpoint": endpoint, "answered_at": time(api.answered_at), "failing": failing, "again": again}


def _check(check: CheckView, time: Time) -> dict[str, Any]:
    return {
        "name": check.name,
        "health": str(check.health),
        "since": time(check.since),
        "why": check.why or None,
        "results": check.runs,
        "bad": check.bad,
    }


def _peer(peer: PeerView, name: str | None, running: bool, time: Time) -> dict[str, Any]:
    return {
        "instance": peer.instance_id,
        "name": name,
        "address": peer.address or None,
        "port": peer.port or None,
        "member": peer.listed,
        "running": running,
        "alive": peer.alive,
        "denied": peer.denied or None,
        "priority": peer.priority if math.isfinite(peer.last_seen) else None,
        "heard_at": time(peer.last_seen),
        "holds": peer.holds,
        "presumed": peer.presumed,
        "read_at": time(peer.read_at),
        "never_heard": peer.never_heard and running,
        "elsewhere": peer.elsewhere or None,
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
