"""Carry out a plan on a cluster of real daemons, and judge what happens.

At each quiet time after a spell:
- The best-ranked running node is the only master and the only holder, and all nodes hear each other.
- Each notify program got the node's state. No operation is pending, and nothing moves for two dead
  times.
- A node's rank is the priority that the observer hears. That is the configured one, or that of a
  node that stands aside for a while or, with flap damping, of a protected holder.
- A stopped instance may hold too, if the holder started later and warns of it.

At the end of the run no node stands aside.

At any time: no daemon ends by itself or with an error, none logs a traceback or its secret, and
none requests anything but its own attach or the detach of a member.

From the first quiet time of a daemon to its last: the same threads and open files, and at most
MEMORY more.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import math
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from exoip.sandbox.record import Entry
from tests.process.faults import transcript
from tests.process.faults.actions import Actions, Undo, Violation
from tests.process.faults.node_probe import Life, NodeProbe
from tests.process.faults.plan import Fault, Plan
from tests.process.faults.transcript import Told
from tests.support.cluster import ATTACH, Cluster
from tests.support.waiting import PATIENCE

INTERVAL, RATIO = 0.15, 6.0  # a dead time of 0.9 s: a daemon on a busy machine may well not run for half a second
LATENCY, OPERATION = 0.01, 0.1
OPTIONS = ("-v", "--verify-interval", "2", "--leave-timeout", "5")
CHECK = ("--check-interval", "0.5", "--check-rise", "1", "--check-fall", "2")
LOOK = 0.03
QUIET = 2.0  # dead times
LIMIT = 3 * PATIENCE  # seconds until it must be quiet: longer than every fixed time of the protocol …
LONGEST_UNFIT = 600.0  # … but this one, which the end of the run waits for
STEPS_ASIDE = (
    12.0  # seconds that a quiet waits for a node that steps aside: the first time takes 10 s, later ones longer
)
MEMORY = 2048  # KiB
PROTECTED, ASIDE = 0, (253, 254)  # what a node may advertise in place of its configured priority


@dataclass(slots=True)
class Report:
    """The results of a run; times in seconds."""

    plan: Plan
    violation: str = ""
    faults: int = 0  # injected
    spells: int = 0  # that ended in quiet
    seconds: float = 0.0
    moves: int = 0
    broken: int = 0  # how often a quiet that had begun was broken
    aside: int = 0  # spells whose quiet had a node that stepped aside
    calm_after: list[float] = field(default_factory=list)
    # seconds without a live holder, in which spell, whether a fault made it
    holes: list[tuple[float, int, bool]] = field(default_factory=list)
    lives: dict[str, list[Life]] = field(default_factory=dict)  # by node, one for each start of its daemon
    told: list[Told] = field(default_factory=list)
    transcript: str = ""  # all of it
    last: str = ""  # of the last two spells


class Run:
    """One run of a plan.

    `tell` gets a line for each fault. `program` replaces the daemon's, and `limit` replaces LIMIT.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        interval: float = INTERVAL,
        ratio: float = RATIO,
        tell: Callable[[str], object] = print,
        program: Sequence[str] = (),
        limit: float = LIMIT,
        eip: str = "",
    ) -> None:
        self.plan, self.report = plan, Report(plan)
        self._interval, self._ratio, self._tell = interval, ratio, tell
        self._program, self._limit, self._eip = list(program), limit, eip
        self._agenda: list[tuple[float, int, Undo]] = []
        self._order = itertools.count()
        self._lasting: list[Undo] = []  # of faults that last until the next spell
        self._marks: list[float] = []  # when each spell began: on the zone's clock
        self._ended = math.inf  # when the last one was over, and all nodes are stopped at once
        self._seen = self._heard = 0
        self._said: dict[str, int] = {}  # by node, the priority that it advertised last
        self._probes: dict[str, NodeProbe] = {}
        self._began = time.time()

    # -- the run ------------------------------------------------------------------------------------------------------

    def run(self) -> Report:
        """Run it all, until a violation, and return the report."""
        report, began = self.report, time.monotonic()
        self._cluster = cluster = Cluster(
            len(self.plan.priorities), interval=self._interval, ratio=self._ratio, latency=LATENCY, operation=OPERATION,
            options=(*OPTIONS, f"--flap-damping={'yes' if self.plan.damping else 'no'}"), tell=lambda _: None,
            eip=self._eip,
        )  # fmt: skip
        self._actions = Actions(cluster, self._probes, LATENCY)
        self._by_address = {node.address: name for name, node in cluster.nodes.items()}
        try:
            with contextlib.ExitStack() as stack:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="exoip-faults-")))
                for name, node in cluster.nodes.items():
                    self._probes[name] = NodeProbe(node, folder)
                    stack.callback(self._probes[name].close)
                stack.enter_context(cluster)
                stack.callback(self._actions.close)
                self._all()
                self._ended = cluster.server.now()
        except AssertionError as error:
            report.violation = str(error)
        except Exception:  # a bug of the run itself, reported like any other: with the seed and the logs
            report.violation = traceback.format_exc()
        report.seconds = time.monotonic() - began
        self._sum_up()
        return report

    def _all(self) -> None:
        for name, priority in self.plan.priorities.items():
            node = self._cluster[name]
            node.program = self._program or node.program
            at = node.words.index("-P")  # the priority comes from a file, so that a reload can change it
            node.words[at : at + 2] = ["-c", str(self._actions.file(name))]
            self._actions.write(name, priority)
            probe = self._probes[name]
            node.words += ["--notify", str(probe.hook)]
            node.words += ["--check-command", f"test ! -e {probe.sick}", *CHECK] if self.plan.checks else []
            self._actions.start(name)
        self._calm()
        self._measure(0)
        for number, faults in enumerate(self.plan.spells, start=1):
            self._spell(number, faults)
        self._undo_lasting()
        self._calm(patient=True)

    def _spell(self, number: int, faults: tuple[Fault, ...]) -> None:
        self._marks.append(self._cluster.server.now())
        self._note(
            f"SPELL {number} of {len(self.plan.spells)}, faults {self.report.faults + 1} to {self.report.faults + len(faults)}"
        )
        self._undo_lasting()
        began = time.monotonic()
        for fault in faults:
            self._at(began + fault.at, lambda fault=fault: self._begin(fault))  # type: ignore[misc]
        while self._agenda:
            self._look()
            if self._agenda[0][0] <= time.monotonic():
                heapq.heappop(self._agenda)[2]()
            else:
                time.sleep(max(0.0, min(LOOK, self._agenda[0][0] - time.monotonic())))
        self._note("all faults are over, except those that last until the next spell")
        holder, after = self._calm()
        self.report.spells += 1
        self.report.calm_after.append(after)
        self._measure(len(faults))
        self._note(f"quiet after {after:.1f} s: {holder} holds", loud=True)

    def _at(self, when: float, do: Undo) -> None:
        heapq.heappush(self._agenda, (when, next(self._order), do))

    def _begin(self, fault: Fault) -> None:
        self.report.faults += 1
        self._note(f"FAULT {self.report.faults}: {fault}", loud=True)
        undo = self._actions.begin(fault)
        if undo is None:
            return

        def over() -> None:
            self._note(f"over: {fault}")
            undo()

        if fault.lasts < float("inf"):
            self._at(time.monotonic() + fault.lasts, over)
        else:
            self._lasting.append(over)

    def _undo_lasting(self) -> None:
        lasting, self._lasting = self._lasting, []
        for undo in lasting:
            undo()

    def _note(self, text: str, *, loud: bool = False) -> None:
        self.report.told.append((time.time(), text))
        if loud:
            self._tell(text)

    # -- looking ------------------------------------------------------------------------------------------------------

    def _look(self) -> bool:
        """Read what happened; return whether anything moved."""
        for name, probe in self._probes.items():
            probe.look()
            if probe.wrong:
                raise Violation("; ".join(probe.wrong))
            if name in self._actions.running and not probe.process.running:
                raise Violation(f"{name} ended unasked, with {probe.process.wait()}")
        heard = self._cluster.observer.heard
        while self._heard < len(heard):
            one = heard[self._heard]
            self._heard += 1
            self._said[self._by_address.get(one.address, "")] = one.heartbeat.priority
        entries = self._cluster.record(self._seen)
        self._seen += len(entries)
        calls = [entry for entry in entries if entry.kind == "call" and entry.method != "GET"]
        for call in calls:
            self._judge(call)
        self.report.moves += len(calls)
        return bool(calls) or any(entry.kind == "holders" for entry in entries)

    def _judge(self, call: Entry) -> None:
        caller, whom = call.key.removeprefix("EXO"), self._cluster.name(call.instance)
        if whom not in self._cluster.nodes or (call.operation == ATTACH and caller != whom):
            raise Violation(f"{caller} asks for {call.operation} of {whom}")

    def _calm(self, *, patient: bool = False) -> tuple[str, float]:
        """Wait for quiet; return the holder, and how long it took.

        `patient`: also wait until no node steps aside.
        """
        for name in list(self._actions.leaving):
            self._actions.gone(name)
        began = time.monotonic()
        quiet_since: float | None = None
        aside_since: float | None = None
        limit = self._limit + (LONGEST_UNFIT if patient else 0.0)
        while True:
            moved = self._look()
            now, why = time.monotonic(), self._not_yet()
            aside = ", ".join(sorted(name for name in self._actions.running if self._said.get(name) in ASIDE))
            aside_since = (aside_since or now) if aside and not why else None
            if not why and aside and (patient or (aside_since and now < aside_since + STEPS_ASIDE)):
                why = f"{aside} steps aside"
            if why or moved:
                self.report.broken += quiet_since is not None
                quiet_since = None
            elif quiet_since is None:
                quiet_since = now
            elif now >= quiet_since + QUIET * self._cluster.dead_time:
                self.report.aside += bool(aside)
                return min(self._actions.running, key=self._rank), quiet_since - began
            if now >= began + limit:
                raise Violation(f"not quiet within {limit:.0f} s: {why or 'moves go on and on'}")
            time.sleep(LOOK)

    def _not_yet(self) -> str:
        """Return what is wrong, or "". A node may step aside."""
        if not self._actions.running:
            return "no node runs"
        for name in list(self._actions.reloads):
            probe = self._probes[name]
            if name not in self._actions.running or probe.reloads >= self._actions.reloads[name]:
                del self._actions.reloads[name]
            elif probe.reload_failed:
                self._actions.hang_up(name)
        states = {name: self._cluster[name].state for name in self._actions.running}
        alive = len(self._actions.running) - 1
        for name, state in states.items():
            if not self._probes[name].ready or name in self._actions.reloads:
                return f"{name} is not ready"
            if len(state.alive) != alive or state.yielded:
                return f"{name} hears {len(state.alive)} peers of {alive}" + (
                    ", and has yielded" if state.yielded else ""
                )
            may_say = {
                self._actions.priority(name),
                *ASIDE,
                *({PROTECTED} if self.plan.damping and state.holds else ()),
            }
            if self._said.get(name) not in may_say:
                return (
                    f"{name} advertises {self._said.get(name)}, and is configured with {self._actions.priority(name)}"
                )
        best = min(self._actions.running, key=self._rank)
        masters = sorted(name for name, state in states.items() if state.role == "MASTER")
        backups = sum(state.role == "BACKUP" for state in states.values())
        holders = self._cluster.holders() - self._left_alone(best)
        if masters != [best] or backups != alive or holders != {best} or not states[best].holds:
            return f"best is {best}, masters are {masters}, backups {backups} of {alive}, holders {sorted(holders)}"
        for name, state in states.items():
            if self._probes[name].notified != (state.role, state.holds):
                return f"{name} is {state}, and its program was told {self._probes[name].notified}"
        return "" if self._cluster.quiet() else "an operation is under way"

    def _left_alone(self, best: str) -> set[str]:
        """Return the stopped holders of which `best` warns.

        It started later and does not know them as members, so it does not touch them.
        """
        with self._cluster.server.lock:
            instances = self._cluster.zone.instances(self._cluster.server.now())
        stopped = {one.id for one in instances if one.state == "stopped"}
        warned = {entry["EXOIP_PEER_INSTANCE"] for entry in self._cluster[best].events("outsider-holds")}
        return {self._cluster.name(one) for one in stopped & warned}

    def _rank(self, name: str) -> tuple[int, str]:
        return self._said.get(name, 255), self._cluster[name].id

    # -- the end ------------------------------------------------------------------------------------------------------

    def _measure(self, faults: int) -> None:
        for name in sorted(self._actions.running):
            probe = self._probes[name]
            probe.lives[-1].faults += faults
            probe.measure()
            if grown := probe.grown(MEMORY):
                raise Violation("; ".join(grown))

    def _sum_up(self) -> None:
        report, cluster, record = self.report, self._cluster, self._cluster.record()
        names = {node.id: name for name, node in cluster.nodes.items()} | {cluster.listener.id: "the observer"}
        changes = [
            (one.time, frozenset(names.get(i, i) for i in one.holders), one.operation in ("force", "destroy"))
            for one in record
            if one.kind == "holders"
        ]
        for at, seconds, fault in transcript.holes(changes, self._actions.hosts):
            spell = sum(mark <= at for mark in self._marks)
            report.holes.append((seconds, spell, fault))
            if self.plan.strict and not fault and not report.violation and at < self._ended:
                report.violation = f"a detach in spell {spell} left nobody that lives for {seconds:.2f} s"
        report.lives = {name: probe.lives for name, probe in self._probes.items()}
        if report.violation:
            self._note(f"VIOLATION: {report.violation}")
        parts = [report.told, transcript.of_record(record, names, self._began)]
        parts += [transcript.of_log(name, list(node.lines), self._began) for name, node in cluster.nodes.items()]
        spells = [at for at, text in report.told if text.startswith("SPELL ")]
        report.transcript = transcript.merged(parts)
        report.last = transcript.merged(parts, spells[-2] if len(spells) > 1 else 0.0)
