"""Decide when the next best node takes the place of a master that does not hold.

The next best node, by rank, reads its master in each round, see `reads`. If a read shows that the
master does not hold, this node reads itself and every member at once, and again after 12 s, or if
the master did hold, after a verify interval and 4 s, in which it finds out that it was detached
(58a). The master comes last, and what was read before it lost the EIP does not count. If none of
them holds by both reads, this node takes the master's place until a read shows that one holding
again, a better node is heard, or this node holds and is unfit. Silent members do not count: they
are dead, as to any new master. But if the master did hold, one of them may have taken the EIP from
it, and the master stands back: then nobody takes its place (08a). A read that fails is tried again.
Shown by 15, 58b, 58c, 58e, 58i-58k, 58s.
"""

from __future__ import annotations

import math

from exoip.core.election import Election
from exoip.core.mutations import JOB_TIME, Mutations
from exoip.core.observed import InstanceState, Observed
from exoip.core.peers import Role

COME_BACK = 4.0  # seconds after a verify interval by which a master that was detached holds again


class Relief:
    """The relief of a master by this node.

    `relieved`: the id of the master in whose place it is one, or "". `verify_interval` in seconds.
    """

    def __init__(self, election: Election, observed: Observed, mutations: Mutations) -> None:
        self._election, self._observed, self._mutations = election, observed, mutations
        self.relieved, self.verify_interval = "", 30.0

    def watched(self) -> InstanceState | None:
        """Return the master if this node is the next best one, and does not hold."""
        election, own = self._election, self._election.local_state
        next_best = election.role is Role.BACKUP and election.place() == 1 and not (own.last_held or own.yielded)
        return self._observed.others.get(election.master or "") if next_best and not own.leaving else None

    def next_read(self, now: float) -> tuple[float, str]:
        """Return when a read is wanted, and of which instance.

        inf means: none is wanted; -inf: all are there, and show that nobody holds.
        """
        master, mutations, since = self.watched(), self._mutations, self._mutations.since
        if master is None or master.holds is not False or master.read_at < since:
            return math.inf, ""
        held = master.held_at >= since  # then it was detached, and has to find out
        time = mutations.pace.slack + max(JOB_TIME, self.verify_interval + COME_BACK if held else 0.0)
        others, due, start = self._observed.others.values(), {}, max(since, master.lacks_since)
        if self._observed.own.known_at < start:
            return start, self._observed.own_id
        for other in others:
            # a silent one is dead, as to any new master; one that held may have lost the EIP to it
            counts = other.read_at >= start and (self._election.alive(other.instance_id) or (held and other.running))
            lacks_since = other.read_at if other.holds else max(other.lacks_since, start)
            due[other.instance_id] = lacks_since + time if counts else start
        due[master.instance_id] = max(due.values())
        missing = [other for other in others if other.read_at < due[other.instance_id]]
        missing.sort(key=lambda o: (max(due[o.instance_id], now), o is master, o.tried_at))  # the master at last
        return (due[missing[0].instance_id], missing[0].instance_id) if missing else (-math.inf, "")

    def decide(self, now: float, *, unfit: bool) -> None:
        """Take the master's place, or give it back. `unfit`: this node holds, and is unfit."""
        backup = self._election.role is Role.BACKUP and not self._mutations.leaving
        if backup or unfit or not self._election.alive(self.relieved) or self._observed.others[self.relieved].holds:
            self.relieved = ""
        if backup and not self._observed.own.may_hold and self.next_read(now)[0] == -math.inf:
            self.relieved = self._election.master or ""
