"""The record of a zone: every call, response, end of an operation and change of the holders, in
order.

It only grows, so a reader that remembers the next index misses nothing. The whole history follows
from it: who held the Elastic IP when, who called what, and how often.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

KINDS = frozenset({"call", "metadata", "answer", "operation", "holders", "instance", "fault"})
_ALWAYS = {"holders": {"holders"}, "answer": {"status", "call", "arrived"}}  # shown even if empty or 0


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the record.

    Times are seconds of the zone's clock, `wall` the same moment as Unix time if known.

    call       a request for the API arrived: key, method, path, operation (OpenAPI name), instance
    metadata   a request for the metadata service arrived; it does not count as a call
    answer     the end of either: the same fields, `arrived`, `call` (its index), `outcome`,
               `status` (0: none)
    operation  an operation ended: `eip`, `instance`, `detail` (its id), `outcome`: success or why
               it failed
    holders    the holders of `eip` changed to `holders` (sorted ids), by `key` with `operation`
    instance   an instance was added, removed or changed: `outcome` says which
    fault      a fault was added or removed: `outcome` says which
    """

    index: int
    time: float
    wall: float | None
    kind: str
    key: str = ""
    method: str = ""
    path: str = ""
    operation: str = ""
    eip: str = ""
    instance: str = ""
    status: int = 0
    outcome: str = ""
    detail: str = ""
    holders: tuple[str, ...] = ()
    call: int | None = None
    arrived: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the entry as JSON data without empty fields."""
        always = {"index", "time", "wall", "kind"} | _ALWAYS.get(self.kind, set())
        return {name: value for name, value in asdict(self).items() if name in always or value not in ("", (), None, 0)}


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers of API calls: `reads` (GET) and `mutations` (all others)."""

    reads: int
    mutations: int


class Record:
    """The growing list of entries.

    `wall_offset` is the wall clock less the zone's clock, or None in virtual time.
    """

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self.wall_offset: float | None = None

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> Entry:
        return self._entries[index]

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def add(self, kind: str, time: float, **fields: Any) -> Entry:
        """Append one entry and return it."""
        if kind not in KINDS:
            raise ValueError(f"{kind!r} is not a kind of entry: {', '.join(sorted(KINDS))}")
        wall = None if self.wall_offset is None else time + self.wall_offset
        entry = Entry(len(self._entries), time, wall, kind, **fields)
        self._entries.append(entry)
        return entry

    def since(self, index: int) -> list[Entry]:
        """Return the entries from `index` on; the next index is `index` plus their number."""
        return self._entries[max(index, 0) :]

    def calls(self, since: int = 0, *, mutations: bool | None = None, key: str | None = None) -> list[Entry]:
        """Return the calls from entry `since` on: all, only mutations or only reads; of one key or
        of all.
        """
        return [
            entry
            for entry in self.since(since)
            if entry.kind == "call"
            and (mutations is None or (entry.method not in ("GET", "HEAD")) == mutations)
            and (key is None or entry.key == key)
        ]

    def count(self, since: int = 0, key: str | None = None) -> Counts:
        """Count the calls from entry `since` on, of one key or of all."""
        return Counts(
            len(self.calls(since, mutations=False, key=key)),
            len(self.calls(since, mutations=True, key=key)),
        )

    def holding(self, eip: str) -> list[tuple[float, frozenset[str]]]:
        """Return who held `eip` as (from this time on, these instances), oldest first; nobody
        before the first.
        """
        return [
            (entry.time, frozenset(entry.holders))
            for entry in self._entries
            if entry.kind == "holders" and entry.eip == eip
        ]
