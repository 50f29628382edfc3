"""Which calls a daemon may make at each moment; see `witness`."""

from __future__ import annotations

import math

from exoip.core.calls import Call, Kind, Lane, Outcome
from exoip.core.peers import LEAVING, UNFIT, Role
from tests.simulation.diary import UNSEEN, Diary
from tests.simulation.host import Host
from tests.simulation.stated import stated
from tests.simulation.world import World

CALL_SETTLES = stated("core.mutations.CALL_SETTLES")
OWN_STATE_MAX_AGE = stated("core.mutations.OWN_STATE_MAX_AGE")
ATTACH_KEPT = stated("core.mutations.ATTACH_KEPT")
JOB_TIME = stated("core.mutations.JOB_TIME")
NEWCOMER_TIME = stated("core.observed.NEWCOMER_TIME")
BOTH_HOLD_TIME = stated("core.observed.BOTH_HOLD_TIME")
TURN_LASTS = stated("core.observed.TURN_LASTS")
TURNS = stated("core.observed.TURNS")
TINY = 0.01  # seconds of rounding
SECOND = 1.0  # the API tells the time in whole seconds
SLOW = 5.0  # seconds for a call: then one that takes over in a cut may not know that another did (known limits)
DECEIVED = 120.0  # seconds for which an answer that was not so excuses what a daemon does


