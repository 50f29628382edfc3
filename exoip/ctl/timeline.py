"""Show failovers as a table, and who held when as a timeline: one line per node.

Pure but for the time zone. Shown by tests/unit/ctl/test_timeline.py.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from exoip.ctl.failovers import Failover
from exoip.ctl.history import HELD, Change
from exoip.ctl.terminal import columns, duration, local_time
from exoip.exoscale.models import printable

NOBODY = "nobody"
UNKNOWN = "?"
LEAST_COLUMNS = 20  # of a timeline
UNICODE_MARKS = "█·"  # for a node that held at a time, and for one that did not
ASCII_MARKS = "#."

Names = Mapping[str, str]  # instance id -> name with address


def named(text: str, names: Names) -> str:
    """Return the text with names in place of instance ids, fit for a terminal."""
    for instance, name in names.items():
        text = text.replace(instance, name)
    return printable(text)


def short(instance: str, names: Names) -> str:
    """Return a node's name without its address; NOBODY for ""."""
    return printable(names.get(instance, instance)).partition(" (")[0] or NOBODY


def before(one: Failover) -> tuple[str, ...]:
    """Return who held before: "" stands for nobody, UNKNOWN for whom the journals do not name."""
    return one.source or ("" if one.vacant else UNKNOWN,)


def table(found: Sequence[Failover], names: Names) -> list[str]:
    """Return the failovers as a table, its heading first.

    The address has a column only if there are several.
    """
    several = len({one.eip for one in found}) > 1
    rows = [["when", *(["address"] if several else []), "from", "to", "took", "why"]]
    for one in found:
        source = " and ".join(short(instance, names) for instance in before(one))
        took = "?" if one.took is None else duration(one.took)
        address = [one.eip] if several else []
        rows.append([local_time(one.at), *address, source, short(one.to, names), took, named(one.why, names)])
    return columns(rows)


def draw(
    found: Sequence[Failover],
    changes: Sequence[Change],
    names: Names,
    began: float,
    ended: float,
    width: int,
    marks: str = UNICODE_MARKS,
) -> Iterator[str]:
    """Yield the timeline of the failovers and changes of one Elastic IP between two times (Unix),
    `width` columns wide.

    A column is marked for each node that held at any time within it, so that short spells show too.
    """
    spells = list(_spells(found, changes, began, ended))
    nodes = list(dict.fromkeys(node for node, _, _ in spells))
    label_width = max((len(short(node, names)) for node in nodes), default=0)
    cells = max(LEAST_COLUMNS, width - label_width - 1)
    size = (ended - began) / cells
    for node in nodes:
        line = [marks[1]] * cells
        for holder, start, end in spells:
            if holder == node:
                first, last = int((start - began) / size), int((end - began) / size)
                for cell in range(min(first, cells - 1), min(max(last, first + 1), cells)):
                    line[cell] = marks[0]
        yield f"{short(node, names).ljust(label_width)} {''.join(line)}"
    left, right = _stamp(began, ended - began), _stamp(ended, ended - began)
    middle = f"1 column = {duration(size)}"
    room = cells - len(left) - len(right)
    yield (
        " " * (label_width + 1) + left + (middle.center(room) if room > len(middle) + 1 else " " * max(1, room)) + right
    )


def _spells(
    found: Sequence[Failover], changes: Sequence[Change], began: float, ended: float
) -> Iterator[tuple[str, float, float]]:
    """Yield (node, start, end) of each time that a node held, one after the other.

    After a node has ceased to hold, nobody is known to until that node holds again or the next
    failover. If the first one came to hold only after the beginning, UNKNOWN held before.
    """
    if not found:
        return
    oldest = before(found[0])[0]
    came = next((one for one in changes if one.instance == oldest and began < one.at <= found[0].at), None)
    starts = [(began, oldest)]
    if came is not None and came.holds and came.event != HELD:
        starts = [(began, UNKNOWN), (came.at, oldest)]
    starts += [(one.at, one.to) for one in found]
    ends = [*(start for start, _ in starts[1:]), ended]
    for (start, node), end in zip(starts, ends, strict=True):
        own = [(one.at, one.holds) for one in changes if one.instance == node and start < one.at < end]
        for (first, holds), (last, _) in pairwise([(start, True), *own, (end, False)]):
            if holds and last >= began and first <= ended:
                yield node, max(began, first), min(last, ended)


def _stamp(at: float, whole: float) -> str:
    """Return a time as precisely as the length of the timeline makes sense, in seconds."""
    style = "%H:%M:%S" if whole < 3600 else "%m-%d %H:%M" if whole < 90 * 86400 else "%Y-%m-%d"
    return time.strftime(style, time.localtime(at))
