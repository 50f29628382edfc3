"""What happened in a zone, in order: every call, every answer, every operation's end, every change of the holders.

The record only ever grows, so a reader that remembers the next index misses nothing. From it the whole history can
be rebuilt: who held the EIP when, who asked for what, and how many calls it took.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

KINDS = frozenset({"call", "metadata", "answer", "operation", "holders", "instance", "fault"})
_ALWAYS = {"holders": {"holders"}, "answer": {"status", "call", "arrived"}}  # worth telling even when empty or 0


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the record. Times are seconds of the zone's clock, `wall` the same moment as Unix time if known.

    call       a request for the API arrived: key, method, path, operation (OpenAPI name), the instance it names
    metadata   a request for the metadata service arrived; it counts as no call
    answer     the end of either: the same fields, `arrived`, `call` (its index), `status` (0: no answer), `outcome`
    operation  an operation ended: `eip`, `instance`, `outcome` success or the reason of its failure, `detail` its id
    holders    the holders of `eip` changed to `holders` (sorted ids); `key` and `operation` tell by whom and how
    instance   an instance came, went or changed: `outcome` says what
    fault      a fault was ordered or lifted: `outcome` says which
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
        """The entry as JSON data, empty fields left out."""
        always = {"index", "time", "wall", "kind"} | _ALWAYS.get(self.kind, set())
        return {name: value for name, value in asdict(self).items() if name in always or value not in ("", (), None, 0)}


@dataclass(frozen=True, slots=True)
class Counts:
    """How many API calls: `reads` (GET) and `mutations` (everything else)."""

    reads: int
    mutations: int


class Record:
    """The growing list of entries. `wall_offset` is the wall clock less the zone's clock, or None in virtual time."""

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
            raise ValueError(f"{kind!r} is no kind of entry: {', '.join(sorted(KINDS))}")
        wall = None if self.wall_offset is None else time + self.wall_offset
        entry = Entry(len(self._entries), time, wall, kind, **fields)
        self._entries.append(entry)
        return entry

    def since(self, index: int) -> list[Entry]:
        """The entries from `index` on; the next call's index is `index` plus their number."""
        return self._entries[max(index, 0) :]

    def calls(self, since: int = 0, *, mutations: bool | None = None, key: str | None = None) -> list[Entry]:
        """The calls that arrived, from entry `since` on: all, only mutations, only reads; of one key or of all."""
        return [
            entry
            for entry in self.since(since)
            if entry.kind == "call"
            and (mutations is None or (entry.method not in ("GET", "HEAD")) == mutations)
            and (key is None or entry.key == key)
        ]

    def count(self, since: int = 0, key: str | None = None) -> Counts:
        """How many calls arrived from entry `since` on, by all or by one key."""
        return Counts(
            len(self.calls(since, mutations=False, key=key)),
            len(self.calls(since, mutations=True, key=key)),
        )

    def holding(self, eip: str) -> list[tuple[float, frozenset[str]]]:
        """Who held `eip` when: (from this time on, these instances), oldest first; nobody before the first."""
        return [
            (entry.time, frozenset(entry.holders))
            for entry in self._entries
            if entry.kind == "holders" and entry.eip == eip
        ]
