"""Plan the faults of a run: what happens to which node, and when.

A seed decides the whole plan before anything starts. Pure; all times in seconds.

    crash     SIGKILL; the daemon starts again. Its instance keeps serving meanwhile
    host      the instance dies with its daemon; the API still shows it running. It boots again,
              with an empty runtime directory
    halt      the same, but the API shows it stopped
    destroy   the instance is destroyed, and created again with the same id
    stop      SIGTERM; then the daemon starts again
    freeze    SIGSTOP, then SIGCONT
    reload    SIGHUP with another priority (`detail`)
    group     the instance leaves the group and joins it again; all nodes reload each time
    cut       no heartbeat passes between `node` and `other`
    isolate   no heartbeat passes between `node` and any other node
    oneway    no heartbeat passes from `node` to `other`
    deny      the same, but the kernel of `node` reports each send as failed
    api       the fault `order` is active in the API
    sick      the health check of `node` fails
    latency   each call of `node`, or of all nodes, takes `detail` seconds
    detach    an outsider detaches the Elastic IP from its holder
    attach    an outsider attaches it to `node`
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from exoip.sandbox.model import make_id
from tests.process.faults import orders
from tests.process.faults.orders import Ordered

ENDS = ("crash", "host", "halt", "destroy", "stop")  # the daemon ends and is started again
DAEMON = (*ENDS, "freeze", "reload")  # one of these at a time for one node
NETWORK = ("cut", "oneway", "isolate", "deny")
POINTS = ("reload", "detach", "attach")  # over at once: there is nothing to undo
_WEIGHTS = {
    "crash": 10, "host": 10, "halt": 3, "destroy": 2, "stop": 10, "freeze": 14, "reload": 6, "group": 2,
    "cut": 8, "oneway": 6, "isolate": 6, "deny": 3, "api": 26, "latency": 4, "detach": 3, "attach": 3, "sick": 6,
}  # fmt: skip
KINDS = tuple(_WEIGHTS)


def instance_id(node: str) -> str:
    """Return the id of a node, the same in every run."""
    return make_id("ch-gva-2", "instance", node)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, `at` seconds after the beginning of its spell.

    It lasts `lasts` seconds; inf: until the next spell, so also during the quiet time.
    """

    at: float
    kind: str
    node: str = ""
    lasts: float = 0.0
    other: str = ""
    detail: float = 0.0
    order: Ordered | None = None

    def __str__(self) -> str:
        what = str(self.order) if self.order else " ".join(filter(None, (self.kind, self.node or "all", self.other)))
        if self.kind in ("reload", "latency"):
            what += f" {self.detail:g}"
        if self.kind in POINTS:
            return f"+{self.at:.2f} {what}"
        return f"+{self.at:.2f} {what}" + (
            ", until the next spell" if self.lasts == math.inf else f" for {self.lasts:.2f} s"
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole run: the nodes with their first priorities, and the spells.

    `spared`: the node whose daemon never ends. `damping`: with flap damping, the default; otherwise
    the best node takes over at once. `checks`: each node has a health check. `strict`: no node's
    detach may leave the Elastic IP without a live holder; several faults at once may cause that.
    """

    name: str
    priorities: dict[str, int]
    spells: tuple[tuple[Fault, ...], ...]
    spared: str = ""
    damping: bool = False
    checks: bool = False
    strict: bool = False

    @property
    def faults(self) -> int:
        return sum(map(len, self.spells))


class _Dice:
    """Make the choices of one random plan."""

    def __init__(self, seed: int, dead_time: float, nodes: int, cuts: bool) -> None:
        self.chance = chance = random.Random(seed)
        self.dead_time = dead_time
        self.nodes = [f"n{number}" for number in range(1, nodes + 1)]
        equal = chance.random() < 0.25
        self.first = dict(
            zip(self.nodes, [10] * nodes if equal else chance.sample(range(10, 60, 10), nodes), strict=True)
        )
        self.priorities = dict(self.first)
        self.spared = chance.choice(self.nodes)
        self.damping = chance.random() < 0.3
        self.down: set[str] = set()  # through the quiet before this spell
        self.weights = {kind: weight for kind, weight in _WEIGHTS.items() if cuts or kind not in NETWORK}

    def spell(self, most: int) -> tuple[Fault, ...]:
        """Return the next spell, of at most `most` faults."""
        chance, faults = self.chance, list[Fault]()
        self.free = [node for node in self.nodes if node not in self.down]  # of faults of their daemon
        self.starting = bool(self.down)
        self.down = set()
        at = 0.0
        for _ in range(min(most, chance.choice((1, 1, 2, 2, 3, 4, 5)))):
            faults.append(self._fault(at))
            at += chance.choice((0.0, chance.uniform(0, 1), chance.uniform(0, 3))) * self.dead_time
        return tuple(self._harmless(fault) for fault in faults)

    def _harmless(self, fault: Fault) -> Fault:
        """Return it without a rejected key for a daemon that starts, which would rightly exit."""
        if self.starting and fault.order and orders.ORDERS[fault.order.name].refuses:
            return replace(fault, order=replace(fault.order, path=orders.MUTATIONS))
        return fault

    def _fault(self, at: float) -> Fault:
        while True:
            kind = self.chance.choices(list(self.weights), list(self.weights.values()))[0]
            victims = [n for n in self.free if kind not in ENDS or n != self.spared] if kind in DAEMON else self.nodes
            if victims and (kind != "group" or len(self.free) == len(self.nodes)):
                return self._of(kind, at, self._victim(victims))

    def _victim(self, victims: list[str]) -> str:
        """The best of them half of the time: it is the one that holds, or would."""
        if self.chance.random() < 0.5:
            return min(victims, key=lambda node: (self.priorities[node], instance_id(node)))
        return self.chance.choice(victims)

    def _lasts(self) -> float:
        chance = self.chance
        return chance.choice((chance.uniform(0, 0.6), chance.uniform(0.5, 2), chance.uniform(1.5, 4))) * self.dead_time

    def _of(self, kind: str, at: float, node: str) -> Fault:
        chance, lasts = self.chance, 0.0 if kind in POINTS else self._lasts()
        if kind in DAEMON:
            self.free.remove(node)
        if kind == "group":
            self.free = []
        if kind in ENDS:
            self.starting = True
        if kind in ("host", "halt", "stop") and chance.random() < 0.3:
            self.down.add(node)
            lasts = math.inf
        if kind == "reload":
            self.priorities[node] = chance.choice(range(10, 60, 10))
            return Fault(at, kind, node, detail=self.priorities[node])
        if kind in NETWORK and kind != "isolate":
            return Fault(at, kind, node, lasts, chance.choice([other for other in self.nodes if other != node]))
        if kind == "api":
            return Fault(at, kind, "", lasts, order=orders.draw(chance, self.nodes))
        if kind == "latency":
            return Fault(at, kind, chance.choice(("", node)), lasts, detail=round(chance.uniform(0.05, 0.6), 2))
        return Fault(at, kind, "" if kind == "detach" else node, lasts)


def by_chance(seed: int, faults: int, dead_time: float, *, nodes: int = 3, cuts: bool = True) -> Plan:
    """Return a plan of random faults; without `cuts`, none that needs a network namespace."""
    dice = _Dice(seed, dead_time, nodes, cuts)
    spells: list[tuple[Fault, ...]] = []
    while (left := faults - sum(map(len, spells))) > 0:
        spells.append(dice.spell(left))
    return Plan(f"seed {seed}", dice.first, tuple(spells), dice.spared, dice.damping, checks=True)


def _ends(dead: float, nodes: Sequence[str]) -> list[Fault]:
    faults = [Fault(0.0, kind, node) for kind in ("crash", "stop") for node in nodes]
    return faults + [Fault(0.0, kind, nodes[0], 2 * dead) for kind in ("host", "halt", "destroy")]


def _stalls(dead: float, nodes: Sequence[str]) -> list[Fault]:
    faults = [Fault(0.0, "freeze", node, lasts) for lasts in (0.4 * dead, 3 * dead) for node in nodes]
    return faults + [Fault(0.0, "reload", nodes[0], detail=priority) for priority in (200, 5)]


def _cuts(dead: float, nodes: Sequence[str]) -> list[Fault]:
    faults = [Fault(0.0, "cut", one, 3 * dead, other) for one in nodes for other in nodes if one < other]
    return faults + [Fault(0.0, "isolate", node, 3 * dead) for node in nodes]


def _oneway(dead: float, nodes: Sequence[str]) -> list[Fault]:
    faults = [Fault(0.0, "oneway", one, 3 * dead, other) for one in nodes for other in nodes if one != other]
    return [*faults, Fault(0.0, "deny", nodes[0], 3 * dead, nodes[1])]


def _service(dead: float, nodes: Sequence[str]) -> list[Fault]:
    return [Fault(0.0, "sick", node, 3 * dead) for node in nodes]


def _orders(sort: str) -> Callable[[float, Sequence[str]], list[Fault]]:
    return lambda dead, nodes: [
        _disorder(name, dead, nodes) for name, order in orders.ORDERS.items() if order.sort == sort
    ]


def _operations(dead: float, nodes: Sequence[str]) -> list[Fault]:
    return [*_orders("operations")(dead, nodes), Fault(0.0, "latency", "", 3 * dead, detail=0.5)]


def _disorder(name: str, dead: float, nodes: Sequence[str]) -> Fault:
    """Return the fault for all nodes and calls that it fits.

    A key is rejected for the second best node alone, when it should take over.
    """
    order = orders.ORDERS[name]
    given = orders.ordered(name, orders.MUTATIONS, nodes[1]) if order.refuses else orders.ordered(name, order.paths[0])
    return Fault(0.0, "api", "", 2 * dead, order=given)


def _outsiders(dead: float, nodes: Sequence[str]) -> list[Fault]:
    faults = [Fault(0.0, "detach")] + [Fault(0.0, "attach", node) for node in nodes[1:]]
    return faults + [Fault(0.0, "group", node, 2 * dead) for node in nodes[:2]]


IN_TURN = {
    "ends": _ends,
    "stalls": _stalls,
    "service": _service,
    "cuts": _cuts,
    "oneway": _oneway,
    "errors": _orders("errors"),
    "refusals": _orders("refusals"),
    "damage": _orders("damage"),
    "hangs": _orders("hangs"),
    "operations": _operations,
    "outsiders": _outsiders,
}
TAKE_CUTS = ("cuts", "oneway")


def in_turn(what: str, dead_time: float, *, nodes: int = 3) -> Plan:
    """Return a plan with every fault of one sort, one after the other.

    With each fault of the API the best node dies, so that a move meets the fault.
    """
    names = [f"n{number}" for number in range(1, nodes + 1)]
    spells: list[tuple[Fault, ...]] = [(fault,) for fault in IN_TURN[what](dead_time, names)]
    if what in {"operations", *(order.sort for order in orders.ORDERS.values())}:
        spells = [(*spell, Fault(0.1 * dead_time, "host", names[0], 2 * dead_time)) for spell in spells]
    priorities = dict(zip(names, range(10, 251, 10), strict=False))
    checks = any(fault.kind == "sick" for spell in spells for fault in spell)
    return Plan(f"each fault of {what} in turn", priorities, tuple(spells), checks=checks, strict=True)
