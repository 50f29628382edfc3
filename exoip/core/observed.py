"""What a node knows of who holds the Elastic IP, how it knows, and since when. Pure; all times in seconds of one clock.

The API is the truth, and every answer of it is a little old: what a read shows was so at some moment after the read began.
So each piece of knowledge carries the moment its read began, and a read that began before an own mutation
of the same instance had ended tells nothing.

Of itself a node is *in doubt* at start, after a stall, when a peer is heard first or again (that peer may have cleared it meanwhile),
and when an own attach or detach of itself timed out or was cut off. A read that began after the doubt did ends it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(slots=True)
class InstanceState:
    """What was last seen of one other instance. `holds` None: never read, or no longer known."""

    instance_id: str
    listed: bool = True  # in the group at present
    holds: bool | None = None
    presumed: bool = False  # it was the master that was lost: taken to hold until it is seen not to
    since: float = math.inf  # holding, as far as known, since then
    running: bool = True
    read_at: float = -math.inf  # the last good read of it began then
    read_end: float = -math.inf  # and ended then
    silent_since: float = -math.inf  # not heard since then, while it is not heard
    changed_at: float = -math.inf  # an own mutation of it ended then

    @property
    def holding(self) -> bool:
        """Whether it is known or presumed to hold."""
        return self.presumed or self.holds is True

    def presume(self, now: float) -> None:
        """Take it to hold: it was the master."""
        if not self.holding:
            self.since = now
        self.presumed = True

    def seen(self, holds: bool, running: bool, began: float, ended: float) -> bool:
        """Take a read in; False when the read is too old to tell anything."""
        if began < self.changed_at or began < self.read_at:
            return False
        if holds and not self.holding:
            self.since = began
        elif not holds:
            self.since = math.inf
        self.holds, self.presumed, self.running = holds, False, running
        self.read_at, self.read_end = began, ended
        return True

    def cleared(self, now: float) -> None:
        """Its detach is seen done."""
        self.holds, self.presumed, self.since, self.changed_at = False, False, math.inf, now


@dataclass(slots=True)
class OwnState:
    """What a node knows of itself."""

    held: bool = False  # last known to hold
    known_at: float = -math.inf  # what showed it began then
    doubt_since: float | None = -math.inf  # in doubt since then
    heard_only: bool = False  # for no other reason than that a peer was heard first or again
    attach_may_land: bool = True  # an own attach may have taken, or may yet take effect unseen
    changed_at: float = -math.inf

    @property
    def doubt(self) -> bool:
        """Whether what is known may no longer be so."""
        return self.doubt_since is not None

    @property
    def holds(self) -> bool:
        """Known, without doubt, to hold."""
        return self.held and self.doubt_since is None

    @property
    def may_hold(self) -> bool:
        """Held last, or may hold unseen."""
        return self.held or self.attach_may_land

    @property
    def protected(self) -> bool:
        """Held last, and in doubt at most because a peer was heard: the preemption delay goes on."""
        return self.held and (self.doubt_since is None or self.heard_only)

    def doubted(self, now: float, *, attach_may_land: bool = False, heard: bool = False) -> None:
        """Be in doubt from now on."""
        self.heard_only = heard and (self.doubt_since is None or self.heard_only)
        self.doubt_since = now
        self.attach_may_land = self.attach_may_land or attach_may_land

    def attached(self, called: float, looked: float, now: float, trusted_for: float) -> None:
        """The own attach, called at `called`, is seen done by a look that began at `looked`."""
        self.held, self.attach_may_land, self.changed_at, self.known_at = True, False, now, looked
        if now - called > trusted_for:
            self.doubt_since = now
        elif self.doubt_since is not None and self.doubt_since <= called:
            self.doubt_since = None

    def detached(self, called: float, now: float) -> None:
        """The own detach is seen done."""
        self.held, self.attach_may_land, self.changed_at, self.known_at = False, False, now, now
        if self.doubt_since is not None and self.doubt_since <= called:
            self.doubt_since = None

    def seen(self, holds: bool, began: float) -> bool:
        """Take a read in; False when it is too old to tell anything."""
        if began < self.changed_at or began < self.known_at:
            return False
        self.held, self.known_at = holds, began
        if self.doubt_since is None or began >= self.doubt_since:
            self.doubt_since, self.attach_may_land = None, False
        return True


class Observed:
    """All that a node knows: of itself (`me`), and of every other instance that is or was a member (`others`, by id)."""

    def __init__(self, own_id: str) -> None:
        self.own_id = own_id
        self.own = OwnState()
        self.others: dict[str, InstanceState] = {}
        self.holders_at_attach: set[str] = set()  # those known or presumed to hold when this node attached
        self.successors_while_holding: set[str] = (
            set()
        )  # those that were master while this node, as a backup, still held
        self.masters: list[str] = []  # the other nodes that were master since this one was, the last one last

    def set_members(self, instance_ids: frozenset[str], now: float) -> None:
        """Take over the group. One that left stays until it is seen not to hold."""
        for instance_id in instance_ids - self.others.keys() - {self.own_id}:
            self.others[instance_id] = InstanceState(instance_id, silent_since=now)
        for instance in self.others.values():
            instance.listed = instance.instance_id in instance_ids
        self.forget_departed()

    def forget_departed(self) -> None:
        """Forget who is no longer a member and was seen not to hold."""
        for instance in list(self.others.values()):
            if not instance.listed and instance.holds is False and not instance.presumed:
                del self.others[instance.instance_id]
                self.holders_at_attach.discard(instance.instance_id)

    def holders(self) -> list[InstanceState]:
        """The others that are known or presumed to hold, by id."""
        return sorted((other for other in self.others.values() if other.holding), key=lambda other: other.instance_id)

    def not_holding(self, instance_id: str) -> None:
        """An instance was seen not to hold: if it holds later, then by an attach after ours."""
        self.holders_at_attach.discard(instance_id)
        self.successors_while_holding.discard(instance_id)
        self.forget_departed()
