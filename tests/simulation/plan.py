"""What one seed decides: a list of commands of `language`, in two phases.

The first phase has faults everywhere. In the second, the seed either heals everything, or picks an
*able core* and heals only that: nodes that run and are healthy, that reach the API and hear each
other. All else stays broken for good, because faults that come and go hide livelocks. Then the
holders outside the core die, the address is taken away, and so on, and the core must hold again.

Each run switches a random subset of the kinds of faults on (`KINDS`), because runs in which
everything fails a little never see what one kind does alone and always. A site of the API (host and
kind of call) either may misbehave in a run, and then often does, or never does. All times, ratios,
priorities and latencies are drawn as well.
"""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from tests.simulation import plan_api

HARMLESS = ("lists", "states", "join")  # nothing of these may move the address
KINDS = (
    "api", "slow", "kill", "revive", "crash", "leave", "sleep", "cut", "split", "swizzle", "health", "hand", "loss",
    "unknown", "unlist", "replace", "reload", "forge", *HARMLESS,
)  # fmt: skip
CUTS = ("cut", "split", "swizzle", "unknown", "unlist", "loss")  # kinds that keep live nodes from hearing each other


@dataclass(frozen=True, slots=True)
class Plan:
    """What a seed decided. `core`: the nodes of the second phase that can hold; all: everything is
    healed. `finale`: commands of the second phase, each watched for a while.
    """

    seed: int
    commands: tuple[str, ...]
    core: tuple[str, ...]
    finale: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()

    def scenario(self, watch: float, bound: float) -> str:
        """Return it as a scenario file, which expects no hole longer than `bound`."""
        able = f"able {' '.join(self.core)}"
        lines = [f"Seed {self.seed}: {able}, while all other faults stay.", "", f"> seed {self.seed}"]
        lines += [f"> {command}" for command in (*self.commands, "measure", able)]
        for command in ("", *self.finale):
            lines += [f"> {command}"] * bool(command) + [f"> advance {watch:.0f}s"]
        return "\n".join([*lines, f"> expect hole <= {bound:.0f}", ""])


class _Draft:
    """A plan that is being written. `names`: the nodes so far."""

    def __init__(self, seed: int) -> None:
        self.seed, self.rng = seed, random.Random(seed)
        self.names = list("abcde"[: self.rng.choice((2, 2, 3, 3, 3, 3, 4, 5))])
        self.sites = plan_api.Sites(self.rng, self.names)
        self.commands: list[str] = []
        self._unused = iter("fghijklmnopqrstuvwxyz" + string.ascii_uppercase)

    def new_name(self) -> str:
        """Return a name that no node of this plan has had."""
        return next(self._unused)

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def pick(self, *values: str | float) -> str:
        return str(self.rng.choice(values))

    def wait(self) -> str:
        rng = self.rng
        return f"advance {rng.choice((rng.uniform(0, 3), rng.uniform(0, 20), rng.uniform(0, 90))):.2f}s"


def plan(seed: int) -> Plan:
    """Decide a run."""
    draft = _Draft(seed)
    rng = draft.rng
    kinds = _swarm(rng)
    draft.commands += _world(draft)
    for _ in range(rng.randint(1, 10) if kinds else 0):
        draft.commands.append(draft.wait())
        draft.commands += FAULTS[rng.choice(kinds)](draft, rng.choice(draft.names))
    draft.commands.append(f"advance {rng.uniform(0, 15):.2f}s")
    heal = draft.chance(0.4)
    core = sorted(rng.sample(draft.names, rng.choice((1, 1, 2)) if len(draft.names) > 2 else 1))
    finale = () if heal else tuple(_finale(draft, core))
    if not heal and "api" in kinds:
        draft.commands += [one for name in draft.names if name not in core for one in draft.sites.for_good(name)]
    return Plan(seed, tuple(draft.commands), ("all",) if heal else tuple(core), finale, kinds)


def without_cuts(found: Plan) -> Plan:
    """Return the plan without what keeps live nodes from hearing each other, which hides much else."""
    words = ("drop", "split", "mend", "heal", "member", "loss")
    kept = tuple(command for command in found.commands if command.split()[0] not in words)
    return replace(found, commands=kept, kinds=tuple(kind for kind in found.kinds if kind not in CUTS))


