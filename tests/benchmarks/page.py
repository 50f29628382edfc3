"""The table of docs/performance.md, from what script/bench kept: a line for each thing that a reader may ask for."""

from __future__ import annotations

import re
from typing import Any

from tests.benchmarks.figures import number
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- script/bench --page -->", "<!-- /script/bench -->"
HEAD = "| what | median | p99 | worst | target |\n| --- | --- | --- | --- | --- |"

_LATE, _BACK = "attach on the wire after the deadline", "new attached and dead detached after the deadline"
_DETACH, _ATTACH = (
    "detach of the dead on the wire after the attach's operation",
    "the peer's attach on the wire after the signal",
)
_LONG = "0.05 s x 3 for 600 s, processors "


def _at(interval: str, latency: int = 100) -> str:
    return f"interval {interval} s, {latency} ms a call: "


LINES: tuple[tuple[str, str, str], ...] = (  # (part, the figure's name, the table's words)
    ("failover-1", f"SIGKILL, {_at('1')}{_LATE}", "death: attach on the wire after its deadline, interval 1 s"),
    ("failover-0.2", f"SIGKILL, {_at('0.2')}{_LATE}", "… interval 0.2 s"),
    ("failover-0.05", f"SIGKILL, {_at('0.05')}{_LATE}", "… interval 0.05 s"),
    ("failover-0.2", f"{_at('0.2')}an idle timer beside it is late by", "the machine's noise then: an idle timer is late by"),
    ("failover-0.05", f"SIGKILL, {_at('0.05')}attach answered after", "death: attach answered, interval 0.05 s"),
    ("failover-0.2", f"SIGKILL, {_at('0.2')}reads answered between deadline and attach", "… reads before the attach"),
    ("failover-0.2", f"SIGKILL, {_at('0.2')}new connections between deadline and attach", "… handshakes before the attach"),
    ("failover-0.2", f"SIGKILL, {_at('0.2')}API calls", "… API calls in all"),
    ("failover-1", f"SIGKILL, {_at('1')}no live holder for", "death: no live holder, interval 1 s"),
    ("failover-0.2", f"SIGKILL, {_at('0.2')}no live holder for", "… interval 0.2 s"),
    ("failover-0.05", f"SIGKILL, {_at('0.05')}no live holder for", "… interval 0.05 s"),
    ("failover-0.2", f"SIGKILL, {_at('0.2')}{_DETACH}", "death: detach of the dead on the wire after the attach is done"),
    ("calls", f"SIGKILL, {_at('0.2', 0)}{_BACK}", "death: all done after its deadline, 0 ms a call"),
    ("failover-0.2", f"SIGKILL, {_at('0.2')}{_BACK}", "… 100 ms"),
    ("calls", f"SIGKILL, {_at('0.2', 300)}{_BACK}", "… 300 ms"),
    ("failover-0.2", f"SIGTERM, {_at('0.2')}{_ATTACH}", "planned stop: the peer's attach on the wire"),
    ("failover-0.2", f"SIGTERM, {_at('0.2')}time with no holder", "… time with no holder"),
    ("failover-0.2", f"SIGTERM, {_at('0.2')}API calls of both", "… API calls of both nodes"),
    ("equals", "equal priorities: starts without exactly one master and holder", "two equal nodes: starts without exactly one master"),
    ("restart", "SIGKILL and restart, interval 1 s: mutations", "crash and restart, interval 1 s: calls that change anything"),
    ("start", "start to READY", "start to READY"),
    ("start", "resident memory when READY", "resident memory at start"),
    ("rest-3", "3 nodes at 1 s: resident memory", "… at rest, 3 nodes"),
    ("hours", "virtual time: memory grown in a day", "… grown in a day (virtual time)"),
    ("hours", "virtual time: memory grown in 1000 failovers", "… grown in 1000 failovers (virtual time)"),
    ("rest-3", "3 nodes at 1 s: processor, % of a core", "processor at rest, of a core, 3 nodes at 1 s"),
    ("rest-100", "BACKUP of 100 nodes at 1 s: processor, % of a core", "… a backup among 100"),
    ("rest-1000", "BACKUP of 1000 nodes at 1 s: processor, % of a core", "… a backup among 1000"),
    ("rest-1000", "MASTER of 1000 nodes at 1 s: processor, % of a core", "… the master of 1000"),
    ("rest-1000", "MASTER of 1000 nodes at 1 s: false deaths", "… its false deaths"),
    ("rest-3", "3 nodes at 1 s: wake-ups a second", "at rest, 3 nodes at 1 s: wake-ups a second"),
    ("rest-3", "3 nodes at 1 s: packets sent an hour", "… packets sent an hour"),
    ("rest-3", "3 nodes at 1 s: MB sent an hour", "… sent an hour"),
    ("hours", "virtual time: API calls of the master in a quiet hour, 3 nodes", "… API calls of the master in an hour"),
    ("hours", "virtual time: API calls of the next best node in a quiet hour, 3 nodes", "… of the next best node"),
    ("hours", "virtual time: API calls of the master in a quiet hour, 100 nodes", "… of the master of 100"),
    ("hours", "virtual time: API calls of any other in a quiet hour, 100 nodes", "… of any but the three best of 100"),
    ("beats", "a heartbeat received, 3 nodes: processor", "one heartbeat received: processor"),
    ("beats", "a heartbeat sent, 3 nodes: processor", "one heartbeat sent"),
    ("deaths-idle", f"{_LONG}idle: false deaths", "false deaths in 10 minutes at 0.05 s x 3, processors idle"),
    ("deaths-busy", f"{_LONG}busy: false deaths", "… all processors busy"),
    ("deaths-busy", f"{_LONG}busy: heartbeats late by", "… heartbeats late by, meanwhile"),
)  # fmt: skip


