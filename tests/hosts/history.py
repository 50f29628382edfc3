"""What the journals tell of the holders, as exoipctl rebuilds it, held against the zone's record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from exoip.ctl.history import rebuild
from tests.hosts.host import Entry
from tests.hosts.zone import Change

# What may pass between a node's seeing that something is done and its telling so, on a busy
# machine, and between two clocks' readings.
TELLS, READS = 0.5, 0.05

Edge = tuple[float, bool]


def differences(record: Sequence[Change], entries: Iterable[Entry], names: Mapping[str, str]) -> list[str]:
    """In what the history that the journals tell differs from the record; `names` are the hosts' by
    instance id.
    """
    told: dict[str, list[tuple[float, float, bool]]] = {name: [] for name in names.values()}
    for change in rebuild(entries).changes:
        told[names[change.instance]].append((change.at, change.within, change.holds))
    found = []
    for name, edges in _edges(record, names.values()).items():
        if [holds for _, holds in edges] != [holds for _, _, holds in told[name]]:
            found.append(f"{name}: recorded {edges}, told {told[name]}")
            continue
        for (moment, holds), (at, within, _) in zip(edges, told[name], strict=True):
            if not at - within - TELLS <= moment <= at + READS:
                found.append(
                    f"{name}: {'held' if holds else 'free'} from {moment:.3f} on, told as {at:.3f} less {within:.3f}"
                )
    return found


def _edges(record: Sequence[Change], names: Iterable[str]) -> dict[str, list[Edge]]:
    """When each host came to hold, and ceased to."""
    edges: dict[str, list[Edge]] = {name: [] for name in names}
    before: frozenset[str] = frozenset()
    for change in record:
        for name in before ^ change.holders:
            edges[name].append((change.at, name in change.holders))
        before = change.holders
    return edges