def _swarm(rng: random.Random) -> tuple[str, ...]:
    if rng.random() < 0.06:
        return tuple(kind for kind in HARMLESS if rng.random() < 0.7)
    rate = rng.choice((0.15, 0.35, 0.6))
    cuts = rng.random() < 0.5
    kinds = [kind for kind in KINDS if rng.random() < rate and (cuts or kind not in CUTS)]
    return tuple(dict.fromkeys(kinds + ["api"] * (rng.random() < 0.5 or not kinds)))


def _world(draft: _Draft) -> Iterator[str]:
    rng, pick = draft.rng, draft.pick
    yield f"group {pick('refreshed', 'refreshed', 'fixed')}"
    yield f"verify {pick(30, 30, 10, 60)}s"
    yield f"delay 1ms {pick(1, 1, 50, 200)}ms"
    interval, ratio = pick("1s", "1s", "1s", "1s", "1s", "0.5s", "0.5s", "2s", "2s", "0.2s"), pick(3, 3, 2, 5)
    delay, damping = pick(0, 0, 0, "5s", "never"), pick("yes", "yes", "no")
    equal, slow = draft.chance(0.2), rng.choice((1, 1, 1, 1, 6, 16))
    operation = rng.choice((1, 1, 1, 3, 9))
    for number, name in enumerate(rng.sample(draft.names, len(draft.names))):
        priority = 10 if equal else 10 * (number + 1)
        yield f"node {name} prio={priority} interval={interval} ratio={ratio} delay={delay} damping={damping}"
        yield f"latency {name} {rng.uniform(0.02, 0.5) * slow:.3f}s"
        yield f"operation {name} {rng.uniform(0.1, 1) * operation:.2f}s"
    for name in draft.names:
        yield f"start {name}"
        yield f"advance {rng.choice((0.0, rng.uniform(0, 5))):.2f}s"
    yield f"advance {pick(0.5, 5, 20, 20, 20, 90, 90, 90)}s"
    yield from _dates(draft)


def _dates(draft: _Draft) -> Iterator[str]:
    """The clocks of the API's servers differ, and some answers do not tell the time."""
    rng = random.Random(f"{draft.seed}/dates")
    for name in draft.names if rng.random() < 0.5 else ():
        yield f"date {name} {rng.uniform(0, 10):.1f}s"
        if rng.random() < 0.2:
            kinds = rng.sample(plan_api.KINDS, rng.randint(0, len(plan_api.KINDS)))
            yield f"date {name} {rng.choice(('none', 'still'))} {' '.join(kinds)}".rstrip()


# -- faults: none ends by itself, apart from sleeps ---------------------------------------------------------------------


def _crash(draft: _Draft, name: str) -> list[str]:
    again = [f"restart {name} {draft.pick('300ms', '300ms', '5s')}", "advance 0.7s"]
    return again * draft.rng.choice((1, 1, 1, 2)) + [f"leave {name}"] * draft.chance(0.15)


def _sleep(draft: _Draft, name: str) -> list[str]:
    return [f"{draft.pick('stall', 'suspend', 'freeze')} {name} {draft.pick(0.5, 2, 4, 10, 40)}s"]


def _cut(draft: _Draft, name: str) -> list[str]:
    other = draft.pick(*[one for one in draft.names if one != name])
    return [f"{draft.pick('drop', 'drop', 'drop', 'mend')} {name}{draft.pick('->', '-')}{other}"]


def _split(draft: _Draft, name: str) -> list[str]:
    names = draft.rng.sample(draft.names, len(draft.names))
    edge = draft.rng.randint(1, len(names) - 1)
    return ["heal" if draft.chance(0.3) else f"split {''.join(names[:edge])} {''.join(names[edge:])}"]


def _swizzle(draft: _Draft, name: str) -> list[str]:
    """Close links one by one, then open them in another order, perhaps not all."""
    links = [f"{a}->{b}" for a in draft.names for b in draft.names if a != b]
    chosen = draft.rng.sample(links, draft.rng.randint(1, len(links)))
    commands = []
    for link in chosen:
        commands += [f"drop {link}", f"advance {draft.rng.uniform(0, 2):.2f}s"]
    for link in draft.rng.sample(chosen, draft.rng.randint(0, len(chosen))):
        commands += [f"mend {link}", f"advance {draft.rng.uniform(0, 2):.2f}s"]
    return commands