def line(words: str, data: dict[str, Any]) -> str:
    """One line of the table, of a figure's JSON data."""
    unit = {"count": "", "%": " %", "us": " µs"}.get(data["unit"], f" {data['unit']}")
    cells = [number(data[word]) + unit for word in ("median", "p99", "worst")]
    met = {"missed": " (missed)", "VIOLATED": " (violated)"}.get(data["verdict"], "")
    return f"| {words} | {' | '.join(cells)} | {data['target']}{met} |"


def text(kept: dict[str, Any]) -> str:
    """What stands between the two marks. Raises ValueError when not all of it was measured, and on
    one machine.
    """
    if missing := {part: "" for part, _, _ in LINES if part not in kept}:
        raise ValueError(f"not measured yet: script/bench --only {' '.join(missing)}")
    lines = []
    for part, name, words in LINES:
        for data in kept.get(part, {"figures": ()})["figures"]:
            if data["name"] == name:
                lines.append(line(words, data))
    machines = [part["machine"] for part in kept.values()]
    dates = sorted({machine["date"] for machine in machines})
    one = machines[-1]
    if any(
        machine[word] != one[word] for machine in machines for word in ("processor", "processors", "kernel", "python")
    ):
        raise ValueError("the parts were measured on different machines: measure them on one")
    about = (
        f"{' to '.join(dict.fromkeys((dates[0], dates[-1])))}, {one['processors']} processors ({one['processor']}), Linux {one['kernel']}, "
        f"Python {one['python']}; a call takes {one['a call']}, an operation {one['an operation']}, the dead ratio is {one['dead ratio']}:"
    )
    return "\n".join([BEGIN, about, "", HEAD, *lines, END])


def write_page(kept: dict[str, Any]) -> None:
    """Put the table into the page."""
    whole = PAGE.read_text()
    fresh, found = re.subn(rf"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: text(kept), whole, flags=re.DOTALL)
    if not found:
        raise ValueError(f"docs/performance.md has no place for the table: {BEGIN} … {END}")
    PAGE.write_text(fresh)
