"""Format the table at the end of the demo. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

HEADINGS = ("event", "detection", "attach sent", "moved", "bound", "lost")
NOTES = (
    "Seconds since the event; if a node fell silent, since its last heartbeat, up to one interval earlier.",
    "detection: the new node is master. moved: the zone shows it as the only holder. bound: the time that "
    "docs/protocol.md allows for that. lost: requests to the Elastic IP without an answer.",
)


@dataclass(frozen=True, slots=True)
class Row:
    """One event. Times are seconds, None if they do not apply; `lost` counts requests."""

    event: str
    detection: float | None
    attach_sent: float | None
    moved: float | None
    bound: float | None
    lost: int

    def cells(self) -> tuple[str, ...]:
        """Return the row as text, one cell per heading."""
        times = (self.detection, self.attach_sent, self.moved, self.bound)
        return (self.event, *("-" if one is None else f"{one:.2f}" for one in times), str(self.lost))


def table(rows: Sequence[Row]) -> list[str]:
    """Return the table as lines: the first column left-aligned, the numbers right-aligned."""
    cells = [HEADINGS, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADINGS))]
    lines = ["  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in cells]
    return [lines[0], "-" * len(lines[0]), *lines[1:]]
