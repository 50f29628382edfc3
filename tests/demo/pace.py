"""The times that the demo goes by, and by when the Elastic IP (EIP) must be where it belongs after each kind of event. Pure.

The bounds are those of the design, from the side of the zone: an attach or detach takes effect

    A = L/2 + O         after it was sent; L is one call, O one operation, and is seen done within
    S = POLL + 2 L      after that

With h the advertisement interval, D = h x dead ratio, and d for the network, wake-ups and a busy machine, the EIP is on the new
holder alone, at the latest

    a holder is dead, frozen or cut off    D + d + A + S + A            declared dead; attach; seen done; the old one cleared
    a holder is stopped                    d + A + leave                another attaches; the leaver lets go
    a better node is there                 D + d + 3 L + A + keep       it listens; reads itself; attaches; the holder lets go
    the cut is healed                      h + d + 3 L + A + keep       it is heard; …

    leave = LEAVE_LOOK + L + h + A          a look, a heartbeat after it, the own detach
    keep  = KEEP_LOOK + L + h + A

A holder lets go only to one that has not advertised 254 or 255 for SETTLES seconds, so the last three are that much later when the
new holder let go itself, or left, just before. When the API was away for X seconds since it refused the first attach, the wait
until the next try has doubled from FIRST_RETRY, so it is no longer than (X + FIRST_RETRY) x (1 + JITTER); then A + S + A.
"""

from __future__ import annotations

from dataclasses import dataclass

POLL = 0.25
LEAVE_LOOK, KEEP_LOOK = 0.25, 1.0
SETTLES = 6.0
FIRST_RETRY, JITTER = 0.5, 0.2


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds: the advertisement interval (h), what a call (L) and an operation (O) take, and what is allowed for all else (d)."""

    interval: float = 0.5
    ratio: float = 3.0
    call: float = 0.05
    operation: float = 0.2
    allowance: float = 1.0

    def __post_init__(self) -> None:
        if min(self.interval, self.ratio, self.call, self.operation, self.allowance) <= 0:
            raise ValueError(f"every time and the ratio must be more than 0: {self}")

    @property
    def dead_time(self) -> float:
        """D: after so long without a heartbeat a peer is dead."""
        return self.interval * self.ratio

    @property
    def takes_effect(self) -> float:
        """A: from sending a mutation until it takes effect."""
        return self.call / 2 + self.operation

    @property
    def seen_done(self) -> float:
        """S: from then until the node that sent it knows."""
        return POLL + 2 * self.call

    def lost(self) -> float:
        """The bound after a holder died, froze or was cut off."""
        return self.dead_time + self.allowance + self.takes_effect + self.seen_done + self.takes_effect

    def stopped(self, settling: float = 0.0) -> float:
        """The bound after a holder was asked to stop; `settling` as `settling` gives it."""
        return self.allowance + self.takes_effect + settling + self._let_go(LEAVE_LOOK)

    def returned(self, settling: float = 0.0) -> float:
        """The bound after a better node has started, or runs again."""
        return self.dead_time + self.allowance + 3 * self.call + self.takes_effect + settling + self._let_go(KEEP_LOOK)

    def healed(self, settling: float = 0.0) -> float:
        """The bound after a better node is heard again."""
        return self.interval + self.allowance + 3 * self.call + self.takes_effect + settling + self._let_go(KEEP_LOOK)

    def api_back(self, refused_for: float) -> float:
        """The bound after the API's return, when it refused the first attach `refused_for` seconds before."""
        wait = (refused_for + FIRST_RETRY) * (1 + JITTER)
        return wait + self.allowance + self.takes_effect + self.seen_done + self.takes_effect

    def settling(self, off_at: float | None, now: float) -> float:
        """How long no holder lets go to a node that last advertised 254 or 255 at `off_at` (None: never)."""
        return 0.0 if off_at is None else max(0.0, off_at + SETTLES - now)

    def _let_go(self, look: float) -> float:
        return look + self.call + self.interval + self.takes_effect
