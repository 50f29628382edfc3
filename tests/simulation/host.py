"""One simulated instance and its daemon: it may crash, stall, restart or leave while the host lives
on and serves, and it dies with its host.

The daemon's threads are played by `pump`: each runs when its time has come, or when the node's lock
would wake it, and not otherwise.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING
from uuid import UUID

from exoip.core.calls import Call, Failure, Lane, Outcome
from exoip.core.events import Event
from exoip.core.node import Node
from exoip.core.peers import UNFIT, ElectionConfig
from exoip.heartbeat.authentication import Proof
from exoip.heartbeat.wire import Heartbeat
from exoip.telemetry.api_health import ApiHealth
from tests.simulation.api import Api

if TYPE_CHECKING:
    from tests.simulation.world import World

EIP = "198.51.100.50"
CRASHES, CRASH_WINDOW = 3, 60.0  # as in the daemon
REFRESH_INTERVAL = 300.0  # seconds between two reads of the group
LANES = tuple(enumerate(Lane, 2))
AT_ONCE = [-math.inf] * 4  # when receiver, sender and the two lanes want to run
LEAVE_TIMEOUT = 10.0  # seconds after which a leaver exits, whatever happened


def instance_id(name: str) -> str:
    """The instance id of the host `name`: ids sort as names do."""
    return str(UUID(bytes=name.encode().ljust(16, b"\0")[:16]))


class Bell:
    """Stands in for the lock of a node: nothing waits in virtual time. `rung`: sleepers would wake."""

    __slots__ = ("rung",)

    def __init__(self) -> None:
        self.rung = False

    def __enter__(self) -> None:
        """There is one thread."""

    def __exit__(self, *error: object) -> None:
        """There is one thread."""

    def notify_all(self) -> None:
        self.rung = True


class Host:
    """One instance with its daemon, when that runs. `claims`: the name of another one, whose id it has."""

    def __init__(self, world: World, name: str, priority: int, claims: str = "", **config: float) -> None:
        self.world, self.name, self.id = world, name, instance_id(name)
        self.config = ElectionConfig(instance_id(claims or name), priority, **config)  # type: ignore[arg-type]
        self.address = f"host-{name}"
        self.api = Api(random.Random(f"{world.seed}/{name}"))
        self.up = True  # the instance runs
        self.unhealthy = ""  # why the health check fails; it outlives the daemon
        self.counts_starts = False  # whether a third start within a minute is taken for a crash loop
        self.starts: list[float] = []
        self.crashed = False  # the last daemon crashed, so the next one finds what that one knew
        self.started = -math.inf  # when the daemon last started
        self.resumed_at = -math.inf  # when its last sleep ended …
        self.slept = 0.0  # … and how many seconds of its clock that took
        self.deceived_at = -math.inf  # when the API last told it what is not so
        self.detached_at = -math.inf  # when somebody last detached it by hand
        self.heard: dict[str, tuple[float, int]] = {}  # by id: when a heartbeat last arrived, with which priority
        self.heard_unfit: dict[str, float] = {}  # by id: when one with 254 or 255 last arrived
        self.slowest = 0.0  # seconds that the slowest answer took, of those that came in time
        self.hangs_until = -math.inf  # when its last mutation that hung was given up, in the world's time
        self.node: Node | None = None
        self.bell = Bell()
        self.leaving = False
        self.generation = 0  # of the daemon: what was scheduled for an earlier one is void
        self.stalled_until = -math.inf
        self.deaf = False  # while stalled: what comes is lost (a suspended machine), not kept in the socket
        self.inbox: deque[Callable[[], object]] = deque()
        self.pump_at = math.inf
        self.quarantine = 0.0
        self.kept: tuple[float, float, bool] | None = None  # when it was stopped for a restart, knew to hold; doubt
        self.clock_behind = 0.0  # seconds for which the clock has stood still
        self.frozen_since = math.inf  # since when it stands still
        self._due: list[float] = []  # when each thread wants to run: receiver, sender, the two lanes

    @property
    def now(self) -> float:
        return self.world.now - self.clock_behind

    @property
    def stalled(self) -> bool:
        """Whether the daemon stands still."""
        return self.world.now < self.stalled_until

    @property
    def serves(self) -> bool:
        """Whether traffic that reaches the instance is answered."""
        return self.up and not (self.deaf and self.stalled)

    def start(self) -> None:
        """Start the daemon."""
        self.generation += 1
        self.started = self.world.now
        if self.counts_starts:
            self.starts = [at for at in self.starts if self.world.now - at < CRASH_WINDOW] + [self.world.now]
            self.quarantine = CRASH_WINDOW if len(self.starts) >= CRASHES else 0.0
        self.leaving, self.stalled_until = False, -math.inf
        self.inbox.clear()
        self.heard_unfit.clear()  # what an earlier daemon heard, this one does not know
        self.api_health = ApiHealth(self.id, lambda event: self.world.told(self, event))
        self.node = Node(
            self.config,
            self.world.eip,
            self.world.members(self),
            self.now,
            emit=self._tell,
            rng=self.world.rng,
            verify_interval=self.world.verify_interval,
            quarantined_until=self.now + self.quarantine,
            known=self.crashed,
        )
        self.node.refresh_in(REFRESH_INTERVAL if self.world.refresh else math.inf, self.now)
        self.node._wake = self.bell  # type: ignore[assignment]
        if self.unhealthy:
            self.node.set_unfit("health check", self.unhealthy, self.now)
        if self.kept and self.now < self.kept[0] + self.config.dead_time - self.config.interval:
            self.node.resume(self.kept[1], self.now, in_doubt=self.kept[2])
        self.kept = None
        self.pump()

    def _tell(self, event: Event) -> None:
        self.world.told(self, event)
        self.api_health.on_event(event)

    def set_health(self, unhealthy: str) -> None:
        """Let the health check fail for this reason, or, with "", pass."""
        self.unhealthy = unhealthy
        self.run(lambda: self.node and self.node.set_unfit("health check", unhealthy, self.now))

    def keep_held(self) -> None:
        """Keep what the holder knows for the next daemon, as a planned restart does."""
        state = self.node.snapshot(self.now) if self.node else None
        if state and state.protected and state.advertised < UNFIT:
            self.kept = (self.now, state.known_at, state.in_doubt)

    def crash(self) -> None:
        """The daemon is gone from one moment to the next; the host serves on."""
        self.crashed = True
        self.generation += 1
        self.node = None

    def kill(self) -> None:
        """The host is gone."""
        self.crash()
        self.up = self.crashed = False
        self.world.note(f"{self.name} is dead")

    def leave(self) -> None:
        """Stop the daemon as SIGTERM does; after 10 s it exits whatever happened."""
        if self.node is None:
            return
        generation = self.generation
        self.run(self._leave)
        self.world.after(LEAVE_TIMEOUT, lambda: generation == self.generation and self.exit())

    def _leave(self) -> None:
        assert self.node is not None
        self.leaving = True
        self.node.leave(self.now)

    def exit(self) -> None:
        """The leaver's process ends."""
        self.world.note(f"{self.name} exits")
        self.starts.clear()
        self.crash()
        self.crashed = False
        self.world.look()

    def stall(self, seconds: float, *, deaf: bool = False, frozen: bool = False) -> None:
        """The daemon does not run for a while (SIGSTOP); `deaf`: nor does the machine's network;
        `frozen`: nor its clock.
        """
        self._thaw()
        until = self.world.now + seconds
        self.stalled_until, self.deaf = until, deaf
        self.frozen_since = self.world.now if frozen else math.inf
        generation = self.generation

        def resume() -> None:
            if generation != self.generation or self.stalled_until != until:
                return  # another daemon, or another sleep
            self._thaw()
            self.deaf, self.resumed_at, self.slept = False, self.now, 0.0 if frozen else seconds
            waiting, self.inbox = list(self.inbox), deque()
            if self.world.rng.random() < 0.5 and self.node is not None:  # a thread that is not the receiver wakes first
                advert, _ = self.node.next_advert(self.now)
                if advert is not None:
                    self.world.broadcast(self, advert)
            for deliver in waiting:
                deliver()
            self.pump()

        self.world.after(seconds, resume)

    def _thaw(self) -> None:
        if self.frozen_since < math.inf:
            self.clock_behind += self.world.now - self.frozen_since
            self.frozen_since = math.inf

    def answer(self, lane: Lane, call: Call, generation: int, make: Callable[[], Outcome]) -> None:
        """Give the daemon the outcome of a call, unless another one has been started meanwhile."""
        if generation != self.generation or self.node is None:
            return
        missed = self.stalled and self.deaf

        def done() -> None:
            outcome = make()
            if missed:
                outcome = Outcome(outcome.began, outcome.ended, Failure.TIMEOUT, detail=f"{call.kind}: timeout")
            assert self.node is not None
            self.api_health.note(call, outcome)
            self.node.done(lane, call, outcome)
            for told in self.world.answers:
                told(self, call, outcome)

        self.run(done)

    def hear(self, heartbeat: Heartbeat, address: str, *, forged: bool = False) -> None:
        """Let a heartbeat arrive from `address`. A suspended machine misses it."""
        if self.deaf and self.stalled:
            return
        members = self.node.admission.members if self.node is not None else {}
        if not forged and members.get(heartbeat.instance_id, ("", 0))[0] == address:
            self.heard[heartbeat.instance_id] = self.now, heartbeat.priority
            if heartbeat.priority >= UNFIT:
                self.heard_unfit[heartbeat.instance_id] = self.now
        proof = Proof(local=address == self.address and not forged)  # the kernel lets nothing else in
        if self.stalled:
            self.run(lambda: self.node and self.node.heard(heartbeat, address, self.now, proof))
        elif self.node is not None:
            self.bell.rung = False
            self.node.heard(heartbeat, address, self.now, proof)
            if self.bell.rung:
                self.pump()

    def run(self, action: Callable[[], object]) -> None:
        """Let the daemon do something: now, or when its stall is over."""
        if self.node is None:
            return
        if self.stalled:
            generation = self.generation
            self.inbox.append(lambda: generation == self.generation and self.node is not None and action())
            return
        self.bell.rung = False
        action()
        if self.bell.rung:
            self.pump()

    def pump(self, due: float = math.inf) -> None:
        """Let the threads that wanted to run by `due` do so: send, call, let die; and all of them
        again when the node wakes them, until there is nothing left to do at this moment.
        """
        node = self.node
        if node is None or self.stalled:
            return
        bell, now = self.bell, self.now
        wanted = self._due if due < math.inf else AT_ONCE
        bell.rung = False
        if wanted[0] <= due:
            node.tick(now)
        while True:
            if bell.rung:
                bell.rung, wanted = False, AT_ONCE
            times = list(wanted)
            if wanted[1] <= due:
                advert, times[1] = node.next_advert(now)
                if advert is not None:
                    self.world.broadcast(self, advert)
            for number, lane in LANES:
                if wanted[number] <= due:
                    call, times[number] = node.next_call(lane, now)
                    if call is not None:
                        self.world.call(self, lane, call)
                        bell.rung = True
            if not bell.rung:
                break
        if self.leaving and node.finished():
            self.exit()
            return
        times[0] = node.next_death()
        self._due = times
        wake = min(times)
        if wake == math.inf:
            self.pump_at = wake
            return
        self.pump_at = wake + self.clock_behind + (1e-9 if self.clock_behind else 0.0)  # or rounding never reaches it
        self.world.at(self.pump_at, self._timer(self.generation, self.pump_at, wake))

    def _timer(self, generation: int, at: float, due: float) -> Callable[[], object]:
        return lambda: generation == self.generation and at == self.pump_at and self.pump(due)
