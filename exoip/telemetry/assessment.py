"""Assess a node for monitoring: a level, and each reason for it. Pure.

healthy    this node takes part and, as far as it knows, the node that should hold the Elastic IP
           holds it, and no other does
degraded   something is wrong, but this node holds the Elastic IP, or another node should: a peer is
           dead, an API call fails, a node steps aside, the master did not hold when last read, ...
critical   this node should hold the Elastic IP and does not, as far as it knows, does not take part
           yet, or shares its instance id with another host

Shown by tests/unit/telemetry/test_assessment.py.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from enum import StrEnum

from exoip.core.peers import HOLDING_UNFIT, LEAVING, UNFIT, Role
from exoip.core.snapshot import PeerView, Snapshot
from exoip.telemetry.api_health import WELL, ApiView
from exoip.telemetry.messages import PROBLEMS


class Level(StrEnum):
    """The state of a node; the worst comes last."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    CRITICAL = "critical"


_ADVERTISES = {
    HOLDING_UNFIT: "steps aside, and holds the Elastic IP as far as it knows",
    UNFIT: "steps aside or is detaching itself",
    LEAVING: "is stopping",
}


def assess(
    node: Snapshot,
    display_name: Callable[[str], str],
    cure_of_silence: Callable[[str], str],
    stopped: Container[str] = (),
    api: ApiView = WELL,
) -> tuple[Level, tuple[str, ...]]:
    """Return the level of a node and the reasons, the one that counts most first.

    `cure_of_silence`: what to do about a peer that was never heard, by its id. `stopped`: the ids
    of members that do not run, as the API says: nobody expects to hear them. `api`: which of its
    calls fail.
    """
    waits = _role_problem(node, display_name)
    idle = node.role is Role.MASTER and not node.holds and not node.leaving and not node.yielded
    critical = idle or bool(node.same_id)
    reasons = (*([waits] if waits else []), *_problems(node, display_name, cure_of_silence, stopped, api))
    return Level.CRITICAL if critical else Level.DEGRADED if reasons else Level.HEALTHY, reasons


def _role_problem(node: Snapshot, display_name: Callable[[str], str]) -> str:
    if node.leaving:
        return "this node is stopping"
    if node.yielded:
        return "an instance that is not heard holds the Elastic IP; this node waits instead of fighting"
    if node.role is Role.LISTENING:
        return "this node is listening before it takes part"
    if node.role is Role.MASTER and not node.holds:
        known = "has to read whether it holds" if node.in_doubt else "does not hold"
        return f"this node is the master but {known} the Elastic IP"
    if node.role is Role.MASTER and node.in_doubt:
        return "this node held the Elastic IP when it last looked, and has to look again"
    master = display_name(node.master or "")
    holds = next((peer.holds for peer in node.peers if peer.instance_id == node.master), None)
    if node.role is Role.BACKUP and node.holds:
        until = f"beside {master}, and has to detach itself" if holds else f"until {master} does"
        return f"this node still holds the Elastic IP, {until}"
    if node.role is Role.BACKUP and holds is False:
        return f"{master} is the master but did not hold the Elastic IP when it was last read"
    return ""


def _problems(
    node: Snapshot,
    display_name: Callable[[str], str],
    cure_of_silence: Callable[[str], str],
    stopped: Container[str],
    api: ApiView,
) -> Iterator[str]:
    if node.same_id:
        yield f"heartbeats with this instance's id come from {node.same_id}: two hosts have one id; correct -i there or here"
    if node.mute:
        yield f"this node cannot send any heartbeat ({node.mute}): the fault is here; check its address, routes and firewall"
    for reason in node.unfit_reasons:
        yield f"this node steps aside: {reason.why}"
    for kind, trouble in api.trouble.items():
        yield f"{kind} fails: {PROBLEMS[trouble.failure]}" + (f" ({trouble.detail})" if trouble.detail else "")
    if node.damping.delay:
        yield f"the role changed {len(node.damping.changes)} times recently"
    for outsider in node.outsiders:
        holds = "also holds" if node.holds else "holds"
        yield f"{display_name(outsider)} {holds} the Elastic IP and is not a member; detach it by hand"
    expected = [peer for peer in node.peers if peer.alive or peer.holds or peer.instance_id not in stopped]
    if not any(peer.listed for peer in expected):
        yield "this node has no peers, so no other node can take over"
    for peer in expected:
        for problem in _peer_problems(peer, cure_of_silence):
            yield f"{display_name(peer.instance_id)} {problem}"
        if peer.alive and peer.holds and node.role is Role.MASTER and node.holds:
            yield f"{display_name(peer.instance_id)} also holds the Elastic IP"


def _peer_problems(peer: PeerView, cure_of_silence: Callable[[str], str]) -> Iterator[str]:
    if peer.elsewhere and not peer.alive:
        yield (
            f"has the id that {peer.elsewhere} sends heartbeats with: use {peer.elsewhere} as its address, "
            f"or bind its exoip to {peer.address} (bind-address)"
        )
    if not peer.alive and peer.denied:
        yield f"sends heartbeats that are dropped here ({peer.denied}); the journal says what to do"
    if not peer.alive and peer.holds:
        yield "is not heard, and held the Elastic IP when that was last read"
    elif not peer.alive and peer.listed:
        yield f"was never heard: {cure_of_silence(peer.instance_id)}" if peer.never_heard else "is not heard"
    elif peer.alive and peer.priority in _ADVERTISES:
        yield _ADVERTISES[peer.priority]
