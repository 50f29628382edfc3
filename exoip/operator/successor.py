"""Who would take the Elastic IP if this node stepped aside, why none could, and what comes after. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable

from exoip.core.peers import HOLDING_UNFIT, LEAVING, UNFIT, Role
from exoip.core.snapshot import PeerView, Snapshot

Label = Callable[[str], str]

_UNABLE = {
    HOLDING_UNFIT: "holds it, but is unfit",
    UNFIT: "is unfit, drained, or letting go right now",
    LEAVING: "is leaving",
}


def taker(node: Snapshot) -> PeerView | None:
    """Return the peer that the others would have take it: alive, fit, and the best of those."""
    able = [peer for peer in node.peers if peer.alive and peer.listed and peer.priority < HOLDING_UNFIT]
    return min(able, key=lambda peer: (peer.priority, peer.instance_id), default=None)


def obstacle(node: Snapshot, eip: str, label: Label) -> str:
    """Return why this node can not hand the Elastic IP over, "" when it can."""
    if node.leaving:
        return "this node is leaving already"
    if not node.holds:
        elsewhere = node.master is not None and node.role is not Role.MASTER
        master = f", the master is {label(node.master)}" if elsewhere and node.master else ""
        return f"this node does not hold {eip}{master}"
    if node.role is not Role.MASTER:
        return f"this node is {node.role} and lets go of {eip} as soon as its master holds"
    if taker(node) is None:
        return "nobody could take it: " + ("; ".join(_unable(peer, label) for peer in node.peers) or "there is no peer")
    return ""


def _unable(peer: PeerView, label: Label) -> str:
    if not peer.listed:
        return f"{label(peer.instance_id)} is no longer a member"
    if not peer.alive:
        return f"{label(peer.instance_id)} is not heard"
    return f"{label(peer.instance_id)} {_UNABLE.get(peer.priority, 'is fit')}"


def afterwards(node: Snapshot, own_id: str, seconds: float, label: Label) -> str:
    """Return what happens when this node has stood aside for so long, as things stand and if all are configured alike."""
    other = taker(node)
    if other is None:
        return "it moves as soon as somebody can take it"
    if (other.priority, other.instance_id) < (node.priority, own_id):
        return f"then it stays with {label(other.instance_id)}, which is the better node"
    if node.preempt_delay == math.inf:
        return f"then it stays with {label(other.instance_id)}, as --no-preempt says"
    after = (
        f"{seconds:g} s"
        if not node.preempt_delay
        else f"{seconds:g} s and the preemption delay of {node.preempt_delay:g} s"
    )
    return f"this node is the better one ({node.priority} against {other.priority}) and takes it back after {after}"
