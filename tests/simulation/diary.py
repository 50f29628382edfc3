"""What one daemon did, said and was told since its start, as seen from outside; `witness` judges by it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from exoip.core.calls import Call, Failure, Kind, Outcome, Purpose
from exoip.core.events import Event, EventName
from exoip.core.peers import LEAVING, UNFIT, Role
from tests.simulation.host import Host
from tests.simulation.stated import stated

ATTACH_SHOWS = stated("core.reads.ATTACH_SHOWS")
UNSEEN = stated("core.observed.UNSEEN")
NO_EFFECT = (Failure.FORBIDDEN, Failure.INVALID, Failure.UNREACHABLE)  # failures of calls that did nothing


@dataclass(slots=True)
class Reads:
    """What the reads of one instance showed. `since`: the first of those that showed it holding one
    after the other, none later than UNSEEN after the one before. `lacks`: as `since`, of those that
    showed that it does not hold.
    """

    began: float = -math.inf
    ended: float = -math.inf
    holds: bool = False
    since: float = math.inf
    lacks: float = math.inf

    def note(self, outcome: Outcome) -> None:
        """Take note of a read."""
        gap = outcome.began - self.began
        self.lacks = math.inf if outcome.holds else min(self.lacks, outcome.began)
        if not outcome.holds:
            self.since = math.inf
        elif not self.holds or gap > UNSEEN:
            self.since = outcome.began
        self.began, self.ended, self.holds = outcome.began, outcome.ended, outcome.holds


@dataclass(slots=True)
class Diary:
    """The life of one daemon. Times in seconds of its own clock."""

    started: float
    role: Role = Role.LISTENING
    role_since: float = -math.inf
    decided_at: float = -math.inf  # when role, master or leaving last changed
    masters: dict[str, float] = field(default_factory=dict)  # whoever was its master since it was one, and until when
    predecessors: dict[str, float] = field(default_factory=dict)  # those when it became one, and since when they are
    relieves: str = ""  # the master whose place it takes, by what it has just read
    relieves_since: float = -math.inf  # since when that one was its master
    leaving: bool = False
    unfit: bool = False
    unfit_until: float = -math.inf  # if its attaches failed
    fit_early: bool = False  # it is fit before that, by the answer that it has just got
    attach_due: float = math.inf  # when an attach was due, which has not been called since
    attach_called: float = math.inf  # the first attach call that may have made it hold …
    attach_over: bool = False  # … unless it attaches anew, because it has seen since that it does not hold
    attached_at: float = -math.inf  # when it came to know that it holds
    holds: bool = False
    last_attach: float = -math.inf  # the last attach call
    releasing: bool = False
    clearing: str = ""  # whom it detaches at present
    clear_ended: dict[str, float] = field(default_factory=dict)  # by id: when its last detach of it ended
    members: set[str] = field(default_factory=set)  # whoever was one
    reads: dict[str, Reads] = field(default_factory=dict)
    own_read: float = -math.inf  # when the last read of itself began, well or not
    attaches_failed: int = 0  # in a row, as the circuit breaker counts
    undone: int = 0  # attaches in a row that did not last
    pause: float = 0.0  # until when no attach may be called
    changes: deque[float] = field(default_factory=deque)  # of the role, to or from MASTER
    damped: bool = False
    asks: bool = False  # it has lost the EIP and asks who holds
    stand_back: float = 0.0  # seconds of the last stand-back in this split
    rival: str = ""  # whom it stood back from then
    standing_since: float = math.inf
    stands_until: float = math.inf  # when its time is over
    forgot: bool = False  # it has found that nobody holds: the next stand-back is short
    told_time: bool = False  # some answer had a Date
    known_at: float = -math.inf  # when the last call began, or answer came, that showed whether it holds

    def called(self, call: Call, now: float, own: str) -> None:
        """Take note of a call."""
        if call.kind is Kind.ATTACH:
            self.attach_due, self.last_attach = math.inf, now
            self.nobody_holds()
            self.attach_called, self.attach_over = now if self.attach_over else min(self.attach_called, now), False
        elif call.kind is Kind.DETACH and call.instance_id == own:
            self.releasing = True
        elif call.kind is Kind.DETACH:
            self.clearing = call.instance_id
        elif call.kind is Kind.READ and call.instance_id == own:
            self.own_read = now

    def nobody_holds(self) -> None:
        """Take note that it asked who holds, and does not stand back: the next time is short again."""
        self.stand_back, self.asks = 0.0 if self.asks else self.stand_back, False

    def answered(self, call: Call, outcome: Outcome, own: str, members: Iterable[str]) -> None:
        """Take note of an answer."""
        self.told_time = self.told_time or outcome.answered_at is not None
        if call.kind is Kind.HOLDERS and outcome.failure is None and own in outcome.candidates:
            for name in {*self.reads, *members} - {*outcome.candidates}:
                read = self.reads.setdefault(name, Reads())
                if not read.holds and call.purpose is Purpose.VERIFY:
                    read.note(outcome)
        if call.kind is not Kind.READ:
            return
        old = outcome.began < self.clear_ended.get(call.instance_id, -math.inf)
        if outcome.failure is not None or old or call.instance_id == self.clearing:
            return  # a read that began before its own detach ended shows nothing
        self.reads.setdefault(call.instance_id, Reads()).note(outcome)
        old = self.holds and outcome.began < self.attached_at + ATTACH_SHOWS
        lacks = call.instance_id == own and not outcome.holds and not old
        self.known_at = outcome.began if call.instance_id == own else self.known_at
        if lacks and not self.releasing and self.last_attach < outcome.began:
            self.attach_over = True

    def _succeeds(self, host: Host, event: Event) -> None:
        """Take note of whose place it takes; the best that is heard at a start was no master, and one
        that was heard beside the next one has released the EIP or was cleared, unless it leaves. Those
        of an earlier time stay until it knows that it does not hold, and has read them.
        """
        if event.details["old_role"] != Role.LISTENING:
            self.masters[str(event.details["old_master"])] = event.at
        if event.details["role"] == Role.MASTER:
            if self.attach_over:
                old = self.predecessors.items()
                self.predecessors = {name: at for name, at in old if self.reads.get(name, Reads()).began < at}
            heard = {name: host.heard.get(name, (-math.inf, LEAVING)) for name in self.masters}
            last = [name for name, at in self.masters.items() if heard[name][0] <= at or heard[name][1] == LEAVING]
            self.predecessors |= dict.fromkeys(last, event.at)
            self.masters = {}

    def told(self, host: Host, event: Event) -> None:
        """Take note of an event."""
        now = event.at
        if event.name in (EventName.CLEARED, EventName.FAILED) and event.instance_id == self.clearing:
            self.clearing, self.clear_ended[event.instance_id] = "", now
        match event.name:
            case EventName.YIELDED:
                self.asks = False
            case EventName.ROLE:
                self.nobody_holds()
                role = Role(str(event.details["role"]))
                self._succeeds(host, event)
                if Role.MASTER in (role, self.role) and role is not self.role and not _last_resort(host, role, now):
                    self.changes.append(now)
                if role is not self.role:
                    self.role, self.role_since = role, now
                self.decided_at, self.attaches_failed, self.pause, self.undone = now, 0, 0.0, 0
            case EventName.LEAVING:
                self.decided_at, self.leaving = self.decided_at if self.leaving else now, True
            case EventName.UNFIT | EventName.FIT:
                self.unfit, self.attaches_failed = event.name is EventName.UNFIT, 0
            case EventName.FLAPPING | EventName.CALM:
                self.damped = event.name is EventName.FLAPPING
            case EventName.ATTACHED:
                self.known_at = now
                self.attached_at = self.attached_at if self.holds else now
                self.holds, self.attaches_failed = True, 0
            case EventName.HOLDS | EventName.LOST:
                self.holds = event.name is EventName.HOLDS
                self.asks = not self.holds
                self.attaches_failed = 0 if self.holds else self.attaches_failed
                self.attached_at = self.own_read if self.holds else self.attached_at
            case EventName.PEER_ALIVE:
                self.stand_back = 0.0
            case EventName.PEER_ADDED if event.instance_id not in self.members:
                self.members.add(event.instance_id)
                self.reads.pop(event.instance_id, None)  # what it read of an outsider does not count
            case EventName.CLEARED if event.instance_id in self.reads:
                self.reads[event.instance_id].holds, self.reads[event.instance_id].since = False, math.inf
            case EventName.LET_GO:
                self.attach_over, self.releasing, self.holds = True, False, False
            case EventName.FAILED if event.instance_id == host.config.instance_id:
                self.releasing = False
                no_effect = event.details["call"] == Kind.ATTACH and event.details["failure"] in NO_EFFECT
                if no_effect and self.attach_called == self.last_attach:  # an earlier one may have had one
                    self.attach_called = math.inf
            case EventName.STALLED:
                self.started = self.decided_at = now
            case _:
                pass


def _last_resort(host: Host, role: Role, now: float) -> bool:
    """Whether it becomes master although it is unfit and hears a better node: that is no flapping."""
    heard = [(said, name) for name, (at, said) in host.heard.items() if now - at < host.config.dead_time]
    unfit = host.node is not None and host.node._election.advertised == UNFIT
    return role is Role.MASTER and unfit and min(heard, default=(LEAVING, "")) < (UNFIT, host.id)
