"""What the journal entries of a node's events mean to the demo.

Pure: it reads fields, never sentences.
"""

from __future__ import annotations

from tests.support.node_state import Entry

# Events for the timeline: what the node decided, not all it did and saw. A role counts if it
# changed.
TIMELINE = frozenset(
    ("role", "peer-dead", "stalled", "unfit", "fit", "yielded", "stand-back-over", "leaving", "let-go")
)


def happened_at(entry: Entry) -> float:
    """Return when the event happened, in Unix seconds."""
    return float(entry["EXOIP_TIME"])


def changes_role(entry: Entry) -> bool:
    """Return whether the node takes another role; a backup may also merely see another master."""
    return entry["EXOIP_EVENT"] == "role" and entry["EXOIP_ROLE"] != entry["EXOIP_OLD_ROLE"]


def makes_master(entry: Entry) -> bool:
    """Return whether the node makes itself master."""
    return changes_role(entry) and entry["EXOIP_ROLE"] == "MASTER"


def in_timeline(entry: Entry) -> bool:
    """Return whether the entry belongs in the demo's timeline."""
    return entry["EXOIP_EVENT"] in TIMELINE and (entry["EXOIP_EVENT"] != "role" or changes_role(entry))


def silence(entry: Entry, peer: str) -> float | None:
    """Return for how many seconds instance `peer` was silent when declared dead; None for other
    entries.
    """
    if (entry["EXOIP_EVENT"], entry.get("EXOIP_PEER_INSTANCE")) != ("peer-dead", peer):
        return None
    return int(entry["EXOIP_SILENT_MS"]) / 1000
