"""One fault at a time, out of quiet: the bounds of the protocol document, to the hundredth of a second.

Random faults in heaps can be judged by wide bounds only. So every third seed draws a world without
other troubles, and lets one row of `FAULTS` after another happen to it: a scenario whose commands and
expectations are those of `language`. H is the present holder, N the node that is to take over, W the
worst one. In between everything is healed and has to settle, without a hole.

Names in the formulas as in the protocol document; T is the rounding of a measurement.
"""

from __future__ import annotations

import random
import traceback
from collections.abc import Iterator
from dataclasses import dataclass

from tests.simulation.coverage import Coverage
from tests.simulation.expectations import Unmet
from tests.simulation.language import Commands
from tests.simulation.meter import masters, unsettled
from tests.simulation.plan import Plan
from tests.simulation.result import Result

T = "0.02"
SETTLES = 2000.0  # seconds to settle at most once all is healed: an unfit time and the longest damping
STILL = 45.0  # seconds without a move and with one right holder: settled
TAKEN = f"expect hole <= D + d + A + {T}"
ALONE = f"expect within D + d + A + S + A + {T}: holders N"  # … and the dead one is cleared
NOTHING = ("advance 40s", "expect mutations == 0", "expect no hole")


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, from the commands that make it to what is expected.

    `nodes`: it takes so many. `needs`: it takes nodes with these terms.
    """

    name: str
    commands: tuple[str, ...]
    nodes: int = 2
    needs: tuple[str, ...] = ()

    def fits(self, world: tuple[str, ...]) -> bool:
        """Whether it can happen in a world made by these commands."""
        nodes = [command for command in world if command.startswith("node ")]
        return len(nodes) >= self.nodes and set(self.needs) <= set(nodes[0].split())


def _unable(name: str, how: str, costs: str) -> Fault:
    """The next best node cannot attach when the holder dies; it costs so much."""
    within = f"expect hole <= D + d + A + {costs} + {T}"
    return Fault(name, (*(f"api N {each}" for each in how.split(" + ")), "kill H", "advance 60s", within), 3)


FAULTS = (
    Fault("the holder dies", ("kill H", ALONE, TAKEN, "advance 40s", "expect moves == 1")),
    Fault("another node dies", ("kill W", *NOTHING)),
    Fault("the holder's daemon crashes", ("crash H", ALONE, "expect no hole")),
    Fault("a daemon restarts at once", ("restart H 300ms", *NOTHING)),
    Fault("another daemon restarts", ("restart W 5s", *NOTHING)),
    Fault("the holder is stopped", ("leave H", f"expect within 2*d + A + {T}: moves == 1", "expect within 12: holders N",
                                    "expect no hole", "expect within 1: exited H", "advance 40s", "expect moves == 1")),
    Fault("all are stopped but one", ("leave W", "advance 20s", "expect no hole", "expect mutations == 0")),
    Fault("stopped before it has listened", ("restart H 300ms", "advance 700ms", "leave H", "advance 40s", "expect no hole")),
    Fault("the holder's service fails", ("health H bad", f"expect within 2*d + A + {T}: moves == 1",
                                         "expect within 15: holders N", "expect no hole", "advance 40s", "expect moves == 1")),
    Fault("the service fails everywhere", ("health all bad", *NOTHING)),
    Fault("the holder fails, then leaves", ("health all bad", "advance 9s", "leave H", f"expect within 2*d + A + {T}: moves == 1",
                                            "expect within 12: settled-but H", "expect no hole")),
    Fault("a short stall", ("stall H SHORTs", *NOTHING)),
    Fault("a long stall", ("stall H LONGs", "advance 60s", "expect no hole", "expect moves <= 2")),
    Fault("a suspended machine", ("suspend H LONGs", "advance 60s", TAKEN)),
    Fault("a suspended machine, not the holder", ("suspend W LONGs", "advance 60s", "expect no hole", "expect mutations == 0")),
    Fault("a cut", ("drop H->* *->H", "advance 120s", "expect no hole", "expect moves <= 2 + log2(1 + 120/60)")),
    Fault("a short cut", ("drop H->* *->H", "advance LONGs", "heal", "advance 60s", "expect no hole", "expect moves <= 3")),
    Fault("a one-way cut", ("drop N->H", "advance 120s", "expect no hole", "expect moves <= 1")),
    Fault("the other one-way cut", ("drop H->N", "advance 120s", "expect no hole", "expect moves <= 6")),
    Fault("attached by hand", ("attach-by-hand W", "expect within 130 + 4*L: settled-but x", "expect no hole")),
    Fault("detached by hand", ("detach-by-hand H", "advance 60s", f"expect hole <= 30 + 2.5*L + A + {T}", "expect moves == 1")),
    Fault("detached by hand again and again", ("detach-by-hand H", "advance 40s", "detach-by-hand H", "advance 40s",
                                               "detach-by-hand H", "advance 40s", "expect mutations <= 8")),
    Fault("a holder may not release", ("api H detach refuse", "health H bad", "advance 20s", "expect calls N detach H == 0",
                                       "expect within 120: holders N", "expect no hole")),
    Fault("a forged heartbeat", ("forge from=x to=N as=H prio=254", "forge from=x to=H as=N prio=0", *NOTHING)),
    Fault("forged heartbeats of a dead node", ("kill H", "forge from=x to=N as=H prio=1", "advance 1s",
                                               "forge from=x to=N as=H prio=1", "advance 60s", TAKEN)),
    Fault("heartbeats of a stranger as the holder dies", (
        "kill H", *("forge from=x to=N as=x prio=1", "advance SHORTs") * 4, "advance 60s", TAKEN)),
    Fault("a service that fails for a moment", (
        *("health H bad", "advance FEWs", "health H ok", "advance 20s") * 4, "expect no hole", "expect moves <= 8")),
    Fault("another node sleeps for long", ("stall N LONGs", *NOTHING)),
    Fault("a crash loop", (*("restart H 300ms", "advance 4s") * 3, "expect within 15: holders N", "expect no hole")),
    Fault("an attach is lost from sight", (
        "api N attach lost", "health H bad", "advance 500ms", "health H ok", "expect within 75 + 4*L: settled-but x",
        "expect no hole")),
    Fault("a former holder cannot read itself", (
        "health H bad", "advance FEWs", "api H read hang", "api H poll hang", "api H holders hang", "advance 1s",
        "health H ok", "advance 300ms", "kill N", "advance 60s", f"expect hole <= D + d + 10 + 2 + 2.5 + A + {T}")),
    Fault("a better node comes back to a protected holder", (
        "kill H", "advance 30s", "revive H", "measure", "advance 4s", "expect moves == 0", "expect no hole"), needs=("delay=5s",)),
    Fault("a protected holder's daemon restarts", (
        "kill H", "advance 40s", "reload H delay=never", "reload N delay=never", "revive H", "advance 4s", "measure",
        "restart N 300ms", "advance 4s", "expect moves == 0", "expect no hole"), needs=("delay=5s",)),
    Fault("a service flaps, and stops doing so", ("flap", "advance 30m", "expect events * calm >= 1"), needs=("damping=yes", "delay=0")),
    Fault("a flapping service", ("flap", "expect moves <= 9", "expect no hole"), needs=("damping=yes",)),
    Fault("the API is away for long, then the holder dies", (
        "api all all unreachable", "advance 90s", "kill H", "advance 45s", "api all ok", "measure", "advance 30s",
        f"expect hole <= 5 + L + A + 1 + {T}")),
    Fault("the API is away as the holder dies", (
        "api all all unreachable", "kill H", "advance 45s", "api all ok", "measure", "advance 30s",
        f"expect hole <= 5 + L + A + 1 + {T}")),
    Fault("reads hang as the holder dies", ("api N read hang", "kill H", "advance 20s", TAKEN)),
    Fault("the answer of an attach is lost", ("api N attach lost once", "kill H", "advance 40s", "expect hole <= D + d + A + 0.1")),
    Fault("an answer comes late", ("api N attach late once", "kill H", "advance 60s", "expect hole <= D + d + A + 0.1",
                                   "expect within 60: settled-but H")),
    _unable("the next one is refused", "attach refuse", "L + d"),
    _unable("the next one gets 5xx", "attach fail", "1.9 + 3*L + d"),
    _unable("the next one gets 5xx once", "attach fail once", "0.6 + L"),
    _unable("the next one's call hangs", "attach hang", "10 + d"),
    _unable("the next one's operation fails", "attach operation", "1.9 + 3*(A + S) + d"),
    _unable("the next one is told to wait", "attach effect=no failure=unavailable retry=300s", "L + d"),
    _unable("the next one's operation never ends", "attach operation=never + read hang + poll hang", "12 + d"),
    Fault("the master cannot clear", ("api N detach hang", "kill H", "expect within D + d + A + 20 + 15 + 12 + 2*S: settled-but H",
                                      TAKEN), 3),
)  # fmt: skip


def commands_of_world(rng: random.Random) -> Iterator[str]:
    """Yield what makes a world without troubles."""
    names = "abcd"[: rng.choice((2, 3, 3, 3, 4))]
    yield f"group {rng.choice(('refreshed', 'fixed'))}"
    delay = rng.choice((1, 1, 20))
    yield f"delay {delay / 2}ms {delay}ms"
    interval, ratio = rng.choice(("500ms", "1s", "1s", "2s")), rng.choice((2, 3, 3, 5))
    preempt, damping = rng.choice(("0", "0", "0", "5s", "never")), rng.choice(("yes", "yes", "no"))
    equal = rng.random() < 0.25
    for number, name in enumerate(rng.sample(names, len(names))):
        priority = 10 if equal else 10 * (number + 1)
        yield f"node {name} prio={priority} interval={interval} ratio={ratio} delay={preempt} damping={damping}"
    yield f"latency all {rng.uniform(0.02, 0.5):.3f}s"
    yield f"operation all {rng.uniform(0.05, 1):.3f}s"
    for name in names:
        yield f"start {name}"
        yield f"advance {rng.uniform(0, 1):.2f}s"


class Single:
    """One run: a world, and some faults out of quiet."""

    def __init__(self, seed: int, *, quiet: bool = True, faults: tuple[Fault, ...] = ()) -> None:
        self.rng = random.Random(seed)
        start = tuple(commands_of_world(self.rng))
        self.commands = Commands(seed)
        self.world = self.commands.world
        if quiet:
            self.world.transcript = None
        possible = [fault for fault in FAULTS if fault.fits(start)]
        self.faults = faults or tuple(self.rng.sample(possible, 5))
        self.result = Result(Plan(seed, start, ("all",), kinds=tuple(fault.name for fault in self.faults)))
        self.coverage = Coverage(self.world)

    def run(self) -> Result:
        """Run it; a run that raises is a violation too."""
        result = self.result
        try:
            for command in result.plan.commands:
                self.commands.run(command)
            if self._settles("the start"):
                for fault in self.faults:
                    if not (self._happens(fault) and self._heals(fault)):
                        break
        except Exception:
            result.violations.append(traceback.format_exc())
        result.virtual, result.nodes = self.world.now, len(self.world.hosts)
        result.moves, result.transcript = self.commands.meter.moves, self.world.transcript or []
        result.rules = self.coverage.counts()
        return result

    def _happens(self, fault: Fault) -> bool:
        self.world.advance(self.rng.uniform(0, 3))
        self.commands.run("measure")
        for command in self._with_names(fault):
            try:
                for each in self._flaps() if command == "flap" else [command]:
                    self.commands.run(each)
            except Unmet as unmet:
                return self._violated(f"{fault.name}: {command}: {unmet}")
        return True

    def _with_names(self, fault: Fault) -> Iterator[str]:
        holder = masters(self.world)[0]
        others = sorted(
            (host for host in self.world.hosts.values() if host.name != holder),
            key=lambda host: (host.config.priority, host.id),
        )
        dead = self.world.hosts[holder].config.dead_time
        words = {"H": holder, "N": others[0].name, "W": others[-1].name, "all": "all"}
        short, long = f"{dead * self.rng.uniform(0.1, 0.3):.2f}", f"{dead * self.rng.uniform(1.6, 4) + 3:.2f}"
        for command in fault.commands:
            text = command.replace("SHORT", short).replace("LONG", long)
            text = text.replace("FEW", f"{self.rng.uniform(0, 6):.2f}")
            yield " ".join(_named(word, words) for word in text.split())

    def _flaps(self) -> Iterator[str]:
        holder = masters(self.world)[0]
        for _ in range(12):
            yield from (f"health {holder} bad", "advance 8s", f"health {holder} ok", "advance 12s")

    def _heals(self, fault: Fault) -> bool:
        self.commands.run("heal")
        self.commands.run("able all")
        self.commands.run("measure")
        return self._settles(f"{fault.name}, healed")

    def _settles(self, what: str) -> bool:
        world = self.world
        began = still = world.now
        why = "not looked at"
        while world.now < began + SETTLES and (why or world.now < still + STILL):
            mutations = len(world.mutations)
            world.advance(1.0 if world.now < began + 60 else 10.0)
            why = unsettled(world)
            if why or mutations != len(world.mutations):
                still = world.now
        self.result.converged_after = max(self.result.converged_after, still - began)
        if why:
            return self._violated(f"{what}: not settled after {SETTLES:.0f} s: {why}")
        if what != "the start" and self.commands.meter.hole > 0.02 and self.commands.meter.holes:
            return self._violated(f"{what}: a hole of {self.commands.meter.hole:.2f} s") if self._ours() else True
        return True

    def _ours(self) -> bool:
        """Whether a live node held when all was healed, so that a hole after that is the nodes' own."""
        return len(self.commands.meter.holes) > 1

    def _violated(self, what: str) -> bool:
        self.result.violations.append(f"{self.world.now:.1f}: {what}")
        self.world.note(f"VIOLATION: {what}")
        return False


def _named(word: str, names: dict[str, str]) -> str:
    for old, new in names.items():
        if word == old or word.startswith((f"{old}->", f"to={old}")):
            word = new + word[len(old) :] if not word.startswith("to=") else f"to={new}"
        if word.startswith("as=") and word == f"as={old}":
            word = f"as={new}"
        if word.endswith(f"->{old}"):
            word = word[: -len(old)] + new
    return word
