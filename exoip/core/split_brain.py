"""What a master does that has lost the Elastic IP to a node that it can not hear. Pure; `now` in seconds.

A master that held and reads itself detached asks who holds. A silent, running instance: it is alive, cut off from here, and has
taken the EIP. Stand back (BACKUP, reason yielded) for 60 s, doubled by each own yield and each own take beside a silent holder,
to 1 h; it ends when that holder is heard (back to 60 s), or when no silent running instance holds (a look every 5 s).
Nobody holds, or only the master whose death made this node master while it still held: take at once.
So a split costs few moves, and strands the EIP no longer than the present stand-back.
"""

from __future__ import annotations

import math

from exoip.core.election import Election, Role
from exoip.core.events import Cause, Event, EventName
from exoip.core.mutations import Mutations
from exoip.core.observed import Observed
from exoip.core.reads import Reads

FIRST_STAND_BACK, LONGEST_STAND_BACK = 60.0, 3600.0
HOLDER_CHECK_INTERVAL = 5.0


class StandBack:
    """The stand-back of one node. `length`: how long the next one lasts, in seconds; `rivals`: silent holders so far."""

    def __init__(self, election: Election, observed: Observed, mutations: Mutations, reads: Reads) -> None:
        self._election, self._observed, self._mutations, self._reads = election, observed, mutations, reads
        self.length = FIRST_STAND_BACK
        self.rivals: set[str] = set()
        self._until = -math.inf
        self._look_at = math.inf
        self._took_beside = False  # since this node became master
        self.active = False

    @property
    def until(self) -> float:
        """When the stand-back that is under way ends by itself; -inf when there is none."""
        return self._until if self.active else -math.inf

    def became_master(self) -> None:
        """A new take may double the stand-back again."""
        self._took_beside = False

    def lost(self) -> None:
        """The EIP is gone from this master: ask who holds before anything else."""
        self._mutations.attach_paused = True
        self._reads.ask(self._asked)

    def taking(self) -> None:
        """An attach goes out: note whom it goes beside."""
        holders = self._observed.holders()
        beside = {x.instance_id for x in holders if x.running and not self._election.alive(x.instance_id)}
        if beside and not self._took_beside:
            self._took_beside = True
            self._double()
        self.rivals |= beside

    def heard(self, instance_id: str, now: float) -> list[Event]:
        """A peer is heard, first or again. A rival: the split is over."""
        if instance_id not in self.rivals:
            return []
        self.rivals.clear()
        self.length = FIRST_STAND_BACK
        return self._end(now, f"{instance_id} is heard again", EventName.PEER_ALIVE, instance_id) if self.active else []

    def leave(self) -> None:
        """Stand back no more: this node is leaving altogether."""
        self.active = False
        self._reads.drop_question()

    def tick(self, now: float) -> list[Event]:
        """Look who holds, or end, when due."""
        if not self.active:
            return []
        if now >= self._until:
            return self._end(now, "the time is over", Cause.TIME)
        if now >= self._look_at:
            self._look_at = now + HOLDER_CHECK_INTERVAL
            self._reads.ask(self._looked)
        return []

    def next_deadline(self) -> float:
        """When `tick` is wanted."""
        return min(self._until, self._look_at) if self.active else math.inf

    def _double(self) -> float:
        length, self.length = self.length, min(2 * self.length, LONGEST_STAND_BACK)
        return length

    def _asked(self, found: str | None, _certain: bool, now: float) -> list[Event]:
        """A master that lost the EIP knows who holds, or that it can not find out: then it takes too."""
        self._mutations.attach_paused = False
        if found is None or found in self._observed.successors_while_holding or self._election.role is not Role.MASTER:
            return []
        length = self._double()
        self.rivals.add(found)
        self.active, self._until, self._look_at = True, now + length, now + HOLDER_CHECK_INTERVAL
        why = f"it holds the Elastic IP and is not heard; standing back for {length:.0f} s"
        return [Event(EventName.YIELDED, now, found, why, {"for": length})]

    def _looked(self, found: str | None, certain: bool, now: float) -> list[Event]:
        """A node that stands back knows who holds now."""
        if not self.active or not (found or certain):
            return []
        if found is None:
            return self._end(now, "no silent running instance holds the Elastic IP", Cause.NOBODY_HOLDS)
        self.rivals.add(found)
        return []

    def _end(self, now: float, why: str, cause: EventName | Cause, peer: str = "") -> list[Event]:
        self.active = False
        self._reads.drop_question()
        details = {"cause": cause} | ({"peer": peer} if peer else {})
        return [Event(EventName.STAND_BACK_OVER, now, self._observed.own_id, why, details)]
