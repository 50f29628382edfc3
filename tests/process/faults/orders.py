"""List the faults of the simulated API: every kind of the sandbox, in each form. Pure."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

EVERYTHING, MUTATIONS, ATTACH, DETACH = "", r":(attach|detach)$", ":attach$", ":detach$"
READS, POLLS, LISTS = r"^/instance/", r"^/operation/", r"^/instance$"
_ANY = (EVERYTHING, EVERYTHING, MUTATIONS, ATTACH, DETACH, READS, POLLS, LISTS)
_ONLY_MUTATIONS = (MUTATIONS, ATTACH, DETACH)


@dataclass(frozen=True, slots=True)
class Order:
    """One form of a fault. `fields`: of `sandbox.faults.Fault`; `paths`: calls that it fits."""

    fields: Mapping[str, object]
    paths: tuple[str, ...] = _ANY
    refuses: bool = False  # it rejects the key: a daemon that starts then exits, because that is no outage

    @property
    def sort(self) -> str:
        """Return what fails: the status, the bytes or the arrival of the answer, or the operation."""
        kind = str(self.fields["kind"])
        if kind == "status":
            return "refusals" if 400 <= int(str(self.fields.get("status", 503))) < 500 else "errors"
        return "hangs" if kind == "hang" else "operations" if kind.startswith("operation") else "damage"


def _of(kind: str, paths: tuple[str, ...] = _ANY, refuses: bool = False, **fields: object) -> Order:
    return Order({"kind": kind, **fields}, paths, refuses)


ORDERS: dict[str, Order] = {
    "500": _of("status", status=500),
    "502 in plain text": _of("status", status=502, form="text"),
    "503": _of("status"),
    "503 after": _of("status", when="after"),
    "429": _of("status", status=429, retry_after=1.0),
    "401": _of("status", status=401, refuses=True),
    "403": _of("status", status=403, refuses=True),
    "404": _of("status", _ONLY_MUTATIONS, status=404),
    "409": _of("status", _ONLY_MUTATIONS, status=409),
    "hang": _of("hang", seconds=12.0),
    "hang after": _of("hang", when="after", seconds=12.0),
    "hang for a while": _of("hang", when="before", seconds=1.5),
    "drop": _of("drop"),
    "drop after": _of("drop", when="after"),
    "garbage": _of("garbage"),
    "garbage after": _of("garbage", when="after"),
    "half": _of("half"),
    "half instead": _of("half", when="instead"),
    "operation failure": _of("operation-failure", _ONLY_MUTATIONS),
    "operation busy": _of("operation-failure", _ONLY_MUTATIONS, reason="busy", seconds=0.5),
    "operation time-out": _of("operation-timeout", _ONLY_MUTATIONS),
    "operation slow": _of("operation-slow", _ONLY_MUTATIONS, seconds=3.0),
    "operation never": _of("operation-never", _ONLY_MUTATIONS),
}


@dataclass(frozen=True, slots=True)
class Ordered:
    """A fault for the calls whose path matches, with one key or any (""): `count` times, or as long
    as it lasts (None).
    """

    name: str
    path: str = EVERYTHING
    key: str = ""
    count: int | None = None
    fields: Mapping[str, object] = field(default_factory=dict, compare=False)

    def __str__(self) -> str:
        of = f" to {self.path}" if self.path else ""
        times = f", {self.count} times" if self.count else ""
        return f"API answers {self.key or 'all'}{of}: {self.name}{times}"


def ordered(name: str, path: str = EVERYTHING, key: str = "", count: int | None = None) -> Ordered:
    return Ordered(name, path, key, count, ORDERS[name].fields)


def draw(chance: random.Random, nodes: list[str]) -> Ordered:
    """Return a random one."""
    name = chance.choice(list(ORDERS))
    return ordered(
        name, chance.choice(ORDERS[name].paths), chance.choice(["", *nodes]), chance.choice((None, None, 1, 3))
    )
