"""Ask who holds, and stand back from a holder that cannot be heard instead of fighting it.

A master that held and reads that it no longer does asks the API who holds. A list names
candidates, and a read confirms each. Silent members are read even if the list does not name them,
those that it names first; if the list fails, or takes longer than 4 s, only they are read (49c).
The answer is a silent, running instance that holds, or none; one whose heartbeat is overdue counts
as silent (07c). No attach before the answer; if reads fail, so that none is good for 8 s, the
question is dropped.

- A silent, running instance holds. It is alive, and the network between the two is cut. The master
  stands back (BACKUP, reason "yielded") for 60 s, doubled by each further stand-back, but no longer
  than the split has lasted since its first one, and 60 s; and doubled once more if it had attached
  beside that holder, to 1 h. (An attach beside a dead one does not count: it never takes the EIP
  back.) The stand-back ends early when who holds by the last answer is heard (14g, 14j), within 5 s
  if that one was only late and never counted as dead (07g, 07h), or when no silent running instance
  holds (asked every 5 s).
- The split is over, so the next stand-back lasts 60 s again, once one of these holders is heard,
  none of them runs any more (14f), nobody silent holds, or this node has held for eight times as
  long as the next one would last (14i).
- Attach at once if nobody holds, if there is no answer, or if only one of these holds: a successor
  (its death made this node master while this one still held; or it may have taken over before this
  daemon started, or while it was paused), or one that held before this node's attach of less than
  17 s ago, which cannot have cleared it so soon.

A node that becomes master while it cannot send a single heartbeat (its address is gone, or its
firewall drops them) asks who holds before it attaches, too. The silence of the others then proves
nothing, because the fault is here. If a running instance holds, the node stands back until that
holder is heard, no longer holds or runs, or stays silent for a dead time after sending works again.

So a split costs few moves, and leaves the EIP unserved no longer than the present stand-back.

Shown by 07a, 07b, 07g, 07h, 09, 10, 11a, 14a-14j, 32a, 49, 53a, 53b, 55, 57c, 66d, TestQuestion,
TestStandBack.
"""

from __future__ import annotations

import math
from collections import deque

from exoip.core.calls import Outcome, Pace
from exoip.core.election import Election
from exoip.core.events import Cause, Event, EventName
from exoip.core.observed import NEWCOMER_TIME, Observed
from exoip.core.peers import Role

ANSWER_TIME = 8.0  # seconds without a good read after which the question who holds is dropped
FIRST_STAND_BACK = 60.0  # seconds
LONGEST_STAND_BACK = 3600.0  # seconds
HOLDER_CHECK_INTERVAL = 5.0  # seconds between two questions who holds, while standing back


