"""Record what this node knows about who holds the Elastic IP, and since when.

The API is the truth, but every answer is a little old: what a read shows was true at some moment
after the read began. So each fact carries the time its read began. A read that began before a
mutation of the same instance by this node ended shows nothing.

A node doubts whether it holds at start, after a stall, when a peer is heard first or again (that
peer may have detached it meanwhile), and when an attach or detach of itself failed in a way that
leaves its effect open. A read of itself that began after the doubt ends it, and so does an attach
that was called after it and is done.

Shown by 11a, 28b, 43, 45.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from exoip.core.calls import Outcome
from exoip.core.events import Cause

NEWCOMER_TIME = 17.0  # seconds after its attach call in which a node clears at once who held before
UNSEEN = 45.0  # seconds without a good read after which a holder counts as one that has just come to hold
BOTH_HOLD_TIME = 30.0  # seconds for which both hold before either may clear the other
TURNS = 100.0  # seconds of the API's clock between two turns of one node; the other's are half of that later
TURN_LASTS = 30.0  # seconds in which a clear may begin; three slow reads fit in


@dataclass(slots=True)
class InstanceState:
    """What this node knows about another instance. `holds` is None until a read shows it."""

    instance_id: str
    listed: bool = True  # it is a member at present
    holds: bool | None = None
    since: float = math.inf  # since when it is known or, after it was the master, assumed to hold; inf if it is not
    held_at: float = -math.inf  # when the last read that showed it holding began
    lacks_since: float = math.inf  # since when each read shows that it does not hold, however rare they are
    running: bool = True
    read_at: float = -math.inf  # when the last good read of it began
    read_end: float = -math.inf  # when that read ended
    tried_at: float = -math.inf  # when the last read of it in this round of verification began, good or not
    changed_at: float = -math.inf  # when a mutation of it by this node last ended, or it left the group
    clear_failed_at: float = -math.inf  # when a clear last failed: it may yet take effect
    master_until: float = -math.inf  # when it last was the master, since this node was one
    predecessor: bool = False  # known or assumed to hold when this node attached, and since
    successor: bool = False  # it may have become master while this node still held, and holds as far as known

    @property
    def holding(self) -> bool:
        """Whether it is known or assumed to hold."""
        return self.since < math.inf

    def seen(self, holds: bool, running: bool, began: float, ended: float) -> bool:
        """Record a read; return False if it began too early to show anything."""
        if began < self.changed_at or began < self.read_at:
            return False
        unseen = began - self.read_at > UNSEEN
        if holds:
            self.since = began if self.held_at < self.since or unseen else self.since
            self.held_at, self.lacks_since = began, math.inf
        else:
            self.since, self.lacks_since = math.inf, min(self.lacks_since, began)
            self.predecessor = self.successor = False  # if it holds later, it attached after this node
        self.holds, self.running, self.read_at, self.read_end = holds, running, began, ended
        return True

    def cleared(self, now: float) -> None:
        """Record that its detach is done."""
        self.holds, self.since, self.changed_at = False, math.inf, now
        self.predecessor = self.successor = False


@dataclass(slots=True)
class OwnState:
    """What a node knows about itself. Times in seconds."""

    held: bool = False  # last known to hold
    since: float = -math.inf  # since when, as far as known; a holder in doubt that attaches counts anew
    known_at: float = -math.inf  # when the call that showed it began
    doubt_since: float = -math.inf  # since when it is in doubt; inf if it is not
    unsure_since: float = -math.inf  # since when for another cause than a peer that was heard first or again
    attach_may_land: bool = True  # an attach may have taken effect unseen, or still may
    changed_at: float = -math.inf  # when a mutation of itself last ended
    attach_called: float = -math.inf  # the first attach call that made it hold, as far as known; -inf: it held before
    wants_proof: bool = False  # an attach counts once a read shows it: the last one was none, or a rival lives

    @property
    def doubt(self) -> bool:
        """Whether what is known may be out of date."""
        return self.doubt_since < math.inf

    @property
    def holds(self) -> bool:
        """Whether it is known, without doubt, to hold."""
        return self.held and not self.doubt

    @property
    def may_hold(self) -> bool:
        """Whether it last held, or an attach may have taken effect unseen."""
        return self.held or self.attach_may_land

    @property
    def protected(self) -> bool:
        """Whether the preemption delay goes on: any doubt is only due to a heard peer."""
        return self.held and self.known_at >= self.unsure_since

    def doubted(self, now: float, *, attach_may_land: bool = False, heard: bool = False) -> None:
        """Begin to doubt whether this node holds."""
        self.doubt_since, self.unsure_since = now, self.unsure_since if heard else now
        self.attach_may_land = self.attach_may_land or attach_may_land

    def attaching(self, now: float) -> None:
        """Record that an attach is called."""
        self.attach_called = self.attach_called if self.may_hold else now

    def attached(self, called: float, known_at: float, now: float) -> None:
        """Record that the attach called at `called` is done: as good as a read at `known_at`."""
        self.since = self.since if self.holds else now
        self.held, self.attach_may_land, self.changed_at = True, False, now
        self.known_at = -math.inf if self.wants_proof else known_at
        self._end_doubt(called)

    def detached(self, called: float, now: float) -> None:
        """Record that the detach called at `called` is done."""
        self.held, self.attach_may_land, self.changed_at, self.known_at = False, False, now, now
        self._end_doubt(called)

    def seen(self, holds: bool, began: float) -> bool:
        """Record a read; return False if it began too early to show anything."""
        if began < self.changed_at or began < self.known_at:
            return False
        unshown = self.known_at < self.changed_at and not self.attach_may_land  # its attach, which is said to be done
        self.wants_proof = not holds and (self.wants_proof or (self.held and unshown))
        self.since = began if holds and not self.held else self.since
        self.held, self.known_at = holds, began
        self._end_doubt(began)
        return True

    def _end_doubt(self, began: float) -> None:
        if began >= self.doubt_since:
            self.doubt_since, self.attach_may_land = math.inf, False


class Observed:
    """All that a node knows.

    `own`: about itself, since it `started`. `others`: about every other instance that is or was a
    member, by id.
    """

    def __init__(self, own_id: str, started: float = -math.inf) -> None:
        self.own_id = own_id
        self.own = OwnState(changed_at=started)  # a mutation of the daemon before may yet take effect (66e)
        self.others: dict[str, InstanceState] = {}
        self._api_clock = 0.0  # by how much the API's clock is ahead of this node's
        self._told: float | None = None  # what time the last answer told

    def set_members(self, instance_ids: frozenset[str], now: float) -> None:
        """Set the members. One that leaves is read, and stays until it is seen not to hold."""
        for instance_id in sorted(instance_ids - self.others.keys() - {self.own_id}):
            self.others[instance_id] = InstanceState(instance_id, successor=self.own.attach_called == -math.inf)
        for instance in self.others.values():
            if instance.listed and instance.instance_id not in instance_ids:
                instance.changed_at = now
            instance.listed = instance.instance_id in instance_ids
        self.forget_departed()

    def forget_departed(self) -> None:
        """Forget instances that are no longer members and do not hold."""
        self.others = {name: one for name, one in self.others.items() if one.listed or one.holds is not False}

    def holders(self) -> list[InstanceState]:
        """Return the others that are known or assumed to hold, by id."""
        return sorted((other for other in self.others.values() if other.holding), key=lambda other: other.instance_id)

    def note_time(self, outcome: Outcome) -> None:
        """Learn what time it is at the API, to a second: all nodes share that clock.

        An answer that does not tell, or tells the same as the one before, shows nothing: that may
        be an error page, or a cache. This node's own clock goes on.
        """
        if (date := outcome.answered_at) is not None and date != self._told:
            self._told = date
            self._api_clock = min(max(self._api_clock, date - outcome.ended), date + 1.0 - outcome.began)

    def turn(self, other: InstanceState, now: float, silent_since: float = -math.inf) -> float:
        """Return from when on this node may clear it, at present or next; see `mutations`.

        inf if the other is only assumed to hold, or was not read for a while: it has to be read
        first.
        """
        if not other.holds or now - other.read_at > UNSEEN:
            return math.inf
        both = max(other.since, self.own.since, silent_since) + BOTH_HOLD_TIME
        first = 0.0 if self.own_id < other.instance_id else TURNS / 2
        begin = (at := max(both, now)) - (at + self._api_clock - first) % TURNS
        return max(both, begin) if at < begin + TURN_LASTS else begin + TURNS

    def why_clear(self, other: InstanceState, *, heard: bool) -> tuple[str, dict[str, object]]:
        """Return why it is cleared, for people and for programs."""
        if heard:
            return "it is alive and has not detached itself", {"cause": Cause.HEARD}
        if other.predecessor:
            return "it is silent and held the Elastic IP", {"cause": Cause.SILENT}
        return "it is silent and attached the Elastic IP later", {"cause": Cause.SILENT_RIVAL}
