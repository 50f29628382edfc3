"""The words of the election: roles, terms, the state of the node itself, and a peer as it is heard. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from exoip.core.events import Cause, EventName

PROTECTED, HOLDING_UNFIT, UNFIT, LEAVING = 0, 253, 254, 255
_MEANINGS = {
    PROTECTED: "at priority 0 (protected)",
    HOLDING_UNFIT: "stepping aside while holding",
    UNFIT: "stepping aside",
    LEAVING: "stopping",
}


def priority_meaning(priority: int) -> str:
    """Say in words for people what a node that advertises this priority is."""
    return _MEANINGS.get(priority, f"at priority {priority}")


class Role(StrEnum):
    """What a node is to its peers."""

    LISTENING = "LISTENING"
    BACKUP = "BACKUP"
    MASTER = "MASTER"


@dataclass(frozen=True, slots=True)
class ElectionConfig:
    """What the election goes by: own id, configured priority (1..252), interval in s, dead ratio, preemption delay in s (inf: never).

    `flap_damping`: whether a node whose role changed often lately keeps a longer preemption delay, see `damping`.
    """

    instance_id: str
    priority: int = 10
    interval: float = 1.0
    dead_ratio: float = 3.0
    preempt_delay: float = 0.0
    flap_damping: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.priority <= 252:
            raise ValueError(f"a configured priority is 1..252, not {self.priority}")
        if not (0 < self.interval < math.inf and 1 <= self.dead_ratio < math.inf and self.preempt_delay >= 0):
            raise ValueError(f"interval {self.interval}, dead ratio {self.dead_ratio}, delay {self.preempt_delay}")

    @property
    def dead_time(self) -> float:
        """Seconds of silence after which a peer is dead."""
        return self.interval * self.dead_ratio


@dataclass(frozen=True, slots=True)
class LocalState:
    """The state of the node itself, as ownership sees it: what its advertised priority follows from."""

    holds: bool = False  # holds the EIP, in doubt at most because a peer was just heard
    last_held: bool = False  # last known to hold it; now perhaps in doubt
    unfit: bool = False
    letting_go: bool = False
    yielded: bool = False
    leaving: bool = False

    def trigger(self, before: LocalState) -> EventName | Cause:
        """Name the event that made this state of the state `before`; "holds" stands for "attached" too."""
        if self.leaving != before.leaving:
            return EventName.LEAVING
        if self.yielded != before.yielded:
            return EventName.YIELDED if self.yielded else EventName.STAND_BACK_OVER
        if self.unfit != before.unfit:
            return EventName.UNFIT if self.unfit else EventName.FIT
        if self.letting_go != before.letting_go:
            return EventName.LETTING_GO if self.letting_go else EventName.FAILED if self.last_held else EventName.LET_GO
        if self.last_held != before.last_held:
            return EventName.HOLDS if self.last_held else EventName.LOST
        return Cause.DOUBT


@dataclass(slots=True)
class Peer:
    """A member as it is heard. `priority` is what it last advertised, `effective_priority` what the election goes by."""

    instance_id: str
    alive: bool = False
    last_seen: float = -math.inf
    priority: int = UNFIT
    last_unfit_advert: float = -math.inf  # it last advertised 254 or 255 then: perhaps it was letting go
    rise_effective_at: float | None = None  # a rise from 0 counts from then on
    better_since: float | None = None  # fit and better than our configured rank since then

    @property
    def effective_priority(self) -> int:
        """The priority that the election goes by."""
        return self.priority if self.rise_effective_at is None else PROTECTED

    @property
    def rank(self) -> tuple[int, str]:
        return (self.effective_priority, self.instance_id)