class StandBack:
    """The question who else holds, and the stand-back of one node. `reads` makes the calls.

    `answer_by`: when the open question is dropped, in seconds; inf if none is open. `candidates`:
    still to be read; None before the list. `until`: when the present stand-back ends, in seconds;
    -inf if there is none. `length`: seconds that the next one lasts at most. `began`: when the
    first one of this split did; inf if there is no split. `rivals`: the silent holders so far.
    `mute`: why none of the last heartbeats could be sent, or "".
    """

    def __init__(self, election: Election, observed: Observed, pace: Pace) -> None:
        self._election, self._observed, self._pace = election, observed, pace
        self.answer_by = math.inf
        self.candidates: deque[str] | None = None
        self.length, self.began = FIRST_STAND_BACK, math.inf
        self.rivals: set[str] = set()
        self.until, self._check_at, self.mute = -math.inf, math.inf, ""
        self._holder, self._answered_at = "", -math.inf  # who holds by the last answer, and when that came

    # -- the question who holds ---------------------------------------------------------------------------------------

    def ask(self, now: float) -> None:
        """Ask who holds, unless that question is open."""
        if not self.asking:
            self.answer_by = now + ANSWER_TIME + self._pace.slack

    def drop_question(self) -> None:
        """Ask no longer."""
        self.candidates, self.answer_by = None, math.inf

    @property
    def asking(self) -> bool:
        """Whether the question is open; a master does not attach meanwhile."""
        return self.answer_by < math.inf

    @property
    def wants_list(self) -> bool:
        """Whether the next call lists the instances that may hold."""
        return self.asking and self.candidates is None

    def listed(self, candidates: list[str], now: float) -> list[Event]:
        """Take the candidates from a list; none if it failed."""
        silent = [other for other in sorted(self._observed.others) if not self._election.alive(other)]
        self.candidates = deque(dict.fromkeys([c for c in silent if c in candidates] + silent + candidates))
        return [] if self.candidates else self._answered(None, now)

    def seen(self, instance_id: str, outcome: Outcome) -> list[Event]:
        """Take the read of an instance: the answer if it shows the holder, or was the last one."""
        if not self.candidates or instance_id != self.candidates[0]:
            return []
        self.candidates.popleft()
        self.answer_by = outcome.ended + ANSWER_TIME + self._pace.slack
        due = self._election.peer(instance_id).last_seen + self._election.config.interval
        holder = instance_id if outcome.holds and outcome.running and outcome.ended > due else None
        return self._answered(holder, outcome.ended) if holder or not self.candidates else []

    # -- the stand-back -----------------------------------------------------------------------------------------------

    @property
    def active(self) -> bool:
        """Whether this node stands back."""
        return self.until > -math.inf

    def set_mute(self, why: str, now: float) -> None:
        """Note why no heartbeat can be sent, or "": then one more dead time is enough."""
        if self.mute and not why and self.active:
            self.until = max(self.until, now + self._election.config.dead_time)
        self.mute = why

    def attaching(self) -> None:
        """Note the silent holders beside which this node attaches, if they were read lately."""
        holders = [one for one in self._observed.holders() if one.predecessor and one.running]
        self.rivals |= {one.instance_id for one in holders if not self._election.alive(one.instance_id)}

    def heard(self, instance_id: str, now: float) -> list[Event]:
        """Forget the split if a rival is heard, and end the stand-back if that is who holds."""
        if instance_id in self.rivals:
            self._forget()
        ends = self.active and instance_id == self._holder
        return self._end(now, f"{instance_id} is heard again", EventName.PEER_ALIVE, instance_id) if ends else []

    def stop(self) -> None:
        """Stop standing back, and ask no longer."""
        self.until = -math.inf
        self.drop_question()

    def tick(self, now: float) -> list[Event]:
        """Drop the question, ask again, or end the stand-back, if due."""
        if now >= self.answer_by:
            self.drop_question()
        if not self.active:
            return []
        if self._election.peer(self._holder).last_seen > self._answered_at:
            return self.heard(self._holder, now)  # it was only late
        if now >= self.until and not self.mute:
            return self._end(now, "the time is over", Cause.TIME)
        if now >= self._check_at:
            self._check_at = now + HOLDER_CHECK_INTERVAL
            self.ask(now)
        return []

    def next_deadline(self) -> float:
        """Return when `tick` is wanted."""
        due = min(math.inf if self.mute else self.until, self._check_at) if self.active else math.inf
        return min(self.answer_by, due)

    def _answered(self, holder: str | None, now: float) -> list[Event]:
        """Stand back from the holder, or no longer if there is none."""
        self.drop_question()
        self._holder, self._answered_at = holder or "", now
        if self.active and not holder:
            self._forget()
            return self._end(now, "no silent running instance holds the Elastic IP", Cause.NOBODY_HOLDS)
        if holder is None or self._election.role is not Role.MASTER:
            return []
        if self.mute:
            length = self._election.config.dead_time
            why = f"this node cannot send any heartbeat ({self.mute}): the fault is here, check its address and routes"
        else:
            recent = now < self._observed.own.attach_called + NEWCOMER_TIME  # too soon to have cleared this node
            other = self._observed.others.get(holder)
            if other and (other.successor or (recent and other.predecessor)):
                return []
            others, long = self._observed.others, now > self._observed.own.since + 8 * self.length
            if long or not any(rival == holder or (rival in others and others[rival].running) for rival in self.rivals):
                self._forget()  # an earlier split is over: this node has held for long, or its rivals are gone
            self.began, twice = min(self.began, now), 1 + (holder in self.rivals)
            length = min(self.length, FIRST_STAND_BACK + (now - self.began), LONGEST_STAND_BACK / twice) * twice
            self.length = 2 * length
            why = f"it is not heard; standing back for {length:.0f} s"
            for one in others.values():
                one.since = math.inf if one.holds is None else one.since  # what is assumed may be out of date
            self._observed.own.wants_proof = True  # it lives, and is not to be cleared by a mistake
        self.rivals.add(holder)
        self.until, self._check_at = now + length, now + HOLDER_CHECK_INTERVAL
        return [Event(EventName.YIELDED, now, holder, f"it holds the Elastic IP; {why}", {"for": length})]

    def _forget(self) -> None:
        self.rivals, self.length, self.began = set(), FIRST_STAND_BACK, math.inf
        self._observed.own.wants_proof = False

    def _end(self, now: float, why: str, cause: EventName | Cause, peer: str = "") -> list[Event]:
        self.stop()
        details = {"cause": cause} | ({"peer": peer} if peer else {})
        return [Event(EventName.STAND_BACK_OVER, now, self._observed.own_id, why, details)]
