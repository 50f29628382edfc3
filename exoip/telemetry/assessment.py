"""Whether all is well, in the words of monitoring: a level, and each reason for it. Pure.

healthy    this node takes part, and the Elastic IP is, as far as it knows, held by the node that should hold it, and by no other
degraded   it is served, but something is not as it should be: a peer is dead, a call fails, a node steps aside …
critical   this node should hold it and does not, or takes no part yet
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum

from exoip.core.peers import HOLDING_UNFIT, LEAVING, UNFIT, Role
from exoip.core.snapshot import PeerView, Snapshot


class Level(StrEnum):
    """How it is; the worst comes last."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    CRITICAL = "critical"


Finding = tuple[Level, str]
_WORST = list(Level)

_ADVERTISES = {
    HOLDING_UNFIT: "steps aside, but holds the Elastic IP",
    UNFIT: "steps aside or is letting go",
    LEAVING: "is leaving",
}


def assess(node: Snapshot, label: Callable[[str], str]) -> tuple[Level, tuple[str, ...]]:
    """Return the worst level, and the reasons for it and for every milder one, the worst first."""
    found = sorted(_findings(node, label), key=lambda finding: -_WORST.index(finding[0]))
    return (found[0][0] if found else Level.HEALTHY), tuple(reason for _, reason in found)


def _findings(node: Snapshot, label: Callable[[str], str]) -> Iterator[Finding]:
    yield from _of_the_role(node, label)
    for reason in node.unfit_reasons:
        yield Level.DEGRADED, f"this node steps aside: {reason.why}"
    for kind, trouble in node.trouble.items():
        yield (
            Level.DEGRADED,
            f"the API fails at {kind} ({trouble.failure}){': ' * bool(trouble.detail)}{trouble.detail}",
        )
    if node.flapping.delay:
        yield Level.DEGRADED, f"the role changed {node.flapping.changes} times lately"
    for outsider in node.outsiders:
        yield Level.DEGRADED, f"{label(outsider)} holds it too, and is no member: detach it by hand"
    if not any(peer.listed for peer in node.peers):
        yield Level.DEGRADED, "this node has no peers: nobody would take over"
    for peer in node.peers:
        yield from _of_a_peer(peer, label)
        if peer.alive and peer.holds and node.role is Role.MASTER and node.holds:
            yield Level.DEGRADED, f"{label(peer.instance_id)} holds it too"


def _of_the_role(node: Snapshot, label: Callable[[str], str]) -> Iterator[Finding]:
    if node.leaving:
        yield Level.DEGRADED, "this node is leaving"
    elif node.yielded:
        yield Level.DEGRADED, "this node lost it to one that it does not hear, and stands back"
    elif node.role is Role.LISTENING:
        yield Level.DEGRADED, "this node listens before it takes part"
    elif node.role is Role.MASTER and not node.holds:
        yield Level.CRITICAL, "this node is the master and does not hold it"
    elif node.role is Role.MASTER and node.in_doubt:
        yield Level.DEGRADED, "this node held it when it last looked, and has to look again"
    elif node.role is Role.BACKUP and node.holds:
        yield Level.DEGRADED, f"this node still holds it, until {label(node.master or '')} does"


def _of_a_peer(peer: PeerView, label: Callable[[str], str]) -> Iterator[Finding]:
    who = label(peer.instance_id)
    if not peer.alive and peer.denied:
        yield Level.DEGRADED, f"{who} beats, but is refused ({peer.denied}): the journal tells what to do"
    if not peer.alive and peer.holds:
        yield Level.DEGRADED, f"{who} is not heard, and held it when that was last read"
    elif not peer.alive and peer.listed:
        yield Level.DEGRADED, f"{who} is not heard"
    elif peer.alive and peer.priority in _ADVERTISES:
        yield Level.DEGRADED, f"{who} {_ADVERTISES[peer.priority]}"
