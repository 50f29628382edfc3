"""Predict who takes over if this node steps aside, or why no node can, and what happens afterwards;
and what a priority does not move.

Pure. Shown by tests/unit/operator/test_successor.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from exoip.core.peers import HOLDING_UNFIT, LEAVING, PROTECTED, UNFIT, Role
from exoip.core.snapshot import PeerView, Snapshot

DisplayName = Callable[[str], str]

_UNABLE = {
    HOLDING_UNFIT: "holds it, but is unfit",
    UNFIT: "is unfit, drained, or releasing it right now",
    LEAVING: "is leaving",
}


def successor(node: Snapshot) -> PeerView | None:
    """Return the peer that would take over: the best of those that are alive and fit.

    None if that one did not come to hold, so that this node took its place: it would not now.
    """
    able = [peer for peer in node.peers if peer.alive and peer.listed and peer.priority < HOLDING_UNFIT]
    best = min(able, key=lambda peer: (peer.priority, peer.instance_id), default=None)
    return None if best is None or best.instance_id == node.relieved else best


def is_bystander(node: Snapshot) -> bool:
    """Return whether another node is the master and this one has nothing to hand over."""
    may_hold = node.holds or node.in_doubt or node.attaching
    return bool(node.master) and node.role is not Role.MASTER and not may_hold


def obstacle(node: Snapshot, eip: str, display_name: DisplayName) -> str:
    """Return why this node cannot hand the Elastic IP over, "" if it can."""
    if node.leaving:
        return "this node is already leaving"
    if not node.holds:
        master = f"; the master is {display_name(node.master)}" if node.master and node.role is not Role.MASTER else ""
        known = "has to read whether it holds" if node.in_doubt else "does not hold"
        return f"this node {known} {eip}{master}"
    if node.role is Role.LISTENING:
        return "this node listens for a moment before it acts; try again"
    if node.role is not Role.MASTER:
        return f"this node is {node.role} and releases {eip} as soon as its master holds it"
    if successor(node) is None:
        return "no node can take over: " + (
            "; ".join(_unable(node, peer, display_name) for peer in node.peers) or "no peer exists"
        )
    return ""


def _unable(node: Snapshot, peer: PeerView, display_name: DisplayName) -> str:
    if not peer.listed:
        why = "is no longer a member"
    elif not peer.alive:
        why = "is not heard"
    elif peer.instance_id == node.relieved:
        why = "is the best, but does not hold it when it is the master"
    else:
        why = _UNABLE.get(peer.priority, "is fit")
    return f"{display_name(peer.instance_id)} {why}"


def afterwards(node: Snapshot, own_id: str, seconds: float, display_name: DisplayName) -> str:
    """Return what happens once this node has stood aside for `seconds`, if all nodes are alike."""
    if is_bystander(node):
        return "this moves nothing; meanwhile this node takes over only if no other node can"
    other = successor(node)
    if other is None:
        return "it moves as soon as another node can take over"
    name = display_name(other.instance_id)
    if other.priority == PROTECTED:
        return f"then the better of this node and {name} holds it, as the preemption delay allows"
    stays = f"then it stays with {name}"
    if (other.priority, other.instance_id) < (node.priority, own_id):
        return f"{stays}, which is the better node"
    if node.preempt_delay == math.inf:
        return f"{stays}, because of --no-preempt"
    delay = f" and the preemption delay of {node.preempt_delay:g} s" if node.preempt_delay else ""
    better = f"this node is the better one ({node.priority} against {other.priority})"
    return f"{better} and takes it back after {seconds:g} s{delay}, or later if flap damping delays it"


def protection(node: Snapshot, eip: str, display_name: DisplayName) -> str:
    """Return who keeps the Elastic IP whatever the priorities are, and how long, or ""."""
    if node.advertised == PROTECTED:
        endless, limit = node.preempt_delay == math.inf, f" for the preemption delay of {node.preempt_delay:g} s"
        why = ", because of --no-preempt" if endless else limit
        return f"this node keeps {eip} from a better one{why}; `exoipctl failover` moves it at once"
    holder = next((peer for peer in node.peers if peer.alive and peer.priority == PROTECTED), None)
    if holder is None:
        return ""
    kept = f"{display_name(holder.instance_id)} keeps {eip} from a better node for its preemption delay"
    return f"{kept}, or for good if it has --no-preempt; `exoipctl failover` there moves it at once"
