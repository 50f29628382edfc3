"""Real nodes on loopback: a simulated zone, `exoip -W` processes, and a member that only listens.

    with Cluster(nodes=3) as cluster:
        cluster.start()
        cluster.settle("n1")
        cluster["n1"].kill()
        cluster.until(lambda: cluster.holders() == {"n2"}, "n2 holds")

Every cluster has a /24 of 127.0.0.0/8 and a UDP port of its own, so any number of them can run at
the same time: node nK has .1K, the Elastic IP .100, the observer .1, and strangers take what is
left. The observer is an instance of the zone and a member of the group, but no node: it sends
nothing.

On leaving the context every process is ended by its id. Each must have ended well, without a
traceback and without showing its secret. If anything fails, every node's log and the zone's record
are printed.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from exoip.sandbox.faults import Fault, Match
from exoip.sandbox.model import Instance
from exoip.sandbox.record import Entry
from exoip.sandbox.server import SandboxServer
from exoip.sandbox.zone import Zone
from tests.support.observer import Observer
from tests.support.process import Process, environment
from tests.support.waiting import PATIENCE, POLL, until

GROUP = "cluster"
ATTACH, DETACH = "attach-instance-to-elastic-ip", "detach-instance-from-elastic-ip"

Members = Literal["group", "addresses", "ids"]


_WORKERS = 16  # of pytest-xdist, with networks of their own
_taken: set[str] = set()


def free_net() -> str:
    """Return a /24 of the loopback, as 127.B.C, that no other cluster and no other worker uses."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % _WORKERS
    while (net := f"127.{16 + worker + _WORKERS * random.randrange(14)}.{random.randrange(256)}") in _taken:
        pass
    _taken.add(net)
    return net


def _directories(folder: Path | None, name: str) -> dict[str, str]:
    if folder is None:
        return {}
    directories = {"RUNTIME_DIRECTORY": folder / "run" / name, "STATE_DIRECTORY": folder / "lib" / name}
    for directory in directories.values():
        directory.mkdir(parents=True)
    return {variable: str(directory) for variable, directory in directories.items()}


