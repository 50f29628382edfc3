"""What the node is to the outside: its role, and whether it holds the address. From the events, for the operator's program. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from exoip.core.events import Event, EventName
from exoip.core.peers import Role

_HOLDS = {EventName.ATTACHED: True, EventName.HOLDS: True, EventName.LET_GO: False, EventName.LOST: False}


@dataclass(frozen=True, slots=True)
class Stance:
    """Role and holding from `at` on, and why."""

    role: str = Role.LISTENING
    holds: bool = False
    at: float = 0.0
    reason: str = "started"

    def after(self, event: Event) -> Stance | None:
        """Return what it is after an event of this node, for that event's reason; None when that is no other."""
        role = str(event.details["role"]) if event.name is EventName.ROLE else self.role
        holds = _HOLDS.get(event.name, self.holds)
        if (role, holds) == (self.role, self.holds):
            return None
        return replace(self, role=role, holds=holds, at=event.at, reason=event.reason)

    @property
    def words(self) -> str:
        """For the journal."""
        return f"{self.role}, {'holding' if self.holds else 'not holding'}"
