"""A node at one moment, for the status line, the demo and the operator. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from exoip.knowledge import Instance
from exoip.peers import Peer, Role


@dataclass(frozen=True, slots=True)
class PeerView:
    """One peer in a snapshot. `holds` None: not known. `denied`: why its last heartbeat was refused, if it was."""

    instance_id: str
    address: str
    alive: bool
    priority: int
    last_seen: float
    holds: bool | None
    listed: bool
    denied: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The node at one moment, for the status line, the demo and the operator."""

    at: float
    role: Role
    reason: str
    since: float
    master: str | None
    advertised: int
    holds: bool
    in_doubt: bool
    unfit: bool
    yielded: bool
    leaving: bool
    degraded: str
    peers: tuple[PeerView, ...]
    refused: Mapping[str, int]


def peer_views(
    members: Mapping[str, tuple[str, int]],
    peers: Mapping[str, Peer],
    others: Mapping[str, Instance],
    denied: Mapping[str, str],
) -> tuple[PeerView, ...]:
    """Put together what the configuration, the election and the API know of each other node, in the order of the ids."""
    views = []
    for instance_id, other in sorted(others.items()):
        address = members.get(instance_id, ("", 0))[0]
        peer = peers.get(instance_id) or Peer(instance_id)
        why = denied.get(instance_id, "")
        heard = (peer.alive, peer.priority, peer.last_seen)
        views.append(PeerView(instance_id, address, *heard, other.holds, other.listed, why))
    return tuple(views)


def status(node: Snapshot, eip: str) -> str:
    """Return the node's state in a line, as `systemctl status` shows it."""
    alive = sum(peer.alive for peer in node.peers)
    words = [f"{node.role} of {eip}" if node.role is Role.MASTER else f"{node.role} for {eip}"]
    words.append(f"{alive} of {len(node.peers)} peers alive")
    if node.holds != (node.role is Role.MASTER):
        words.append("holding it" if node.holds else "not holding it")
    words += [word for word in ("leaving", "yielded", "unfit") if getattr(node, word)]
    words += [f"refusing {peer.address} ({peer.denied})" for peer in node.peers if peer.denied and not peer.alive]
    if node.degraded:
        words.append(f"degraded: {node.degraded} fails")
    return ", ".join(words)
