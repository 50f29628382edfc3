"""What each daemon may do, say and send at each moment, by what has happened so far, in every run.

The judge looks at what comes of it: who holds. The witness looks at each step, so it sees a broken
rule also if nothing bad comes of it in this run. It knows what goes in and out of a daemon (`diary`)
and what is so in the world. An answer that was not so excuses what follows from it.
"""

from __future__ import annotations

import math

from exoip.core.advert_timer import Advert
from exoip.core.calls import Failure, Kind
from exoip.core.events import Cause, Event, EventName
from exoip.core.peers import HOLDING_UNFIT, LEAVING, PROTECTED, UNFIT, Role
from tests.simulation import group
from tests.simulation.diary import Diary
from tests.simulation.host import CRASH_WINDOW, Host
from tests.simulation.stated import stated
from tests.simulation.witness_calls import TINY, CallWitness
from tests.simulation.world import World

FIRST_RETRY = stated("core.backoff.FIRST_RETRY")
LONGEST_RETRY = stated("core.backoff.LONGEST_RETRY")
LONGEST_MOVE_RETRY = stated("core.backoff.LONGEST_MOVE_RETRY")
LONGEST_UNFIT = stated("core.backoff.LONGEST_UNFIT")
CHANGES = stated("core.flap_damping.CHANGES")
WINDOW = stated("core.flap_damping.WINDOW")
ATTACH_LASTS = stated("core.ownership.ATTACH_LASTS")
FIRST_STAND_BACK = stated("core.split_brain.FIRST_STAND_BACK")
LONGEST_STAND_BACK = stated("core.split_brain.LONGEST_STAND_BACK")
TRIES = 3  # failures that make a node unfit
SETTLED = 60.0  # seconds of silence after which a stand-back is not over because of a look that came early


