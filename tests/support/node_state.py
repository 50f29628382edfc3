"""A node as its journal entries show it. Reads the fields of entries, never their sentences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Entry = Mapping[str, str]


@dataclass(slots=True)
class NodeState:
    """A node's role, whether it knows that it holds, the ids of peers it hears, whether it stands
    back.
    """

    role: str = "LISTENING"
    holds: bool = False
    alive: set[str] = field(default_factory=set)
    yielded: bool = False

    def update(self, entry: Entry) -> None:
        """Update the state from the node's next entry."""
        peer = entry.get("EXOIP_PEER_INSTANCE", "")
        match entry.get("EXOIP_EVENT"):
            case "role":
                self.role = entry["EXOIP_ROLE"]
            case "peer-alive":
                self.alive.add(peer)
            case "peer-dead" | "peer-removed":
                self.alive.discard(peer)
            case "attached" | "holds":
                self.holds = True
            case "let-go" | "lost":
                self.holds = False
            case "yielded":
                self.yielded = True
            case "stand-back-over":
                self.yielded = False

    def agrees(self, *, master: bool, peers: int) -> bool:
        """Return whether the node is master, or else backup, and hears exactly so many peers."""
        return self.role == ("MASTER" if master else "BACKUP") and len(self.alive) == peers
