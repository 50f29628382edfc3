"""The zone, its Elastic IP (EIP) with traffic and a client, the three instances; and all that happens to them, in order."""

from __future__ import annotations

import contextlib
import errno
import random
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from exoip.sandbox.record import Entry
from exoip.sandbox.server import SandboxServer
from exoip.sandbox.traffic import Traffic
from exoip.sandbox.zone import COMMANDS, Zone
from tests.demo.client import Change, Client
from tests.demo.instance import Instance
from tests.demo.judge import History
from tests.demo.pace import Pace
from tests.demo.view import Entry as NodeEntry
from tests.demo.view import happened_at, worth_telling

EIP = "127.0.0.100"
ADDRESSES = ("127.0.0.11", "127.0.0.12", "127.0.0.13")
GROUP = "demo"
PORTS = range(
    10000, 32000
)  # below those that systems give to whoever asks for any: nobody takes a dead node's meanwhile
_VERBS = {command: action for action, command in COMMANDS.items()}


class Cluster:
    """Three instances; the first is the best. A context: leaving it ends every child and every thread."""

    def __init__(self, pace: Pace, folder: Path) -> None:
        self.pace = pace
        self.zone = Zone("demo-1", EIP, operation_seconds=pace.operation)
        self.zone.set_latency(pace.call)
        self.server = SandboxServer(self.zone)
        self.port = free_port(ADDRESSES)
        self.started = time.monotonic()
        self._targets: dict[str, tuple[str, int]] = {}
        self.traffic = Traffic(self.server.holders, (EIP, 0), self._targets)
        self.instances: list[Instance] = []
        self._folder = folder
        self._read = 0  # entries of the zone's record
        self._seen = 0  # requests of the client
        self._change = Change()
        self.told: dict[str, list[NodeEntry]] = {}  # what each node told, by its name
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.server)
            stack.enter_context(self.traffic)
            self.client = stack.enter_context(Client(self.traffic.address))
            for number, address in enumerate(ADDRESSES, start=1):
                instance = self._instance(f"node-{number}", address, 10 * number)
                self.instances.append(instance)
                self.told[instance.name] = []
                stack.callback(instance.close)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _instance(self, name: str, address: str, priority: int) -> Instance:
        made = self.zone.add_instance(name, self.server.now(), public_ip=address, groups=(GROUP,))
        secret = f"secret-of-{name}"
        self.zone.add_key(name, secret)
        pace = self.pace
        arguments = [
            *("-W", "-xi", EIP, "-i", made.id, "-G", GROUP, "-P", str(priority), "-l", f"{address}:{self.port}"),
            *("-t", f"{pace.interval:g}", "-r", f"{pace.ratio:g}", "-xe", self.server.endpoint, "-xz", self.zone.name),
            "--flap-damping=no",  # so many moves in a minute are what it is there to prevent
        ]
        environment = {"EXOSCALE_API_KEY": name, "EXOSCALE_API_SECRET": secret}
        return Instance(name, made.id, address, priority, arguments, environment, self._folder)

    # What is so

    @property
    def names(self) -> dict[str, str]:
        """The instances' names by id."""
        return {one.id: one.name for one in self.instances}

    @property
    def history(self) -> History:
        """Who held the EIP since when."""
        with self.server.lock:
            self.zone.advance(self.server.now())
            return self.zone.record.holding(self.zone.eip.id)

    @property
    def holders(self) -> frozenset[str]:
        """The ids of those that hold the EIP now."""
        return self.server.holders()

    def entries(self, since: int = 0) -> list[Entry]:
        """The zone's record, from entry `since` on."""
        with self.server.lock:
            self.zone.advance(self.server.now())
            return self.zone.record.since(since)

    def monotonic(self, wall: float) -> float:
        """A Unix time as monotonic seconds."""
        return wall - (self.zone.record.wall_offset or 0.0)

    def let_go_at(self, instance: Instance) -> float | None:
        """When the instance last let go of the EIP itself, or left: until then it advertised 254 or 255. None: never."""
        own = [
            entry.time + self.pace.seen_done
            for entry in self.entries()
            if entry.kind == "holders" and entry.outcome == "detached" and entry.instance == instance.id
            if entry.key == instance.name
        ]
        return max([*own, *([instance.exited_at] if instance.exited_at is not None else [])], default=None)

    # What happens

    def happenings(self) -> list[tuple[float, str, str]]:
        """What happened since the last time, oldest first: monotonic seconds, who tells it, one sentence."""
        found = []
        entries = self.entries(self._read)
        self._read += len(entries)
        found += [(entry.time, "zone", told) for entry in entries if (told := self._told(entry))]
        for instance in self.instances:
            instance.listen()
            if instance.web_port is not None:
                self._targets[instance.id] = (instance.address, instance.web_port)
            told = instance.news()
            self.told[instance.name] += told
            found += [
                (self.monotonic(happened_at(one)), instance.name, one["MESSAGE"]) for one in told if worth_telling(one)
            ]
        requests = self.client.requests[self._seen :]
        self._seen += len(requests)
        found += [(one.at, "client", change) for one in requests if (change := self._change.look(one))]
        return sorted(found, key=lambda one: one[0])

    def _told(self, entry: Entry) -> str:
        names = self.names
        if entry.kind == "holders":
            return f"{EIP} is on {' and '.join(sorted(names[one] for one in entry.holders)) or 'nobody'}"
        verb = _VERBS.get(entry.operation)
        if verb is None or entry.kind not in ("call", "answer"):
            return ""
        what = f"{verb} {names.get(entry.instance, entry.instance)}, asked by {entry.key}"
        if entry.kind == "call":
            return what
        return f"refused with {entry.status}: {what}" if entry.status >= 400 else ""

    def state(self) -> Sequence[str]:
        """The state of each node and of the traffic, one line each."""
        holders = self.holders
        lines = [
            f"  {one.name}  {one.address}  {'holds' if one.id in holders else '     '}  {one.state}"
            for one in self.instances
        ]
        requests = self.client.requests
        last = requests[-1].answer or "no answer" if requests else "-"
        return [*lines, f"  {EIP}: {len(requests)} requests, {self.client.lost()} lost, the last one: {last}"]


def free_port(addresses: Sequence[str]) -> int:
    """A UDP port that is free on all these addresses. Raises OSError where an address can not be had."""
    for _ in range(100):
        port = random.choice(PORTS)
        with contextlib.ExitStack() as stack:
            try:
                for address in addresses:
                    one = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                    one.bind((address, port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
        return port
    raise OSError("no UDP port is free on " + ", ".join(addresses))
