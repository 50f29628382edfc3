"""Define the data of the election: roles, configuration, own state, and peers as they are heard."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from exoip.core.events import Cause, EventName

# Advertised priorities with a meaning of their own; see `election`.
PROTECTED = 0  # known to hold, within the preemption delay
HOLDING_UNFIT = 253  # unfit, and last known to hold
UNFIT = 254  # unfit, or releasing the EIP
LEAVING = 255  # stopping
SPACING = 0.9  # intervals between two heartbeats; below 1, so that the last one in a dead time is in time
_MEANINGS = {
    PROTECTED: "at priority 0 (protected)",
    HOLDING_UNFIT: "stepping aside while holding",
    UNFIT: "stepping aside",
    LEAVING: "stopping",
}


def describe(priority: int) -> str:
    """Describe a node that advertises this priority, in words for people."""
    return _MEANINGS.get(priority, f"at priority {priority}")


class Role(StrEnum):
    """The role of a node."""

    LISTENING = "LISTENING"
    BACKUP = "BACKUP"
    MASTER = "MASTER"


@dataclass(frozen=True, slots=True)
class ElectionConfig:
    """The configuration of the election.

    `priority`: 1..252. `interval`: seconds between heartbeats. `dead_ratio`: intervals in a dead
    time. `preempt_delay`: seconds; inf means never preempt. `flap_damping`: see that module.
    """

    instance_id: str
    priority: int = 10
    interval: float = 1.0
    dead_ratio: float = 3.0
    preempt_delay: float = 0.0
    flap_damping: bool = True

    @property
    def dead_time(self) -> float:
        """The seconds of silence after which a peer is dead."""
        return self.interval * self.dead_ratio

    @property
    def spacing(self) -> float:
        """The seconds between two heartbeats, if the priority does not change."""
        return SPACING * self.interval


@dataclass(frozen=True, slots=True)
class LocalState:
    """This node's own state as ownership sees it; the advertised priority follows from it."""

    holds: bool = False  # holds the EIP; in doubt at most because a peer was just heard
    last_held: bool = False  # last known to hold it, perhaps in doubt now
    unfit: bool = False
    releasing: bool = False
    yielded: bool = False
    leaving: bool = False
    relieved: str = ""  # a better peer that does not hold, nor does anybody else: it counts as leaving
    waits_to_be_known: bool = False  # starts, and may not be known to a member that may hold
    may_be_able: bool = True  # unfit at most because a job of its own failed

    def trigger(self, before: LocalState) -> EventName | Cause:
        """Name the event that led here from the state `before`; HOLDS also stands for ATTACHED."""
        released = EventName.FAILED if self.last_held else EventName.LET_GO
        changes: tuple[tuple[bool, EventName | Cause], ...] = (
            (self.leaving != before.leaving, EventName.LEAVING),
            (self.yielded != before.yielded, EventName.YIELDED if self.yielded else EventName.STAND_BACK_OVER),
            (self.unfit != before.unfit, EventName.UNFIT if self.unfit else EventName.FIT),
            (self.relieved != before.relieved, Cause.NOBODY_HOLDS),
            (self.releasing != before.releasing, EventName.LETTING_GO if self.releasing else released),
            (self.last_held != before.last_held, EventName.HOLDS if self.last_held else EventName.LOST),
        )
        return next((name for changed, name in changes if changed), Cause.DOUBT)


@dataclass(slots=True)
class Peer:
    """A member as it is heard. `priority` is what it last advertised."""

    instance_id: str
    alive: bool = False
    alive_since: float = -math.inf  # when it was last heard first or again
    last_seen: float = -math.inf
    alive_until: float = -math.inf  # when it dies unless it is heard
    priority: int = UNFIT
    last_unfit_advert: float = -math.inf  # when it last advertised 254 or 255; the daemon's start, if not since
    rise_effective_at: float = -math.inf  # when a rise from 0 takes effect
    better_since: float = math.inf  # since when it is fit and better than our configured rank

    def effective_priority(self, now: float) -> int:
        """Return the priority that the election uses."""
        return self.priority if now >= self.rise_effective_at else PROTECTED

    def released_since(self, when: float) -> bool:
        """Whether it advertised 254 or was heard again since then: it may have released the EIP."""
        return when <= max(self.last_unfit_advert, self.alive_since) and self.priority < LEAVING