class Cluster:
    """`nodes` processes n1, n2, … of priorities 10, 20, … (or `priorities`); none is started yet.

    interval, ratio     of the heartbeats, in seconds and as --dead-ratio
    latency, operation  seconds that a call and an operation of the API take
    members             how the nodes find each other
    options             further words of every node's command line
    tls                 if given, the API is served over it
    tell                is called with the logs and the zone's record after a failure
    folder              if given, every node has a runtime and a state directory in it, as from the
                        unit: run/NAME and lib/NAME
    observed            False: the observer is no member of the group and hears nothing
    eip                 the Elastic IP, if not .100: an IPv6 prefix
    """

    def __init__(
        self,
        nodes: int = 2,
        *,
        priorities: Sequence[int] = (),
        interval: float = 0.2,
        ratio: float = 5,
        latency: float = 0.0,
        operation: float = 0.05,
        members: Members = "group",
        options: Sequence[str] = ("-v",),
        tls: ssl.SSLContext | None = None,
        tell: Callable[[str], object] = print,
        folder: Path | None = None,
        observed: bool = True,
        eip: str = "",
    ) -> None:
        self.interval, self.ratio, self._tell = interval, ratio, tell
        self.net = free_net()
        self.eip = eip or f"{self.net}.100"
        self.observer = Observer(f"{self.net}.1")
        self.port = self.observer.port
        self.zone = Zone(eip=self.eip, operation_seconds=operation)
        self.zone.set_latency(latency)
        self.server = SandboxServer(self.zone, tls=tls)
        names = [f"n{number}" for number in range(1, nodes + 1)]
        instances = [self._instance(name, 10 + number) for number, name in enumerate(names, start=1)]
        self.listener = self._instance("observer", 1, member=observed)
        self.nodes: dict[str, Process] = {}
        self._stack = contextlib.ExitStack()
        self._stack.callback(self.observer.close)
        self._stack.enter_context(self.server)
        for one, priority in zip(instances, priorities or range(10, 251, 10), strict=False):
            words = ["-W", "-xi", self.eip, "-P", str(priority), "-t", f"{interval:g}", "-r", f"{ratio:g}"]
            words += ["-l", f"{one.public_ip}:{self.port}", "-xm", self.server.metadata_url(one.name)]
            words += ["-xe", self.server.endpoint, "-xz", self.zone.name, "-xk", f"EXO{one.name}"]
            words += [*self._members(members, [*instances, *([self.listener] if observed else [])]), *options]
            env = environment(IF_EXOSCALE_API_SECRET=self.zone.keys[f"EXO{one.name}"].secret)
            self.nodes[one.name] = Process(one.name, one, words, env | _directories(folder, one.name))

    def _instance(self, name: str, host: int, *, member: bool = True) -> Instance:
        self.zone.add_key(f"EXO{name}", f"secret-of-{name}-{random.getrandbits(128):032x}")
        groups = (GROUP,) if member else ()
        return self.zone.add_instance(name, public_ip=f"{self.net}.{host}", ipv6=f"2001:db8::{host}", groups=groups)

    def _members(self, members: Members, instances: Sequence[Instance]) -> list[str]:
        if members == "group":
            return ["-G", GROUP]
        named = [f"{one.public_ip}={one.id}" if members == "ids" else f"{one.public_ip}" for one in instances]
        return ["-p", ",".join(named)]

    @property
    def dead_time(self) -> float:
        """Seconds of silence after which a node is dead."""
        return self.interval * self.ratio

    def __getitem__(self, name: str) -> Process:
        return self.nodes[name]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._end(gently=kind is None)
            if kind is None:
                self._check_logs()
        except BaseException:
            if kind is None:
                self.show()
            raise
        finally:
            self._stack.close()
            if kind is not None:
                self.show()

    # -- doing --------------------------------------------------------------------------------------------------------

    def start(self, *names: str) -> None:
        """Start the named nodes, or all."""
        for name in names or self.nodes:
            self.nodes[name].start()

    def reload(self, name: str) -> None:
        """Let a node read its configuration again, and wait until it is in force."""
        node, sentence = self.nodes[name], "read again and is in force"
        before = len(node.logged(sentence))
        node.send(signal.SIGHUP)
        self.until(lambda: len(node.logged(sentence)) > before, f"{name} has read its configuration")

    def fault(
        self, kind: str, method: str = "", path: str = "", key: str = "", count: int | None = None, **fields: object
    ) -> int:
        """Put a fault of the API in force; returns its number."""
        with self.server.lock:
            fault = Fault(kind, Match(method, path, key), count=count, **fields)  # type: ignore[arg-type]
            return self.zone.add_fault(fault, self.server.now())

    def faults(self) -> int:
        """How many faults are still in force."""
        with self.server.lock:
            return len(self.zone.faults.active(self.server.now()))

    def clear(self) -> float:
        """Lift every fault; returns when that was, in seconds of time.monotonic."""
        with self.server.lock:
            self.zone.clear_faults(self.server.now())
            return self.server.now()

    # -- looking ------------------------------------------------------------------------------------------------------

    def name(self, instance_id: str) -> str:
        return next((node.name for node in self.nodes.values() if node.id == instance_id), instance_id)

    def holders(self) -> set[str]:
        """The names of those that hold the Elastic IP now."""
        return {self.name(one) for one in self.server.holders()}

    @property
    def mark(self) -> int:
        """Where the zone's record stands now, for the `since` of other methods."""
        with self.server.lock:
            self.zone.advance(self.server.now())
            return len(self.zone.record)

    def record(self, since: int = 0) -> list[Entry]:
        """The zone's record from that mark on."""
        with self.server.lock:
            self.zone.advance(self.server.now())
            return self.zone.record.since(since)

    def history(self, since: int = 0) -> list[set[str]]:
        """Each set of holders that there was from that mark on, in order."""
        return [{self.name(one) for one in entry.holders} for entry in self.record(since) if entry.kind == "holders"]

    def mutations(self, since: int = 0) -> list[Entry]:
        """The attach and detach calls that arrived from that mark on."""
        return [entry for entry in self.record(since) if entry.kind == "call" and entry.method != "GET"]

    def moves(self, since: int = 0) -> list[tuple[str, str, str]]:
        """These as (who called, attach or detach, of whom), by names."""
        short = {ATTACH: "attach", DETACH: "detach"}
        return [(e.key.removeprefix("EXO"), short[e.operation], self.name(e.instance)) for e in self.mutations(since)]

    # -- waiting ------------------------------------------------------------------------------------------------------

    def until(self, condition: Callable[[], object], what: str, patience: float = PATIENCE) -> None:
        """Wait for the condition; a node that ended unasked is told at once."""

        def looked() -> object:
            for node in self.nodes.values():
                if node.failed is not None:
                    raise AssertionError(f"{node.name} ended with {node.failed} while waiting for: {what}")
            return condition()

        until(looked, what, patience)

    def settle(self, holder: str) -> None:
        """Wait until all running nodes hear each other, `holder` is the only master and holder, as all
        of them know, and all is quiet.
        """

        def settled() -> bool:
            running = [node for node in self.nodes.values() if node.running]
            masters = [node.name for node in running if node.role == "MASTER"]
            backups = [node.name for node in running if node.role == "BACKUP"]
            heard = all(one.hears(other) for one in running for other in running if one is not other)
            alone = self.holders() == {holder} and masters == [holder] and len(backups) == len(running) - 1
            # A backup may still wait for the end of its own release
            known = [node.name for node in running if node.holds] == [holder]
            return heard and alone and known and self.quiet()

        self.until(settled, f"{holder} is the one master and the one holder, and all hear each other")

    def quiet(self) -> bool:
        """Return whether no operation of the API is under way."""
        with self.server.lock:
            pending = [one for one in self.zone.operations(self.server.now()) if one.state == "pending"]
            return all(one.completes == float("inf") for one in pending)

    def watch(self, seconds: float) -> Iterator[set[str]]:
        """The holders, again and again for that many seconds."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            yield self.holders()
            time.sleep(POLL)

    # -- the end ------------------------------------------------------------------------------------------------------

    def _end(self, *, gently: bool) -> None:
        self.clear()
        for node in self.nodes.values():
            if node.running:
                node.send(signal.SIGCONT)
                node.send(signal.SIGTERM if gently else signal.SIGKILL)
        for node in self.nodes.values():
            node.close(gently=gently)

    def _check_logs(self) -> None:
        for node in self.nodes.values():
            text = "\n".join(node.lines)
            assert "Traceback" not in text, f"{node.name} has a traceback in its log"
            critical = [line for line in node.log if " CRITICAL " in line and "two hosts have one id" not in line]
            assert not critical, f"{node.name} has a critical error in its log"
            secrets = [
                self.zone.keys[f"EXO{node.name}"].secret,
                *filter(None, node.env.get("IF_AUTH_KEY", "").split(",")),
            ]
            assert not [secret for secret in secrets if secret in text], f"{node.name} logged a secret"
            odd = [code for code in node.exits if code not in (0, -signal.SIGKILL)]
            assert not odd, f"{node.name} ended with {odd}"
            if node.exits:
                assert text, f"{node.name} logged nothing at all"

    def show(self) -> None:
        """Tell what there is to know: the zone's record and every node's log."""
        lines = [f"\n== the zone's record ({self.eip}); a call stands where it was answered"]
        for entry in self.record():
            if entry.kind in ("call", "metadata"):
                continue
            since = "" if entry.arrived is None else f"(arrived {entry.arrived:.3f})"
            status = str(entry.status) if entry.kind == "answer" else ""
            about = self.name(entry.instance) if entry.instance else ""
            told = [f"{entry.time:.3f}", since, entry.kind, entry.key, entry.method, entry.path, status, entry.outcome]
            told += [about, *(f"-> {self.name(one)}" for one in entry.holders)]
            lines.append("  " + " ".join(filter(None, told)))
        for node in self.nodes.values():
            lines.append(f"== {node.name}, {node.address}, instance {node.id}, exits {node.exits}")
            lines += [f"  {line}" for line in list(node.lines)]
        self._tell("\n".join(lines))
