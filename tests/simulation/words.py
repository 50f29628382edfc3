"""The words of commands: times, shares, terms of a node, and what the API makes of a call."""

from __future__ import annotations

import math
from collections.abc import Callable

from exoip.core.calls import Failure
from tests.simulation.api import MODES, Choices, Mode

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_CONFIG = {
    "prio": "priority",
    "interval": "interval",
    "ratio": "dead_ratio",
    "delay": "preempt_delay",
    "damping": "flap_damping",
}


class CommandError(ValueError):
    """A command that says nothing."""


def seconds(text: str) -> float:
    """Return `3s`, `200ms`, `5m` or `1h` in seconds; a bare number is seconds."""
    unit = text.lstrip("0123456789.")
    try:
        return float(text.removesuffix(unit)) * (_UNITS[unit] if unit else 1.0)
    except (KeyError, ValueError):
        raise CommandError(f"{text!r} is no time: write 3s, 200ms, 5m or 1h") from None


def terms(words: tuple[str, ...]) -> dict[str, float]:
    """Return `prio=10 interval=1s` as fields of an `ElectionConfig`."""
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


def share(text: str) -> float:
    """Return `30%` as a number from 0 to 1."""
    return float(text.removesuffix("%")) / 100


def _time(field: str) -> Callable[[str], tuple[str, object]]:
    return lambda text: (field, math.inf if text == "never" else seconds(text))


_REPLY: dict[str, Callable[[str], tuple[str, object]]] = {
    "effect": lambda text: ("effect", text == "yes"),
    "failure": lambda text: ("failure", None if text == "none" else Failure(text)),
    "retry": _time("retry_after"),
    "takes": _time("takes"),
    "lands": _time("lands"),
    "operation": lambda text: ("operation_fails", True) if text == "fails" else _time("operation")(text),
    "lag": _time("lag"),
    "lists": lambda text: ("lists", share(text)),
}


def mode(words: tuple[str, ...]) -> Mode:
    """Return what `fail`, or `failure=unavailable,none retry=120s`, says of a call.

    Several values with commas between them: each call gets one of them.
    """
    if len(words) == 1 and words[0] in MODES:
        return words[0]
    chosen = []
    for word in words:
        name, _, values = word.partition("=")
        if name == "rate":
            continue  # see `Api.rate`
        if name not in _REPLY:
            raise CommandError(f"{word!r}: modes are {', '.join(MODES)}; words of a reply {', '.join(_REPLY)}")
        chosen.append(tuple(_REPLY[name](value) for value in values.split(",")))
    choices = Choices(tuple(chosen))
    return choices if any(len(one) > 1 for one in chosen) else choices.reply(None)
