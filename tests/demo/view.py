"""A node as its journal entries show it. Pure: it reads the fields of entries, never their sentences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Entry = Mapping[str, str]

# Events for the timeline: what the node decided, not all it did and saw. A role counts if it changed.
TIMELINE = frozenset(
    ("role", "peer-dead", "stalled", "unfit", "fit", "yielded", "stand-back-over", "leaving", "let-go")
)


@dataclass(slots=True)
class View:
    """The state of a node: its role, the instance ids of the peers it hears, whether it stands back."""

    role: str = ""
    alive: set[str] = field(default_factory=set)
    yielded: bool = False

    def take(self, entry: Entry) -> None:
        """Update the state from the node's next entry."""
        peer = entry.get("EXOIP_PEER_INSTANCE", "")
        match entry["EXOIP_EVENT"]:
            case "role":
                self.role = entry["EXOIP_ROLE"]
            case "peer-alive":
                self.alive.add(peer)
            case "peer-dead" | "peer-removed":
                self.alive.discard(peer)
            case "yielded":
                self.yielded = True
            case "stand-back-over":
                self.yielded = False

    def agrees(self, *, master: bool, peers: int) -> bool:
        """Return whether the node is master, or else backup, and hears exactly so many peers."""
        return self.role == ("MASTER" if master else "BACKUP") and len(self.alive) == peers


def happened_at(entry: Entry) -> float:
    """Return when the event happened, in Unix seconds."""
    return float(entry["EXOIP_TIME"])


def changes_role(entry: Entry) -> bool:
    """Return whether the node takes another role; a backup may also merely see another master."""
    return entry["EXOIP_EVENT"] == "role" and entry["EXOIP_ROLE"] != entry["EXOIP_OLD_ROLE"]


def makes_master(entry: Entry) -> bool:
    """Return whether the node makes itself master."""
    return changes_role(entry) and entry["EXOIP_ROLE"] == "MASTER"


def worth_telling(entry: Entry) -> bool:
    """Return whether the entry belongs in the demo's timeline."""
    return entry["EXOIP_EVENT"] in TIMELINE and (entry["EXOIP_EVENT"] != "role" or changes_role(entry))


def silence(entry: Entry, peer: str) -> float | None:
    """Return for how many seconds instance `peer` was silent when declared dead; None for other entries."""
    if (entry["EXOIP_EVENT"], entry.get("EXOIP_PEER_INSTANCE")) != ("peer-dead", peer):
        return None
    return int(entry["EXOIP_SILENT_MS"]) / 1000
