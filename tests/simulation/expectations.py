"""What a scenario expects of the world: `expect holders a`, `expect hole <= D + d + A`."""

from __future__ import annotations

from collections.abc import Iterator

from tests.simulation.formula import FormulaError, evaluate, sides
from tests.simulation.meter import Meter, masters, unsettled
from tests.simulation.stated import stated
from tests.simulation.words import CommandError, seconds
from tests.simulation.world import Host, World

POLL = stated("core.mutations.POLL")
OPERATION_TIMEOUT = stated("core.mutations.OPERATION_TIMEOUT")
STEP = 0.05  # `expect within` looks that often


class Unmet(AssertionError):
    """An expectation that is not met."""


class Expectations:
    """A world, what is measured in it, and what is expected of it."""

    def __init__(self, seed: int = 0) -> None:
        self.world = World(seed, quiet=False)
        self.meter = Meter(self.world)

    def hosts(self, names: tuple[str, ...] | str) -> Iterator[Host]:
        """Yield these hosts; "all" is everyone."""
        names = (names,) if isinstance(names, str) else names
        for name in list(self.world.hosts) if names == ("all",) else names:
            if name not in self.world.hosts:
                raise CommandError(f"there is no node {name!r}")
            yield self.world.hosts[name]

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
            case "settled-but":
                live = [name for name in self.world.holders if self.world.hosts[name].serves]
                return (
                    "" if live and len(live) == len(self.world.holders) and rest[0] not in live else f"held by {live}"
                )
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
        host = next(self.hosts(name))
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
        operations = [host.api.operation[1] for host in hosts]
        operation = max((took for took in operations if took <= OPERATION_TIMEOUT), default=0.0)  # others never end
        return {
            "h": interval,
            "D": dead,
            "d": self.world.delay[1] + 1e-6,
            "L": latency,
            "O": operation,
            "A": latency / 2 + operation,
            "S": POLL + 1.5 * latency,
            "poll": POLL,
            "n": len(hosts),
            "hole": self.meter.hole,
            "holes": len(self.meter.holes),
            "moves": self.meter.moves,
            "mutations": self.meter.mutations,
            "now": self.world.now,
        }


def _differ(found: object, wanted: list[str]) -> str:
    names = sorted(found)  # type: ignore[call-overload]
    return "" if names == sorted(set(wanted) - {"nobody"}) else f"it is {', '.join(names) or 'nobody'}"


def _number(found: int, wanted: list[str]) -> str:
    test = " ".join(wanted) if len(wanted) > 1 else f"== {' '.join(wanted)}"
    return "" if evaluate(f"found {test}", {"found": found}) else f"there were {found}"
