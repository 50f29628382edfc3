"""When this node beats: once an advertisement interval, at once when its advertised priority changes, and a leaver thrice. Pure.

The schedule is also how a stall is noticed: a node that comes back to it late by half a dead time or more was not running.
"""

from __future__ import annotations

from dataclasses import dataclass

from exoip.core.peers import LEAVING, ElectionConfig
from exoip.heartbeat.wire import Heartbeat

FAREWELLS, FAREWELL_SPACING = 3, 0.02  # heartbeats with 255, and the seconds between them


@dataclass(frozen=True, slots=True)
class Advert:
    """What the sender is to do: send `heartbeat` to the members at `targets`, if it is not None; ask again at `again`."""

    heartbeat: Heartbeat | None
    targets: tuple[tuple[str, int], ...]
    again: float


class AdvertTimer:
    """`next_at`: when the next heartbeat is due, if the priority stays as it is."""

    def __init__(self, now: float) -> None:
        self.next_at = now
        self._sent: int | None = None  # the advertised priority that went out last
        self._farewells = FAREWELLS

    @property
    def farewells_sent(self) -> bool:
        """Whether a leaver has said so often enough."""
        return self._farewells == 0

    def slept(self, config: ElectionConfig, now: float) -> float:
        """Return by how many seconds the schedule was missed, 0 when that is no stall."""
        late = now - self.next_at
        return late if late >= config.dead_time / 2 else 0.0

    def restart(self, now: float) -> None:
        """After a stall the next heartbeat is due at once."""
        self.next_at = now

    def sooner(self, interval: float, now: float) -> None:
        """The interval may have become shorter."""
        self.next_at = min(self.next_at, now + interval)

    def due(self, advertised: int, interval: float, now: float) -> bool:
        """Return whether to send a heartbeat now, and count it as sent."""
        past_due = now >= self.next_at
        if not past_due and advertised == self._sent:
            return False
        if past_due:
            following = self.next_at + interval
            self.next_at = following if now < following else now + interval
        self._sent = advertised
        if advertised == LEAVING and self._farewells:
            self._farewells -= 1
            self.next_at = now + (FAREWELL_SPACING if self._farewells else interval)
        return True
