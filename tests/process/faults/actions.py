"""Inject the faults of a plan into a cluster of real daemons, and end them."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

from exoip.sandbox.model import NotFound
from tests.process.faults.node_probe import NodeProbe
from tests.process.faults.plan import Fault
from tests.support.cluster import GROUP, Cluster
from tests.support.partition import Partition, PartitionError

Undo = Callable[[], None]


class Violation(AssertionError):
    """Report that something happened which must not."""


class Actions:
    """Inject faults into the daemons.

    `running`: the daemons that should run. `leaving`: those that are stopping. `reloads`: how many
    reloads each node should have done. `hosts`: (time on the zone's clock, name, whether the
    instance is alive from then on).
    """

    def __init__(self, cluster: Cluster, probes: Mapping[str, NodeProbe], latency: float) -> None:
        self.cluster, self.probes, self._latency_else = cluster, probes, latency
        self.running: set[str] = set()
        self.leaving: set[str] = set()
        self.reloads: dict[str, int] = {}
        self.hosts: list[tuple[float, str, bool]] = []
        self._cuts = contextlib.ExitStack()

    def begin(self, fault: Fault) -> Undo | None:
        """Inject a fault; return how to end it, or None if there is nothing to end."""
        undo: Undo | None = getattr(self, f"_{fault.kind}")(fault)
        return undo

    def close(self) -> None:
        """End every cut."""
        self._cuts.close()

    def _now(self) -> float:
        return self.cluster.server.now()

    def file(self, name: str) -> Path:
        return self.probes[name].folder / "exoip.conf"

    def write(self, name: str, priority: float) -> None:
        self.file(name).write_text(f"host-priority = {priority:g}\n")

    def priority(self, name: str) -> int:
        return int(self.file(name).read_text().split("=")[1])

    def start(self, name: str) -> None:
        self.probes[name].start()
        self.running.add(name)

    def _kill(self, name: str) -> None:
        self.running.discard(name)
        self.cluster[name].kill()

    def _crash(self, fault: Fault) -> Undo:
        self._kill(fault.node)
        return lambda: self.start(fault.node)

    def _host(self, fault: Fault) -> Undo:
        self.hosts.append((self._now(), fault.node, False))
        self._kill(fault.node)

        def boot() -> None:
            self.hosts.append((self._now(), fault.node, True))
            self.probes[fault.node].forget()
            self.start(fault.node)

        return boot

    def _halt(self, fault: Fault) -> Undo:
        boot, instance_id = self._host(fault), self.cluster[fault.node].id
        self._in_zone("set_state", instance_id, "stopped")

        def run() -> None:
            self._in_zone("set_state", instance_id, "running")
            boot()

        return run

    def _destroy(self, fault: Fault) -> Undo:
        boot, node = self._host(fault), self.cluster[fault.node]
        self._in_zone("remove_instance", node.id)

        def make() -> None:
            with self.cluster.server.lock:
                self.cluster.zone.add_instance(node.name, self._now(), public_ip=node.address, groups=(GROUP,))
            boot()

        return make

    def _in_zone(self, method: str, *values: object) -> None:
        with self.cluster.server.lock:
            getattr(self.cluster.zone, method)(*values, self._now())

    def _stop(self, fault: Fault) -> Undo:
        self.running.discard(fault.node)
        self.leaving.add(fault.node)
        self.cluster[fault.node].send(signal.SIGTERM)

        def start() -> None:
            self.gone(fault.node)
            self.start(fault.node)

        return start

    def gone(self, name: str) -> None:
        """Wait until a daemon that is stopping has ended."""
        if name in self.leaving and (code := self.cluster[name].wait()) != 0:
            raise Violation(f"{name} exited with {code} at a stop")
        self.leaving.discard(name)

    def _freeze(self, fault: Fault) -> Undo:
        self.cluster[fault.node].send(signal.SIGSTOP)
        return lambda: self.cluster[fault.node].send(signal.SIGCONT)

    def _reload(self, fault: Fault) -> None:
        self.write(fault.node, fault.detail)
        self.hang_up(fault.node)

    def hang_up(self, name: str) -> None:
        probe = self.probes[name]
        if probe.ready and name in self.running:  # before that it reads the file anyway
            self.reloads[name] = probe.reloads + 1
            probe.reload()

    def _group(self, fault: Fault) -> Undo:
        instance_id = self.cluster[fault.node].id

        def change(method: str) -> None:
            self._in_zone(method, instance_id, GROUP)
            for name in self.running:
                self.hang_up(name)

        change("leave_group")
        return lambda: change("join_group")

    def _cut(self, fault: Fault, *, oneway: bool = False, told: bool = False) -> Undo:
        others = [fault.other] if fault.other else [name for name in self.cluster.nodes if name != fault.node]
        one, other = [self.cluster[fault.node].address], [self.cluster[name].address for name in others]
        cut = Partition(one, other, self.cluster.port, oneway=oneway, told=told)
        try:
            self._cuts.enter_context(cut)
        except PartitionError as error:
            raise Violation(f"the network cannot be cut: {error}") from error
        return cut.close

    def _isolate(self, fault: Fault) -> Undo:
        return self._cut(fault)

    def _oneway(self, fault: Fault) -> Undo:
        return self._cut(fault, oneway=True)

    def _deny(self, fault: Fault) -> Undo:
        return self._cut(fault, oneway=True, told=True)

    def _api(self, fault: Fault) -> Undo:
        order = fault.order
        assert order is not None
        key = f"EXO{order.key}" if order.key else ""
        number = self.cluster.fault(path=order.path, key=key, count=order.count, **order.fields)  # type: ignore[arg-type]

        def lift() -> None:
            with self.cluster.server.lock, contextlib.suppress(NotFound):  # it may be over
                self.cluster.zone.clear_faults(self._now(), number)

        return lift

    def _sick(self, fault: Fault) -> Undo:
        sick = self.probes[fault.node].sick
        sick.touch()
        return sick.unlink

    def _latency(self, fault: Fault) -> Undo:
        key = f"EXO{fault.node}" if fault.node else ""

        def slow(seconds: float) -> None:
            with self.cluster.server.lock:
                self.cluster.zone.set_latency(seconds, key)

        slow(fault.detail)
        return lambda: slow(self._latency_else)

    def _detach(self, _fault: Fault) -> None:
        for holder in self.cluster.server.holders():
            self._in_zone("force", holder, False)

    def _attach(self, fault: Fault) -> None:
        with self.cluster.server.lock:
            there = any(one.name == fault.node for one in self.cluster.zone.instances(self._now()))
        if there:
            self._in_zone("force", self.cluster[fault.node].id, True)
