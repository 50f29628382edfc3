"""Decide when the next best node takes the place of a master that does not hold.

The two next best nodes, by rank, look at a new master 12 s after it became one, and at those that
are silent (59b), and then at the master, see `reads`. From then on, a read that shows that the
master does not hold begins a relief. The next best node reads every member, and again after 12 s,
or if the master may have held, after a verify interval and 4 s, in which it finds out that it was
detached (58a). These 12 s begin once the last of them is read to have lost the EIP: it may have
passed from one to another that was read before (08f). The master comes last, and what was read
before does not count (58s). If none of them holds by both reads, this node takes the master's place
until a read shows that one holding again, a better node is heard, or this node holds and is unfit.
Silent members do not count: they are dead, as to any new master. But if the master may have held, a
silent one may have taken the EIP from it, and the master stands back: then nobody takes its place
(08a, 08c, 08d), unless that one was heard after the master was first read not to hold (15, 58e), or
was the master before, and this one was never read to hold (74d). A read that fails is tried again,
and the two may be far apart (58w). Shown by 58b, 58c, 58i-58k, 58y, 58z, 74a, 74b.
"""

from __future__ import annotations

import math

from exoip.core.election import Election
from exoip.core.mutations import JOB_TIME, Mutations
from exoip.core.observed import InstanceState, Observed
from exoip.core.peers import Role

NEXT_BEST = 2  # so many nodes after the master watch it, and keep their connections open: the next attach is theirs
COME_BACK = 4.0  # seconds after a verify interval by which a master that was detached holds again


class Relief:
    """The relief of a master by this node.

    `relieved`: the id of the master in whose place it is one, or "". `verify_interval` in seconds.
    """

    def __init__(self, election: Election, observed: Observed, mutations: Mutations) -> None:
        self._election, self._observed, self._mutations = election, observed, mutations
        self.relieved, self.verify_interval, self._began = "", 30.0, math.inf

    def watched(self, places: int = NEXT_BEST) -> InstanceState | None:
        """Return the master if this node is one of so many next best ones, and does not hold."""
        election, own = self._election, self._election.local_state
        next_best = election.role is Role.BACKUP and election.place() <= places and not (own.last_held or own.yielded)
        return self._observed.others.get(election.master or "") if next_best and not own.leaving else None

    def next_read(self, now: float) -> tuple[float, str]:
        """Return when a read is wanted, and of which instance.

        inf means: none is wanted; -inf: all are there, and show that nobody holds.
        """
        master, mutations, others = self.watched(), self._mutations, self._observed.others.values()
        if master is None or (self._began < math.inf and self._election.place() > 1):
            return math.inf, ""
        if self._began == math.inf:  # it may yet come to hold
            silent = [other for other in others if not self._election.alive(other.instance_id)]
            look = [o.instance_id for o in (master, *silent) if o.tried_at < mutations.since + JOB_TIME]
            return (mutations.since + JOB_TIME, look[0]) if look else (math.inf, "")
        if self._observed.own.known_at < self._began:
            return self._began, self._observed.own_id
        # It may have held, and has to find out that it was detached.
        held, unread = master.held_at >= mutations.since, master.lacks_since > mutations.since + 2 * JOB_TIME
        time = mutations.pace.slack + max(JOB_TIME, self.verify_interval + COME_BACK if held or unread else 0.0)
        unseen, seen = [other for other in others if other.read_at < self._began], [master]
        for other in others:
            # A silent one is dead, as to any new master, or has taken the EIP from this one.
            peer = self._election.peer(other.instance_id)
            may_hold = held or (unread and other.master_until < mutations.since)
            if peer.alive or (may_hold and other.running and peer.last_seen < master.lacks_since):
                seen.append(other)
        last = max(other.read_at if other.holds else min(other.lacks_since, other.read_at) for other in seen)
        again = max(last + JOB_TIME + mutations.pace.slack, self._began + time)  # since all lack it
        missing = unseen or [o for o in seen if o.read_at < (max(again, now - JOB_TIME) if o is master else again)]
        missing.sort(key=lambda o: (o is master, not o.holds, o.tried_at))  # the master at last
        return (self._began if unseen else again, missing[0].instance_id) if missing else (-math.inf, "")

    def decide(self, now: float, *, unfit: bool) -> None:
        """Take the master's place, or give it back. `unfit`: this node holds, and is unfit."""
        master, new = self.watched(), self._mutations.since + JOB_TIME
        lacks = master and not master.holds and master.read_at >= new
        self._began = min(self._began, master.read_at) if master and lacks else math.inf
        taken = self._election.role is Role.MASTER and self._election.alive(self.relieved)
        if not taken or unfit or self._observed.others[self.relieved].holds:
            self.relieved = ""
        if not self._observed.own.may_hold and self.next_read(now)[0] == -math.inf:
            self.relieved = self._election.master or ""
