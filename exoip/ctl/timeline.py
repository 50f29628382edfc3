"""Draws who held an Elastic IP over time: a line for each node, the time from left to right. Pure but for the time zone."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from exoip.ctl.failovers import Failover
from exoip.ctl.terminal import span

NOBODY = "nobody"
LEAST_COLUMNS = 20


@dataclass(frozen=True, slots=True)
class Marks:
    """What stands for a span in which a node held, and for one in which it did not."""

    held: str
    free: str


FINE, PLAIN = Marks("█", "·"), Marks("#", ".")


def draw(
    failovers: Sequence[Failover], names: Mapping[str, str], began: float, ended: float, width: int, marks: Marks
) -> Iterator[str]:
    """Return the lines for the failovers of one Elastic IP, between two moments (Unix time), in so many columns.

    A column is marked for everyone who held at any moment of it, so that a short time is seen too.
    """
    spells = _spells(failovers, began, ended)
    labels = {who: names.get(who, who) or NOBODY for who in dict.fromkeys(who for who, _, _ in spells)}
    wide = max((len(label) for label in labels.values()), default=0)
    columns = max(LEAST_COLUMNS, width - wide - 1)
    size = (ended - began) / columns
    for who, label in labels.items():
        cells = [marks.free] * columns
        for holder, start, end in spells:
            if holder == who:
                first, last = int((start - began) / size), int((end - began) / size)
                for cell in range(min(first, columns - 1), min(max(last, first + 1), columns)):
                    cells[cell] = marks.held
        yield f"{label.ljust(wide)} {''.join(cells)}"
    left, right = _stamp(began, ended - began), _stamp(ended, ended - began)
    middle = f"a column is {span(size)}"
    room = columns - len(left) - len(right)
    yield " " * (wide + 1) + left + (middle.center(room) if room > len(middle) + 1 else " " * max(1, room)) + right


def _spells(failovers: Sequence[Failover], began: float, ended: float) -> list[tuple[str, float, float]]:
    """Who held from when to when; as far as is known one after the other."""
    if not failovers:
        return []
    starts = [(began, failovers[0].source[0] if failovers[0].source else "")] + [(one.at, one.to) for one in failovers]
    ends = [*(start for start, _ in starts[1:]), ended]
    return [
        (who, max(began, start), min(end, ended))
        for (start, who), end in zip(starts, ends, strict=True)
        if end >= began and start <= ended
    ]


def _stamp(at: float, whole: float) -> str:
    """A moment, as exactly as it matters."""
    return time.strftime(
        "%H:%M:%S" if whole < 3600 else "%m-%d %H:%M" if whole < 90 * 86400 else "%Y-%m-%d", time.localtime(at)
    )
