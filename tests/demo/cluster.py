"""The zone, its Elastic IP with traffic and a client, and three instances; reports all that happens
to them, in order.
"""

from __future__ import annotations

import contextlib
import errno
import random
import socket
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from exoip.sandbox.record import Entry
from exoip.sandbox.server import SandboxServer
from exoip.sandbox.traffic import Traffic, entrance
from exoip.sandbox.zone import COMMANDS, Zone
from tests.demo.client import Change, Client
from tests.demo.events import happened_at, in_timeline
from tests.demo.instance import Instance
from tests.demo.timing import Timing
from tests.demo.verdict import History
from tests.support.node_state import Entry as NodeEntry

EIP, PREFIX = "127.0.0.100", "2001:db8:0:1::/96"
ADDRESSES = ("127.0.0.11", "127.0.0.12", "127.0.0.13")
GROUP = "demo"
PORTS = range(10000, 32000)  # below the ephemeral ones, so that no other process takes a dead node's
_VERBS = {command: action for action, command in COMMANDS.items()}


class Cluster:
    """Three instances; the first has the best priority. `eip`: an address or an IPv6 prefix.

    Leaving the context ends all processes and threads.
    """

    def __init__(self, timing: Timing, eip: str = EIP) -> None:
        self.timing, self.eip = timing, eip
        self.zone = Zone("demo-1", eip, operation_seconds=timing.operation)
        self.zone.set_latency(timing.call)
        self.server = SandboxServer(self.zone)
        self.port = _free_port()
        self.started = time.monotonic()
        self._targets: dict[str, tuple[str, int]] = {}
        self.traffic = Traffic(self.server.holders, (entrance(self.zone.eip.ip), 0), self._targets)
        self.instances: list[Instance] = []
        self.entries_of: dict[str, list[NodeEntry]] = {}  # the journal entries of each node, by its name
        self._read = 0  # entries of the zone's record
        self._seen = 0  # requests of the client
        self._change = Change()
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.server)
            stack.enter_context(self.traffic)
            self.client = stack.enter_context(Client(self.traffic.address))
            for number in range(1, 1 + len(ADDRESSES)):
                instance = self._instance(number)
                self.instances.append(instance)
                self.entries_of[instance.name] = []
                stack.callback(instance.close)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _instance(self, number: int) -> Instance:
        name, address, priority = f"node-{number}", ADDRESSES[number - 1], 10 * number
        made = self.zone.add_instance(
            name, self.server.now(), public_ip=address, ipv6=f"2001:db8::{number}", groups=(GROUP,)
        )
        secret = f"secret-of-{name}"
        self.zone.add_key(name, secret)
        timing = self.timing
        words = [
            *("-W", "-xi", self.eip, "-i", made.id, "-G", GROUP, "-P", str(priority), "-l", f"{address}:{self.port}"),
            *("-t", f"{timing.interval:g}", "-r", f"{timing.ratio:g}", "-xe", self.server.endpoint, "-xz", "demo-1"),
            "--flap-damping=no",  # it exists to prevent so many moves in a minute
        ]
        return Instance(made, priority, words, {"EXOSCALE_API_KEY": name, "EXOSCALE_API_SECRET": secret})

    # State

    @property
    def names(self) -> dict[str, str]:
        """The instances' names by id."""
        return {one.id: one.name for one in self.instances}

    @property
    def history(self) -> History:
        """Who held the Elastic IP since when."""
        self.record()
        return self.zone.record.holding(self.zone.eip.id)

    def record(self, since: int = 0) -> list[Entry]:
        """Return the zone's record, from entry `since` on."""
        with self.server.lock:
            self.zone.advance(self.server.now())
            return self.zone.record.since(since)

    def monotonic(self, wall: float) -> float:
        """Return a Unix time as monotonic seconds."""
        return wall - (self.zone.record.wall_offset or 0.0)

    def last_unfit_advert(self, instance: Instance) -> float | None:
        """Return when the instance last released the Elastic IP or left, so advertised 254 or 255;
        None for never.
        """
        own = [
            entry.time + self.timing.seen_done
            for entry in self.record()
            if entry.kind == "holders" and entry.outcome == "detached" and entry.instance == instance.id
            if entry.key == instance.name
        ]
        return max([*own, *([] if instance.exited_at is None else [instance.exited_at])], default=None)

    def lines(self) -> Sequence[str]:
        """Return the state of each node and of the traffic, one line each."""
        holders = self.server.holders()
        lines = [
            f"  {one.name}  {one.address}  {'holds' if one.id in holders else '     '}  {one.description}"
            for one in self.instances
        ]
        requests = self.client.requests
        last = requests[-1].answer or "no answer" if requests else "-"
        return [*lines, f"  {self.eip}: {len(requests)} requests, {self.client.lost()} lost, the last one: {last}"]

    # What happens

    def happenings(self) -> list[tuple[float, str, str]]:
        """Return what happened since the last call, oldest first: monotonic seconds, source,
        sentence.
        """
        entries = self.record(self._read)
        self._read += len(entries)
        found = [(entry.time, "zone", text) for entry in entries if (text := self._describe(entry))]
        for instance in self.instances:
            instance.check()
            if instance.web_port is not None:
                self._targets[instance.id] = (instance.address, instance.web_port)
            news = instance.news()
            self.entries_of[instance.name] += news
            shown = [one for one in news if in_timeline(one)]
            found += [(self.monotonic(happened_at(one)), instance.name, one["MESSAGE"]) for one in shown]
        requests = self.client.requests[self._seen :]
        self._seen += len(requests)
        found += [(one.at, "client", text) for one in requests if (text := self._change.after(one))]
        return sorted(found, key=lambda one: one[0])

    def _describe(self, entry: Entry) -> str:
        """Return a sentence about an entry of the zone's record, "" if it does not matter here."""
        names = self.names
        if entry.kind == "holders":
            return f"{self.eip} is on {' and '.join(sorted(names[one] for one in entry.holders)) or 'no node'}"
        verb = _VERBS.get(entry.operation)
        if verb is None or entry.kind not in ("call", "answer"):
            return ""
        what = f"{verb} {names.get(entry.instance, entry.instance)}, requested by {entry.key}"
        if entry.kind == "call":
            return what
        return f"answered with {entry.status}: {what}" if entry.status >= 400 else ""


def _free_port() -> int:
    """Return a UDP port that is free on all addresses.

    Raises OSError if there is none, or no such address.
    """
    for _ in range(100):
        port = random.choice(PORTS)
        with contextlib.ExitStack() as stack:
            try:
                for address in ADDRESSES:
                    one = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                    one.bind((address, port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
        return port
    raise OSError("no UDP port is free on " + ", ".join(ADDRESSES))