def _replace(draft: _Draft, name: str) -> list[str]:
    """An instance dies and another one takes its place, once or again and again."""
    commands, times = [], draft.rng.choice((1, 1, 2, 6))
    for _ in range(times):
        if "group fixed" in draft.commands:
            return [f"kill {name}"]
        new = draft.new_name()
        commands += [f"kill {name}", "advance 30s", f"instance {name} destroyed"]
        draft.names.remove(name)
        draft.names.append(new)
        commands += [*_newcomer(draft, new, 5), "advance 330s" if times > 1 else "advance 30s"]
        name = new
    return commands


def _newcomer(draft: _Draft, name: str, priority: int) -> list[str]:
    like = next(command for command in draft.commands if command.startswith("node ")).split()[3:]
    commands = [f"node {name} prio={priority} {' '.join(like)}", f"latency {name} 100ms", f"operation {name} 500ms"]
    if draft.chance(0.5):
        commands += [
            f"instance {name} starting",
            f"advance {draft.rng.uniform(0, 40):.2f}s",
            f"instance {name} running",
        ]
    draft.sites.add(name)
    return [*commands, f"start {name}"]


def _join(draft: _Draft, name: str) -> list[str]:
    """An instance starts, and later its daemon, which is worse than all others."""
    if len(draft.names) > 4 or "group fixed" in draft.commands:
        return []
    new = draft.new_name()
    draft.names.append(new)
    return _newcomer(draft, new, 200)


def _unknown(draft: _Draft, name: str) -> list[str]:
    other = draft.pick(*[one for one in draft.names if one != name])
    change = draft.pick(f"member {name} unknown-to {other}", f"member {name} known-to {other}")
    return [change, *["restart " + other + " 300ms"] * draft.chance(0.5)]


def _unlist(draft: _Draft, name: str) -> list[str]:
    """Take an instance out of the group; a stranger has all read the group; perhaps put it back."""
    strangers = [f"forge from=x to={one} as=x prio=1" for one in draft.names]
    again = [f"advance {draft.pick(3, 25, 70)}s", f"insert {name}", *strangers]
    return [f"remove {name}", *strangers, *again * draft.chance(0.7)]


def _forge(draft: _Draft, name: str) -> list[str]:
    other = draft.pick(*[one for one in draft.names if one != name])
    source = draft.pick("x", "x", name)
    return [f"forge from={source} to={name} as={draft.pick(other, name, 'x')} prio={draft.pick(0, 1, 254, 255)}"]


FAULTS: dict[str, Callable[[_Draft, str], list[str]]] = {
    "api": lambda draft, name: draft.sites.commands(name),
    "slow": lambda draft, name: [f"{draft.pick('latency', 'operation')} {name} {draft.pick('1s', '3s', '5s', '8s')}"],
    "kill": lambda draft, name: [f"kill {name}"],
    "revive": lambda draft, name: [f"revive {name}"],
    "crash": _crash,
    "leave": lambda draft, name: [f"leave {name}"],
    "sleep": _sleep,
    "cut": _cut,
    "split": _split,
    "swizzle": _swizzle,
    "health": lambda draft, name: [f"health {name} {draft.pick('bad', 'bad', 'ok')}"],
    "hand": lambda draft, name: [f"{draft.pick('attach', 'detach')}-by-hand {name}"],
    "loss": lambda draft, name: [f"loss {draft.pick(5, 10, 0)}%", f"duplicates {draft.pick(0, 20)}%"],
    "unknown": _unknown,
    "unlist": _unlist,
    "forge": _forge,
    "replace": _replace,
    "reload": lambda draft, name: [f"reload {name} prio={draft.pick(1, 15, 25, 35, 90)}"],
    "lists": lambda draft, name: [
        f"api {draft.pick(name, 'all')} refresh lists={draft.pick('0%', '50%', '0%,50%,100%')} rate={draft.pick(50, 100)}%"
    ],
    "states": lambda draft, name: [f"instance {name} {draft.pick('migrating', 'starting', 'stopping', 'running')}"],
    "join": _join,
}


def _finale(draft: _Draft, core: list[str]) -> Iterator[str]:
    """What still happens while only the core is healed."""
    happenings = ["kill-holders-but " + " ".join(core), "detach-holders-by-hand", f"restart {core[0]} 300ms"]
    if len(core) > 1:
        happenings.append(f"kill {core[1]}")
    if draft.chance(0.15):
        happenings.append("advance 600s")
    yield from draft.rng.sample(happenings, draft.rng.randint(1, len(happenings)))
    if draft.chance(0.5):
        yield happenings[0]
