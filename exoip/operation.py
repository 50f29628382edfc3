"""An operation of the API that is under way: when it is looked at, and when it has timed out. Pure; times in seconds."""

from __future__ import annotations

from dataclasses import dataclass

from exoip.calls import Call

OPERATION_TIMEOUT = 10.0  # after its call an operation that is not seen done has timed out
POLL, POLL_STEADY, LONGEST_POLL = (
    0.25,
    5.0,
    3.0,
)  # the pause between two looks, for so long after the call; then ever longer


@dataclass(slots=True)
class Operation:
    """What `call`, which began at `called`, has set going."""

    call: Call
    called: float
    operation_id: str
    poll_at: float
    wait: float = POLL

    @property
    def deadline(self) -> float:
        """When it has timed out."""
        return self.called + OPERATION_TIMEOUT

    def looked(self, now: float, retry_after: float) -> None:
        """It is still pending, or could not be looked at."""
        self.wait = POLL if now - self.called < POLL_STEADY else min(1.5 * self.wait, LONGEST_POLL)
        self.poll_at = now + max(self.wait, min(retry_after, LONGEST_POLL))
