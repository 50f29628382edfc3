"""The times of the demo, and by when the Elastic IP must be where it belongs after each kind of
event. Pure.

The bounds are those of the protocol, seen from the zone. An attach or detach takes effect

    A = L/2 + O         after it was sent; L is one call, O one operation, and is seen done within
    S = POLL + 2 L      after that

With h the advertisement interval, D = h x dead ratio, and d for the network, scheduling and a busy
machine, the Elastic IP is only on the new holder, at the latest

    a holder is dead, frozen or cut off    D + d + A + S + A
        declared dead; attach; seen done; detach of the old one
    a holder is stopped                    d + A + leave
        another attaches; the leaver detaches itself
    a better node is there                 D + d + 3 L + A + release
        it listens; reads itself; attaches; the holder detaches itself
    the cut is healed                      h + d + 3 L + A + release
        it is heard; then as above

    leave   = LEAVE_READ_INTERVAL + L + h + A      a read, a heartbeat after it, the own detach
    release = RELEASE_READ_INTERVAL + L + h + A

A holder releases only to a node that has not advertised 254 or 255 for CALL_SETTLES seconds, so
the last three take that much longer if the new holder released, or left, just before. If the API
was away for X seconds since it rejected the first attach, the wait before the next attempt has
doubled from FIRST_RETRY, so it is at most (X + FIRST_RETRY) x (1 + JITTER); then A + S + A.
"""

from __future__ import annotations

from dataclasses import dataclass

from exoip.core.backoff import FIRST_RETRY, JITTER
from exoip.core.mutations import CALL_SETTLES, POLL
from exoip.core.reads import LEAVE_READ_INTERVAL, RELEASE_READ_INTERVAL


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds: the advertisement interval (h), a call (L), an operation (O), and an allowance for
    all else (d).
    """

    interval: float = 0.5
    ratio: float = 3.0
    call: float = 0.05
    operation: float = 0.2
    allowance: float = 1.0

    @property
    def dead_time(self) -> float:
        """D: a peer is dead after so long without a heartbeat."""
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
        """Return the bound after a holder died, froze or was cut off."""
        return self.dead_time + self.allowance + self.takes_effect + self.seen_done + self.takes_effect

    def stopped(self, settling: float = 0.0) -> float:
        """Return the bound after a holder was told to stop; see `settling`."""
        return self.allowance + self.takes_effect + settling + self._release(LEAVE_READ_INTERVAL)

    def returned(self, settling: float = 0.0) -> float:
        """Return the bound after a better node has started, or runs again."""
        return self.healed(settling) - self.interval + self.dead_time

    def healed(self, settling: float = 0.0) -> float:
        """Return the bound after a better node is heard again."""
        attached = self.interval + self.allowance + 3 * self.call + self.takes_effect
        return attached + settling + self._release(RELEASE_READ_INTERVAL)

    def api_back(self, rejected_for: float) -> float:
        """Return the bound after the API's return, if it rejected the first attach `rejected_for`
        seconds before.
        """
        wait = (rejected_for + FIRST_RETRY) * (1 + JITTER)
        return wait + self.allowance + self.takes_effect + self.seen_done + self.takes_effect

    def settling(self, last_unfit_advert: float | None, now: float) -> float:
        """Return for how long no holder releases to a node that last advertised 254 or 255 then
        (None: never).
        """
        return 0.0 if last_unfit_advert is None else max(0.0, last_unfit_advert + CALL_SETTLES - now)

    def _release(self, read_interval: float) -> float:
        return read_interval + self.call + self.interval + self.takes_effect