class Witness(CallWitness):
    """Watches every daemon of a world, its heartbeats and events as well."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        world.listeners.append(self._told)
        world.senders.append(self._sends)
        world.watchers.append(self._look)

    # -- heartbeats ---------------------------------------------------------------------------------------------------

    def _sends(self, host: Host, advert: Advert) -> None:
        """What a node advertises is what it is."""
        priority, diary, node = advert.heartbeat.priority, self._of(host), host.node
        ill = host.unhealthy or (host.quarantine and self.world.now < host.starts[-1] + CRASH_WINDOW - TINY)
        if priority == host.config.priority and not (host.leaving or diary.releasing or diary.unfit or ill):
            return  # nearly always
        self._must((priority == LEAVING) == host.leaving, host, f"advertises {priority}, leaving: {host.leaving}")
        if host.leaving or node is None:
            return
        holds = node._ownership.observed.own.held
        awoke = host.resumed_at == host.now  # perhaps its fitness changed meanwhile, which it reports a moment later
        if diary.releasing:
            self._must(priority == UNFIT, host, f"advertises {priority} while it releases")
        elif diary.unfit and priority != UNFIT:
            self._must(priority == HOLDING_UNFIT or awoke, host, f"advertises {priority}, unfit")
        elif diary.unfit and host.name in self.world.holders:
            self._must(not holds or diary.role is Role.LISTENING, host, "advertises 254, unfit and holding")
        self._must(priority != PROTECTED or holds, host, "advertises 0 and does not hold")
        self._must(
            not ill or priority >= HOLDING_UNFIT or awoke, host, f"advertises {priority}, though it is to stand aside"
        )

    def _heard(self, host: Host, event: Event) -> None:
        """Only a node's own heartbeats make it alive or change its priority; only silence makes it dead."""
        at, priority = host.heard.get(event.instance_id, (-math.inf, -1))
        if event.name is EventName.PEER_DEAD:
            paused = host.slept >= host.config.dead_time / 2 + host.config.interval
            silent = host.now - max(at, self._of(host).started, host.resumed_at if paused else -math.inf)
            self._must(
                silent >= host.config.dead_time - TINY, host, f"takes one for dead that it heard {silent:.1f} s ago"
            )
        elif host.resumed_at != host.now:  # when it reads what waited in the socket
            genuine = at == host.now and priority == event.details["priority"]
            self._must(genuine, host, f"{event.name}: nothing came from {self.world.plain(event.instance_id)}")

    # -- events -------------------------------------------------------------------------------------------------------

    def _told(self, host: Host, event: Event) -> None:
        diary = self._of(host)
        match event.name:
            case EventName.PEER_ALIVE | EventName.PEER_PRIORITY | EventName.PEER_DEAD:
                self._heard(host, event)
            case EventName.PEER_ADDED | EventName.PEER_REMOVED:
                self._member(host, event)
            case EventName.FAILED:
                self._failed(host, diary, event)
            case EventName.YIELDED:
                self._yielded(host, diary, event)
            case EventName.STAND_BACK_OVER:
                self._stand_back_over(host, diary, event)
            case EventName.LOST if diary.role is Role.MASTER:
                self._lost(diary, event.at)
            case EventName.UNFIT if event.details["cause"] in ("attach", "detach"):
                long = float(str(event.details["for"]))
                self._must(long <= LONGEST_UNFIT + TINY, host, f"is unfit for {long} s")
                diary.unfit_until = event.at + long if event.details["cause"] == "attach" else -math.inf
            case EventName.FIT:
                alive = [said for at, said in host.heard.values() if event.at - at < host.config.dead_time]
                nobody_holds = min(alive, default=UNFIT) >= UNFIT
                diary.fit_early = event.at < diary.unfit_until - TINY and not nobody_holds
                diary.unfit_until = -math.inf
            case EventName.ROLE:
                takes = event.details["cause"] == Cause.NOBODY_HOLDS and event.details["role"] == Role.MASTER
                takes = takes and diary.role is Role.BACKUP
                diary.relieves = str(event.details["old_master"]) if takes else ""
                diary.relieves_since = diary.decided_at
            case EventName.HOLDS:
                self._must(self._held(host, diary.own_read) or self._deceived(host), host, "says that it holds")
            case _:
                pass
        diary.told(host, event)
        if event.name is EventName.ROLE:
            self._role(host, diary, event)

    def _role(self, host: Host, diary: Diary, event: Event) -> None:
        """A node that becomes master attaches at once, if it does not hold; one that flaps says so."""
        recent = [at for at in diary.changes if at > event.at - WINDOW]
        flaps = host.config.flap_damping and len(recent) > CHANGES
        self._must(not flaps or diary.damped, host, f"changed its role {len(recent)} times and is not damped")
        node = host.node
        self._attach_overdue(host, diary)
        if diary.role is not Role.MASTER or node is None:
            diary.attach_due = math.inf
        elif event.details["old_role"] != Role.MASTER and host.name not in self.world.mute:
            ownership = node._ownership
            if ownership.mutations.idle and not ownership.observed.own.held:
                diary.attach_due = event.at

    def _member(self, host: Host, event: Event) -> None:
        """Who is heard and in the group is a member, and a stranger is not."""
        other = self.world.by_id.get(event.instance_id)
        if event.name is EventName.PEER_ADDED:
            self._must(other is not None, host, "takes a stranger for a member")
        elif other is not None and self.world.exists(other) and host.config.instance_id == host.id:
            at, _ = host.heard.get(event.instance_id, (-math.inf, 0))
            alive = host.now - at < host.config.dead_time
            self._must(not (alive and self.world.in_group(host, other)), host, f"drops the member {other.name}")

    def _failed(self, host: Host, diary: Diary, event: Event) -> None:
        """A failed attach or detach is tried again soon; three failed attaches make a node unfit."""
        failure, again = event.details["failure"], float(str(event.details["again"]))
        self._must(again <= LONGEST_MOVE_RETRY + TINY, host, f"waits {again:.1f} s after {failure}")
        if (
            event.details["call"] == Kind.ATTACH
            and host.node
            and not diary.unfit
            and not host.node.snapshot(host.now).holds
        ):
            diary.attaches_failed += {Failure.TIMEOUT: 0, Failure.FORBIDDEN: TRIES}.get(failure, 1)

    def _yielded(self, host: Host, diary: Diary, event: Event) -> None:
        """A node stands back only from one that is silent and holds; ever longer from the same one."""
        long, name = float(str(event.details["for"])), self.world.plain(event.instance_id)
        at, _ = host.heard.get(event.instance_id, (-math.inf, 0))
        overdue = host.now > at + host.config.interval - TINY
        silent = overdue or host.resumed_at >= at or not self._hears(host, event.instance_id)
        self._must(silent, host, f"stands back from {name}, which it hears")
        rival = self.world.by_id.get(event.instance_id)
        holds = rival is not None and self._held(rival, self.world.now - 10.0 - 2 * host.slowest)
        self._must(holds or self._deceived(host), host, f"stands back from {name}, which does not hold")
        if host.name not in self.world.mute:
            another = event.instance_id != diary.rival  # the earlier one may be gone since
            ago = event.at - diary.attached_at > 16 * diary.stand_back
            longer = another or ago or long >= min(2 * diary.stand_back, LONGEST_STAND_BACK)
            self._must(longer, host, f"stands back for {long:.0f} s, after {diary.stand_back:.0f} s")
            short = long <= 2 * FIRST_STAND_BACK or not diary.forgot
            self._must(short, host, f"stands back for {long:.0f} s, though nobody held")
            diary.stand_back, diary.stands_until, diary.forgot = long, event.at + long, False
            diary.rival = event.instance_id
        diary.standing_since = event.at

    def _stand_back_over(self, host: Host, diary: Diary, event: Event) -> None:
        """It ends when its time is over, the rival is heard, or nobody holds any more."""
        stood, diary.standing_since = event.at - diary.standing_since, math.inf
        diary.stands_until = math.inf
        diary.forgot = event.details["cause"] == Cause.NOBODY_HOLDS
        if diary.forgot and not self._deceived(host):
            since = self.world.now - 10.0 - 2 * host.slowest
            members = host.node.admission.members if host.node else {}
            living = [one.name for one in self.world.hosts.values() if self._runs(one) and one.id in members]
            living = [
                one for one in living if self._silent(host, one) and self.world.held(self.world.hosts[one].id, since)[1]
            ]
            self._must(not living, host, f"says that nobody holds, but {living} do")
        elif event.details["cause"] == Cause.TIME and host.name not in self.world.mute:
            self._must(stood >= diary.stand_back - TINY or diary.stand_back == 0, host, f"stood back for {stood:.0f} s")
        if event.details["cause"] != Cause.TIME or self._hears(host, diary.rival):
            diary.stand_back = 0.0

    def _lost(self, diary: Diary, now: float) -> None:
        """An attach that somebody undoes within a minute is delayed ever longer."""
        if now - diary.attached_at >= ATTACH_LASTS:
            diary.undone = 0
            return
        diary.pause = now + min(FIRST_RETRY * 2**diary.undone, 0.8 * LONGEST_RETRY)
        diary.undone += 1

    # -- what is overdue ----------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Take note of what should have happened by now."""
        for host in self.world.hosts.values():
            if host.node is None or host.stalled:
                continue
            diary, now = self._of(host), host.now
            self._attach_overdue(host, diary)
            if host.leaving or host.name in self.world.mute:
                diary.stands_until = math.inf
            if now > diary.stands_until + TINY:
                self._must(False, host, "stands back, though its time is over")
                diary.stands_until = math.inf
            calm = not diary.damped or now < diary.changes[-1] + WINDOW + TINY
            self._must(calm, host, "is damped without end")
            if diary.attaches_failed >= TRIES and not diary.unfit:
                self._must(host.leaving, host, f"failed {diary.attaches_failed} times to attach and is not unfit")
                diary.attaches_failed = 0

    def _runs(self, host: Host) -> bool:
        """Whether an instance runs, also by what the API shows of it."""
        now = self.world.now
        return (
            host.up
            and self.world.exists(host)
            and group.read(self.world.zone.instance(host.id, now), False, now).running
        )

    def _silent(self, host: Host, other: str) -> bool:
        at, _ = host.heard.get(self.world.hosts[other].id, (-math.inf, 0))
        return at < host.now - SETTLED
