"""What may be asked on the control socket: requests as data. Pure.

A request is one line with one JSON object, and so is its answer. Version 1:

    {"version": 1, "request": "status"}
    {"version": 1, "request": "metrics"}
    {"version": 1, "request": "drain", "why": "new kernel", "by": "ann"}
    {"version": 1, "request": "undrain", "by": "ann"}
    {"version": 1, "request": "failover", "for": 600, "force": false, "by": "ann"}
    {"version": 1, "request": "priority", "priority": 30, "by": "ann"}

`by` is who asks, as the asker says; the daemon logs it beside the user id that the kernel tells. An answer is
{"version": 1, "ok": true, …} or {"version": 1, "ok": false, "error": "…"}.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from exoip.config.model import HIGHEST_PRIORITY, LOWEST_PRIORITY
from exoip.errors import ControlRequestError

VERSION = 1
LONGEST_TEXT = 200  # characters of `why` and `by`
SHORTEST_FAILOVER, FAILOVER_TIME, LONGEST_FAILOVER = (
    10.0,
    600.0,
    86400.0,
)  # seconds that a failover keeps the node aside


@dataclass(frozen=True, slots=True)
class Status:
    """Tell the state."""


@dataclass(frozen=True, slots=True)
class Metrics:
    """Tell the metrics, in the text format of Prometheus."""


@dataclass(frozen=True, slots=True)
class Drain:
    """Step aside, and stay aside across restarts."""

    why: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True)
class Undrain:
    """Take part again: after a drain, or before the end of a failover."""

    by: str = ""


@dataclass(frozen=True, slots=True)
class Failover:
    """Hand over now and stay aside for so many seconds; `force`: though nobody could take it, as far as is known."""

    seconds: float = FAILOVER_TIME
    force: bool = False
    by: str = ""


@dataclass(frozen=True, slots=True)
class Priority:
    """Go by this configured priority until the next reload or restart."""

    priority: int
    by: str = ""


Order = Drain | Undrain | Failover | Priority

_KINDS: dict[str, type[Status | Metrics | Order]] = {
    "status": Status,
    "metrics": Metrics,
    "drain": Drain,
    "undrain": Undrain,
    "failover": Failover,
    "priority": Priority,
}


def refusal(why: str) -> bytes:
    """Return the answer, a line, to a request that is not carried out."""
    return json.dumps({"version": VERSION, "ok": False, "error": why}).encode() + b"\n"


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_TEXT or not value.isprintable():
        raise ValueError(f"must be a printable text of at most {LONGEST_TEXT} characters")
    return value


def _seconds(value: object) -> float:
    number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    if not SHORTEST_FAILOVER <= number <= LONGEST_FAILOVER:
        raise ValueError(f"must be a number of seconds from {SHORTEST_FAILOVER:g} to {LONGEST_FAILOVER:g}")
    return number


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _priority(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not LOWEST_PRIORITY <= value <= HIGHEST_PRIORITY:
        raise ValueError(f"must be a whole number from {LOWEST_PRIORITY} to {HIGHEST_PRIORITY}, the lowest wins")
    return value


_READERS: Mapping[str, Callable[[object], object]] = {
    "why": _text,
    "by": _text,
    "for": _seconds,
    "force": _flag,
    "priority": _priority,
}
_FIELDS: Mapping[str, str] = {"for": "seconds"}  # what is called otherwise here: `for` is a word of Python's


def parse(line: bytes) -> Status | Metrics | Order:
    """Return the request in a line. Raises ControlRequestError, and nothing else."""
    try:
        asked: Any = json.loads(line)
    except (ValueError, RecursionError):
        raise ControlRequestError("a request is one line with one JSON object") from None
    if not isinstance(asked, dict):
        raise ControlRequestError("a request is one line with one JSON object")
    if asked.get("version") != VERSION or isinstance(asked["version"], bool):
        raise ControlRequestError(
            f"this daemon speaks version {VERSION} of the requests: ask with an exoipctl of its own version"
        )
    name = asked.get("request")
    kind = _KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ControlRequestError(f"there is no such request; there are {', '.join(_KINDS)}")
    known = {field.name for field in fields(kind)}
    values: dict[str, object] = {}
    for key, value in asked.items():
        if key in ("version", "request"):
            continue
        into: str = _FIELDS.get(key, key)
        if key not in _READERS or into not in known:
            raise ControlRequestError(f"{name} does not know one of the names in the request")
        try:
            values[into] = _READERS[key](value)
        except (ValueError, OverflowError) as error:
            raise ControlRequestError(f"{name}: {key} {error}") from None
    if kind is Priority and "priority" not in values:
        raise ControlRequestError("priority: the number is missing")
    return kind(**values)  # type: ignore[arg-type]
