"""The commands of a scenario, each a method: `node a prio=10`, `advance 3s`, `drop a->b`, `kill a`,
`expect holders b`.

`README.md` beside this file lists them for those who write scenarios.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

from exoip.core.calls import Failure
from exoip.heartbeat.wire import Heartbeat, decode, encode
from tests.simulation.formula import FormulaError, evaluate, sides
from tests.simulation.meter import Meter, masters, unsettled
from tests.simulation.world import EIP, MODES, Host, Reply, World, instance_id

POLL, VERIFY = 0.25, 30.0
STEP = 0.05  # `expect within` looks that often
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_CONFIG = {
    "prio": "priority",
    "interval": "interval",
    "ratio": "dead_ratio",
    "delay": "preempt_delay",
    "damping": "flap_damping",
}
_KINDS = ("all", "attach", "detach", "poll", "read", "holders", "refresh")


class Unmet(AssertionError):
    """An expectation that is not met."""


class CommandError(ValueError):
    """A command that says nothing."""


def seconds(text: str) -> float:
    """Return `3s`, `200ms`, `5m` or `1h` in seconds; a bare number is seconds."""
    unit = text.lstrip("0123456789.")
    try:
        return float(text.removesuffix(unit)) * (_UNITS[unit] if unit else 1.0)
    except (KeyError, ValueError):
        raise CommandError(f"{text!r} is no time: write 3s, 200ms, 5m or 1h") from None


class Commands:
    """A world and what may be done to it."""

    def __init__(self, seed: int = 0) -> None:
        self.world = World(seed, quiet=False)
        self.meter = Meter(self.world)

    def run(self, line: str) -> list[str]:
        """Carry out one command; return what it says (`state`)."""
        word, *arguments = line.split()
        method: Callable[..., list[str] | None] | None = getattr(self, f"do_{word.replace('-', '_')}", None)
        if method is None:
            raise CommandError(f"{word!r} is no command")
        try:
            said = method(*arguments)
        except TypeError as error:
            raise CommandError(f"{line!r}: {error}") from error
        self.world.look()
        return said or []

    def _hosts(self, names: tuple[str, ...] | str) -> Iterator[Host]:
        names = (names,) if isinstance(names, str) else names
        for name in self.world.hosts if names == ("all",) else names:
            if name not in self.world.hosts:
                raise CommandError(f"there is no node {name!r}")
            yield self.world.hosts[name]

    # -- nodes and their hosts ----------------------------------------------------------------------------------------

    def do_node(self, name: str, *config: str) -> None:
        self.world.add(name, **_config(config)).counts_starts = True

    def do_reload(self, name: str, *config: str) -> None:
        for host in self._hosts(name):
            host.config = replace(host.config, **_config(config))
            host.run(lambda host=host: host.node.set_config(host.config, VERIFY, host.now))

    def do_start(self, *names: str) -> None:
        for host in self._hosts(names):
            if host.node is not None:
                raise CommandError(f"{host.name} runs already")
            host.up = True
            host.start()

    def do_crash(self, *names: str) -> None:
        for host in self._hosts(names):
            self.world.note(f"{host.name}  crashes")
            host.crash()

    def do_restart(self, name: str, after: str) -> None:
        """Crash, and be started again after a while."""
        self.do_crash(name)
        host = self.world.hosts[name]
        self.world.after(seconds(after), lambda: host.start() if host.up and host.node is None else None)

    def do_able(self, *names: str) -> None:
        """Heal these for good: they run, are healthy, reach the API, and hear each other; no
        heartbeat is lost.
        """
        self.world.loss = 0.0
        for host in self._hosts(names):
            host.api.heal()
            host.api.operation = min(host.api.operation, (1.0, 1.0))
            self.world.cut -= {(host.name, other) for other in names}
            host.up = True
            host.set_health("")
            if host.node is None or host.leaving:
                host.start()

    def do_kill(self, *names: str) -> None:
        for host in self._hosts(names):
            host.kill()

    def do_instance(self, name: str, state: str) -> None:
        act = {"stopped": self.world.stop_instance, "destroyed": self.world.destroy_instance}[state]
        for host in self._hosts(name):
            act(host)

    def do_leave(self, *names: str) -> None:
        for host in self._hosts(names):
            host.leave()

    def do_stall(self, *words: str) -> None:
        self._sleep(words)

    def do_suspend(self, *words: str) -> None:
        self._sleep(words, deaf=True)

    def do_freeze(self, *words: str) -> None:
        self._sleep(words, deaf=True, frozen=True)

    def _sleep(self, words: tuple[str, ...], **how: bool) -> None:
        for host in self._hosts(words[:-1]):
            host.stall(seconds(words[-1]), **how)
        self.world.after(seconds(words[-1]), self.world.look)

    def do_health(self, name: str, state: str) -> None:
        for host in self._hosts(name):
            host.set_health({"ok": "", "bad": "the health check fails"}[state])

    # -- the group ----------------------------------------------------------------------------------------------------

    def do_group(self, how: str) -> None:
        """`refreshed`: daemons started from now on read their group from the API, every 5 minutes."""
        self.world.refresh = {"refreshed": True, "fixed": False}[how]

    def do_member(self, name: str, how: str, *to: str) -> None:
        for host in self._hosts(to):
            change = {"unknown-to": self.world.unknown.add, "known-to": self.world.unknown.discard}[how]
            change((host.name, name))

    def do_remove(self, name: str) -> None:
        """Take an instance out of the group; who reads the group next learns of it."""
        self.world.gone.add(name)

    # -- the network --------------------------------------------------------------------------------------------------

    def do_drop(self, *links: str) -> None:
        for link in links:
            self.world.cut.update(self._links(link))

    def do_mend(self, *links: str) -> None:
        for link in links:
            self.world.cut.difference_update(self._links(link))

    def do_heal(self) -> None:
        self.world.cut.clear()

    def do_split(self, *groups: str) -> None:
        self.world.split(*groups)

    def _links(self, text: str) -> set[tuple[str, str]]:
        """`a->b`, `a-b` (both ways), `a->*`, `*->a`."""
        one_way = "->" in text
        left, _, right = text.partition("->" if one_way else "-")
        names = {side: list(self.world.hosts) if side == "*" else [side] for side in (left, right)}
        pairs = {(a, b) for a in names[left] for b in names[right] if a != b}
        if not pairs or not set(names[left] + names[right]) <= self.world.hosts.keys():
            raise CommandError(f"{text!r} is no link: write a->b, a-b, a->* or *->b")
        return pairs if one_way else pairs | {(b, a) for a, b in pairs}

    def do_loss(self, share: str) -> None:
        self.world.loss = _share(share)

    def do_duplicates(self, share: str) -> None:
        self.world.duplicates = _share(share)

    def do_delay(self, least: str, most: str) -> None:
        self.world.delay = seconds(least), seconds(most)

    def do_forge(self, source: str, link: str, identity: str, priority: str) -> None:
        """`forge from=x to=a as=b prio=1`: one heartbeat in b's name reaches a from x's address."""
        sender, target, name, number = (word.partition("=")[2] for word in (source, link, identity, priority))
        heartbeat = decode(encode(Heartbeat(int(number), EIP, instance_id(name))))
        for host in self._hosts(target):
            self.world.note(f"{sender} sends to {target} in the name of {name}, priority {number}")
            host.run(lambda host=host: host.node.heard(heartbeat, f"host-{sender}", host.now), packet=True)

    # -- the API ------------------------------------------------------------------------------------------------------

    def do_api(self, name: str, kind: str, *words: str) -> None:
        """`api b attach fail`, `api b attach fail once`, `api all all hang`, `api b ok`.

        Or a reply in detail: `api b attach failure=unavailable effect=no retry=120s`, `api b read
        lag=30s rate=50%`, with the words of `world.Reply`.
        """
        for host in self._hosts(name):
            if kind == "ok":
                host.api.heal()
                continue
            if kind not in _KINDS:
                raise CommandError(f"kinds are {', '.join(_KINDS)}")
            if words[-1] == "once":
                host.api.once[kind] = _mode(words[:-1])
            else:
                host.api.modes[kind] = _mode(words)
                host.api.rate[kind] = next((_share(w[5:]) for w in words if w.startswith("rate=")), 1.0)

    def do_latency(self, name: str, time: str) -> None:
        for host in self._hosts(name):
            host.api.latency = (seconds(time),) * 2

    def do_operation(self, name: str, time: str) -> None:
        for host in self._hosts(name):
            host.api.operation = (seconds(time),) * 2

    def do_attach_by_hand(self, name: str) -> None:
        for host in self._hosts(name):
            self.world.zone.force(host.id, True, self.world.now)

    def do_detach_by_hand(self, name: str) -> None:
        for host in self._hosts(name):
            self.world.zone.force(host.id, False, self.world.now)

    # -- time, looks, expectations ------------------------------------------------------------------------------------

    def do_advance(self, time: str) -> None:
        self.world.advance(seconds(time))

    def do_measure(self) -> None:
        """Holes, moves, mutations, calls and events count from here."""
        self.meter.reset()

    def do_state(self) -> list[str]:
        lines = []
        for host in self.world.hosts.values():
            words = [f"{host.name:<2} {'holds' if host.name in self.world.holders else '-':<6}"]
            if host.node is None:
                words.append("no daemon" if host.up else "dead")
            else:
                view = host.node.snapshot(host.now)
                words.append(f"{view.role:<9} {view.advertised:>3} ")
                words += [
                    word for word in ("yielded", "unfit", "in_doubt", "leaving", "degraded") if getattr(view, word)
                ]
            lines.append(" ".join(words).rstrip())
        return lines

    def do_expect(self, *words: str) -> None:
        if words[0] == "within":
            self._within(words)
        elif words[0] == "quiet":
            before = self.meter.mutations, self.meter.moves
            self.world.advance(seconds(words[1]))
            if (self.meter.mutations, self.meter.moves) != before:
                raise Unmet(f"not quiet: {self.meter.mutations - before[0]} attaches and detaches went out")
        elif found := self._unmet(words):
            raise Unmet(found)

    def _within(self, words: tuple[str, ...]) -> None:
        """`expect within D + d + A: holders b`: let time go on until it is so, at most that long."""
        limit, _, rest = " ".join(words[1:]).partition(":")
        end = self.world.now + (seconds(limit) if limit[-1] in "smh" and " " not in limit else self._value(limit))
        while self._unmet(tuple(rest.split())):
            if self.world.now >= end:
                raise Unmet(self._unmet(tuple(rest.split())))
            self.world.advance_to(min(end, self.world.now + STEP))

    def _unmet(self, words: tuple[str, ...]) -> str:
        """What is otherwise than expected; nothing when it is so."""
        what, *rest = words
        if what == "not":
            return "" if self._unmet(tuple(rest)) else f"but {' '.join(rest)}"
        match what:
            case "holders":
                return _differ(self.world.holders, rest)
            case "masters":
                return _differ(masters(self.world), rest)
            case "no" if rest == ["hole"]:
                return f"a hole of {self.meter.hole:.3f} s" if self.meter.hole > 1e-9 else ""
            case "settled":
                return unsettled(self.world)
            case "calls":
                return _number(self.meter.calls(*rest[:3]), rest[3:])
            case "events":
                return _number(self.meter.count(*rest[:2]), rest[2:])
            case "role" | "advertised" | "yielded" | "unfit" | "running" | "exited" | "doubt" | "believes":
                return self._of_node(what, *rest)
        return self._compare(" ".join(words))

    def _of_node(self, what: str, name: str, wanted: str = "") -> str:
        host = next(self._hosts(name))
        if host.node is None or what in ("running", "exited"):
            runs = host.node is not None
            return (
                ""
                if runs == (what == "running") and what in ("running", "exited")
                else f"{name} {'runs' if runs else 'is gone'}"
            )
        view = host.node.snapshot(host.now)
        found = {
            "role": str(view.role),
            "advertised": str(view.advertised),
            "believes": "holding" if view.holds else "not-holding",
        }
        if what in found:
            return "" if found[what] == wanted else f"it is {found[what]}"
        flag = {"yielded": view.yielded, "unfit": view.unfit, "doubt": view.in_doubt}[what]
        return "" if flag else f"{name} is not {what}"

    def _value(self, formula: str) -> float:
        return evaluate(formula, self.names())

    def _compare(self, text: str) -> str:
        try:
            if self._value(text):
                return ""
            return ", ".join(f"{side} = {self._value(side):.4g}" for side in sides(text) if not side[0].isdigit())
        except FormulaError as error:
            raise CommandError(str(error)) from error

    def names(self) -> dict[str, float]:
        """What formulas may name."""
        hosts = self.world.hosts.values()
        interval = max((host.config.interval for host in hosts), default=1.0)
        dead = max((host.config.dead_time for host in hosts), default=3.0)
        latency = max((host.api.latency[1] for host in hosts), default=0.0)
        operation = max((host.api.operation[1] for host in hosts), default=0.0)
        return {
            "h": interval,
            "D": dead,
            "d": self.world.delay[1] + 1e-6,
            "L": latency,
            "O": operation,
            "A": latency / 2 + operation,
            "S": POLL + 1.5 * latency,
            "poll": POLL,
            "hole": self.meter.hole,
            "holes": len(self.meter.holes),
            "moves": self.meter.moves,
            "mutations": self.meter.mutations,
            "now": self.world.now,
        }


def _config(words: tuple[str, ...]) -> dict[str, float]:
    config: dict[str, float] = {}
    for word in words:
        name, _, value = word.partition("=")
        if name not in _CONFIG:
            raise CommandError(f"{word!r} is no term: there are {', '.join(_CONFIG)}")
        if name == "damping":
            config[_CONFIG[name]] = value != "no"
            continue
        number = math.inf if value == "never" else seconds(value)
        config[_CONFIG[name]] = int(number) if name == "prio" else number
    return config


def _share(text: str) -> float:
    return float(text.removesuffix("%")) / 100


_REPLY: dict[str, tuple[str, Callable[[str], object]]] = {
    "effect": ("effect", lambda text: text == "yes"),
    "failure": ("failure", Failure),
    "retry": ("retry_after", seconds),
    "takes": ("takes", lambda text: math.inf if text == "never" else seconds(text)),
    "operation": ("operation_fails", lambda text: text == "fails"),
    "lag": ("lag", seconds),
    "lists": ("lists", _share),
    "rate": ("", _share),
}


def _mode(words: tuple[str, ...]) -> Reply | str:
    """Return what `fail`, or `failure=unavailable retry=120s`, says of a call."""
    if len(words) == 1 and words[0] in MODES:
        return words[0]
    values = {}
    for word in words:
        name, _, value = word.partition("=")
        if name not in _REPLY:
            raise CommandError(f"{word!r}: modes are {', '.join(MODES)}; words of a reply {', '.join(_REPLY)}")
        field, parse = _REPLY[name]
        if field:
            values[field] = parse(value)
    return Reply(**values)


def _differ(found: object, wanted: list[str]) -> str:
    names = sorted(found)  # type: ignore[call-overload]
    return "" if names == sorted(set(wanted) - {"nobody"}) else f"it is {', '.join(names) or 'nobody'}"


def _number(found: int, wanted: list[str]) -> str:
    test = " ".join(wanted) if len(wanted) > 1 else f"== {' '.join(wanted)}"
    return "" if evaluate(f"found {test}", {"found": found}) else f"there were {found}"
