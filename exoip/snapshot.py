"""A node at one moment, for the status line, the demo and the operator. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from exoip.peers import Role


@dataclass(frozen=True, slots=True)
class PeerView:
    """One peer in a snapshot. `holds` None: not known."""

    instance_id: str
    address: str
    alive: bool
    priority: int
    last_seen: float
    holds: bool | None
    listed: bool


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


def status(node: Snapshot, eip: str) -> str:
    """Return the node's state in a line, as `systemctl status` shows it."""
    alive = sum(peer.alive for peer in node.peers)
    words = [f"{node.role} of {eip}" if node.role is Role.MASTER else f"{node.role} for {eip}"]
    words.append(f"{alive} of {len(node.peers)} peers alive")
    if node.holds != (node.role is Role.MASTER):
        words.append("holding it" if node.holds else "not holding it")
    words += [word for word in ("leaving", "yielded", "unfit") if getattr(node, word)]
    if node.degraded:
        words.append(f"degraded: {node.degraded} fails")
    return ", ".join(words)