class CallWitness:
    """Watches the calls of every daemon of a world. `violations`: what was against the rules."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.violations: list[str] = []
        self._diaries: dict[tuple[str, int], Diary] = {}
        world.callers.append(self._called)
        world.answers.append(self._answered)

    def _of(self, host: Host) -> Diary:
        key = host.name, host.generation
        found = self._diaries.get(key)
        if found is None:
            found = self._diaries[key] = Diary(host.now)
        return found

    def _must(self, so: bool, host: Host, what: str) -> None:
        if not so:
            self.violations.append(f"{self.world.now:.1f}: {host.name} {what}")
            self.world.note(f"VIOLATION: {host.name} {what}")

    # -- calls --------------------------------------------------------------------------------------------------------

    def _called(self, host: Host, lane: Lane, call: Call) -> None:
        diary, own = self._of(host), host.config.instance_id
        if call.kind is Kind.ATTACH:
            self._must(diary.role is Role.MASTER, host, f"attaches as {diary.role}")
            self._attach_overdue(host, diary)
            self._must(host.now >= diary.pause, host, "attaches again at once what somebody undoes")
            self._relieves(host, diary)
        elif call.kind is Kind.DETACH and call.instance_id == own:
            self._releases(host, diary, call)
        elif call.kind is Kind.DETACH:
            self._clears(host, diary, call)
        diary.called(call, host.now, own)

    def _answered(self, host: Host, call: Call, outcome: Outcome) -> None:
        members, diary, own = host.node.admission.members if host.node else (), self._of(host), host.config.instance_id
        if diary.fit_early:
            shown = call.kind is Kind.READ and call.instance_id == own and outcome.holds
            self._must(shown, host, "is fit to attach again, and no read shows that it holds")
            diary.fit_early = False
        diary.answered(call, outcome, own, members)

    def _attach_overdue(self, host: Host, diary: Diary) -> None:
        if host.now > diary.attach_due:
            self._must(False, host, "became master and did not attach at once")
            diary.attach_due = math.inf

    def _relieves(self, host: Host, diary: Diary) -> None:
        """Two reads show that a heard master does not hold before another takes its place."""
        if diary.relieves:
            read = diary.reads.get(diary.relieves)
            known_at = -math.inf if read is None else max(read.lacks, diary.relieves_since) + JOB_TIME
            twice = read is not None and read.began >= known_at - TINY
            self._must(twice, host, f"takes the place of {self.world.plain(diary.relieves)} without two reads of it")
            diary.relieves = ""

    def _releases(self, host: Host, diary: Diary, call: Call) -> None:
        """A holder lets go only to one that it has read to hold, and heard after that; or to nobody,
        if it leaves alone.
        """
        now, dead_time, name = host.now, host.config.dead_time, str(call.details["successor"])
        if not name:
            alive = [
                who for who, (at, priority) in host.heard.items() if now - at < dead_time - TINY and priority < LEAVING
            ]
            self._must(host.leaving and not alive, host, f"lets go to nobody, but hears {alive}")
            self._must(now >= diary.started + dead_time - TINY, host, "lets go before it has listened")
            return
        read, (at, priority) = diary.reads.get(name), host.heard.get(name, (-math.inf, LEAVING))
        if read is None or not read.holds:
            self._must(False, host, "lets go to one that it has not read to hold")
            return
        self._must(read.began >= diary.decided_at - TINY, host, "lets go by an old read")
        heard = at >= read.ended or host.resumed_at >= read.ended
        self._must(heard and priority < UNFIT, host, "lets go to one that it has not heard since the read")
        if not host.leaving and host.resumed_at < read.began:
            settled = read.began >= host.heard_unfit.get(name, -math.inf) + CALL_SETTLES - TINY
            self._must(settled, host, "lets go to one that may be releasing")

    def _clears(self, host: Host, diary: Diary, call: Call) -> None:
        """A master clears another only if it holds itself; one that lives, not before its turn."""
        now, other = host.now, self.world.by_id.get(call.instance_id)
        self._must(diary.role is Role.MASTER, host, f"clears as {diary.role}")
        age = OWN_STATE_MAX_AGE + max(0.0, host.slowest - 1.0) + TINY
        lately = age + (ATTACH_KEPT if host.slowest >= SLOW else 0.0)
        holds = self._held(host, self.world.now - lately) or self._deceived(host)
        self._must(holds, host, "clears another and does not hold")
        self._must(diary.known_at >= now - age, host, "clears another by old knowledge of itself")
        if other is None or not other.up or host.clock_behind or self._deceived(host):
            return
        heard = self._hears(host, other.id)
        attached = diary.attach_called < math.inf
        read = diary.reads.get(other.id)
        known = read is not None and read.holds and read.since < diary.attach_called <= read.began + UNSEEN
        held = other.id in {*diary.predecessors, *self.world.holders_at(diary.attach_called)}
        before = attached and (known or held)
        if before and now < diary.attach_called + NEWCOMER_TIME + TINY:
            if not heard:
                return
            self._must(
                read is not None and now >= max(read.since, diary.role_since) + BOTH_HOLD_TIME - TINY,
                host,
                f"clears {other.name} at once, which it hears",
            )
            return
        if read is None:
            self._must(False, host, f"clears {other.name}, which it has not read")
            return
        since = diary.attached_at if before else max(read.since, diary.attached_at)
        both, first = since + BOTH_HOLD_TIME, 0.0 if host.id < other.id else TURNS / 2
        self._must(now >= both - TINY, host, f"clears {other.name} {now - since:.1f} s after both held")
        dates = host.api.dates
        ahead = dates.get("all", 0.0)
        into = (self.world.now + (ahead if isinstance(ahead, float) else 0.0) - first + TINY) % TURNS
        told = diary.told_time and not {"none", "still"} & {*dates.values()}
        self._must(not told or into < TURN_LASTS + SECOND + 2 * TINY, host, f"clears {other.name} outside of its turn")
        due = max(both, now - into)
        fresh = not heard or read.began >= due - age
        self._must(fresh, host, f"clears {other.name}, which it hears, by an old read")
        newer = diary.known_at >= due - host.slowest - TINY
        self._must(newer, host, f"clears {other.name} by what it knew of itself before the time of that")

    # -- what is so ---------------------------------------------------------------------------------------------------

    def _held(self, host: Host, since: float) -> bool:
        """Whether the host has held at any time since then."""
        return self.world.held(host.config.instance_id, since)[0]

    def _hears(self, host: Host, instance_id: str) -> bool:
        """Whether it heard a member within its dead time; one that is no member any more is not heard."""
        at, _ = host.heard.get(instance_id, (-math.inf, 0))
        member = host.node is not None and instance_id in host.node.admission.members
        return member and host.now - at < host.config.dead_time - TINY

    def _deceived(self, host: Host) -> bool:
        return host.now < host.deceived_at + DECEIVED
