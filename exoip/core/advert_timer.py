"""Time the heartbeats: one every 0.9 intervals, one when the priority changes, three when leaving.

So n heartbeats are due well before the end of a dead time of n intervals: a live peer seems dead
only if n in a row are lost, even if the network delays some. Shown by 21a, 71.
"""

from __future__ import annotations

from dataclasses import dataclass

from exoip.core.peers import LEAVING
from exoip.heartbeat.socket_address import SocketAddress
from exoip.heartbeat.wire import Heartbeat

FAREWELLS = 3  # heartbeats with 255 that a leaver sends
FAREWELL_SPACING = 0.02  # seconds between them


@dataclass(frozen=True, slots=True)
class Advert:
    """A heartbeat to send, and the addresses and ports to send it to."""

    heartbeat: Heartbeat
    targets: tuple[SocketAddress, ...]


class AdvertTimer:
    """When to send.

    `next_at`: when the next heartbeat is due if the priority does not change, in seconds.
    `farewells`: heartbeats that a leaver has yet to send.
    """

    def __init__(self, now: float) -> None:
        self.next_at, self.farewells = now, FAREWELLS
        self._sent: int | None = None  # the advertised priority that went out last

    def due(self, advertised: int, spacing: float, now: float) -> bool:
        """Return whether to send a heartbeat now; if so, count it as sent."""
        if now < self.next_at and advertised == self._sent:
            return False
        if now >= self.next_at:
            self.next_at = (self.next_at if now < self.next_at + spacing else now) + spacing
        self._sent = advertised
        if advertised == LEAVING and self.farewells:
            self.farewells -= 1
            self.next_at = now + (FAREWELL_SPACING if self.farewells else spacing)
        return True
