"""What the journals tell of the holders, by the script that the package ships, held against the zone's record."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType

from tests.hosts.host import Entry
from tests.hosts.zone import Change

SCRIPT = Path(__file__, "../../../packaging/examples/history.py").resolve()
# What may pass between a node's seeing that something is done and its telling so, on a busy machine, and between two clocks' readings.
TELLS, READS = 0.5, 0.05

Edge = tuple[float, bool]


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("exoip_example_history", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


script = _script()


def differences(record: Sequence[Change], entries: Iterable[Entry], names: Mapping[str, str]) -> list[str]:
    """In what the history that the journals tell differs from the record; `names` are the hosts' by instance id."""
    told: dict[str, list[tuple[float, float, bool]]] = {name: [] for name in names.values()}
    for change in script.rebuild(entries).changes:
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
