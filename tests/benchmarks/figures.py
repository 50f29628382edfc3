"""A figure: samples with their median, p99 and worst, what they should be, and the table and the
JSON of many.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

SCALES = {"ms": 1e3, "us": 1e6, "MiB": 1 / 1024}  # seconds and KiB are what samples are in
HEAD = ("", "samples", "median", "p99", "worst", "target", "")


@dataclass(slots=True)
class Figure:
    """One line of the table. Samples of "ms" and "us" are in seconds, of "MiB" in KiB, all others
    in their own unit.

    `must`: what must never happen, whatever the machine; missing the target is an error then, not
    just slow.
    """

    name: str
    unit: str
    samples: list[float] = field(default_factory=list)
    target: str = ""
    met: Callable[[Figure], bool] | None = None
    must: bool = False

    @property
    def median(self) -> float:
        ordered = sorted(self.samples)
        middle = len(ordered) // 2
        return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2

    @property
    def p99(self) -> float:
        """By the nearest rank: the worst one of fewer than 100."""
        return sorted(self.samples)[max(0, -(-99 * len(self.samples) // 100) - 1)]

    @property
    def worst(self) -> float:
        return max(self.samples)

    @property
    def verdict(self) -> str:
        if self.met is None or not self.samples:
            return ""
        return "met" if self.met(self) else "VIOLATED" if self.must else "missed"

    def as_dict(self) -> dict[str, Any]:
        """The figure as JSON data, in its unit."""
        scale = SCALES.get(self.unit, 1.0)
        data: dict[str, Any] = {"name": self.name, "unit": self.unit, "target": self.target, "verdict": self.verdict}
        if self.samples:
            data |= {word: scale * getattr(self, word) for word in ("median", "p99", "worst")}
        return data | {"samples": [scale * each for each in self.samples]}


def at_most(name: str, unit: str, median: float | None = None, p99: float | None = None) -> Figure:
    """A figure whose target are these bounds, in its unit."""
    scale = SCALES.get(unit, 1.0)
    if median is None and p99 is None:
        return Figure(name, unit)
    bounds = [f"{word} <= {bound:g}" for word, bound in (("median", median), ("p99", p99)) if bound is not None]

    def met(figure: Figure) -> bool:
        good = median is None or scale * figure.median <= median
        return good and (p99 is None or scale * figure.p99 <= p99)

    return Figure(name, unit, target=", ".join(bounds), met=met)


def exactly(name: str, unit: str, value: float = 0.0) -> Figure:
    """A figure whose every sample has to be that."""
    return Figure(name, unit, target=f"{value:g}", met=lambda figure: {*figure.samples} == {value}, must=True)


def number(value: float) -> str:
    """Three digits of it, or all of an integer."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{digits}f}".rstrip("0").rstrip(".") if "." in f"{value:.{digits}f}" else f"{value:.0f}"


def cells(data: dict[str, Any]) -> list[str]:
    """A line of the table, of a figure's JSON data."""
    figures = [number(data[word]) if data["samples"] else "" for word in ("median", "p99", "worst")]
    return [f"{data['name']}, {data['unit']}", str(len(data["samples"])), *figures, data["target"], data["verdict"]]


def table(figures: Iterable[dict[str, Any]]) -> str:
    """The figures as text, aligned."""
    lines: Sequence[Sequence[str]] = [HEAD, *map(cells, figures)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    left = (0, 5, 6)
    return "\n".join(
        "  ".join(
            each.ljust(w) if n in left else each.rjust(w) for n, (each, w) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
