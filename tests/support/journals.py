"""The journals of nodes in virtual time, as `journalctl -t exoip -o json` would print them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from exoip.core.events import Event
from exoip.telemetry.journal import Journal
from tests.simulation.world import EIP, Host, World, instance_id

EPOCH = 1_764_000_000.0
NAMES = {instance_id(name): f"web-{name}" for name in "abcq"}


def label(wanted: str) -> str:
    """A person's words for an instance id, as the daemon has them."""
    name = NAMES.get(wanted, wanted)
    return f"{name} (192.0.2.{ord(name[-1]) - 96})" if wanted in NAMES else wanted


class Journals:
    """A world of three hosts, a, b and c, of priority 10, 20 and 30, and the journal `entries` of
    each.

    `config`: options of each host. `moves`: each time another one alone holds, when (Unix time) and
    who, by the zone's record.
    """

    def __init__(self, **config: float) -> None:
        self.world = World(seed=3)
        self.entries: defaultdict[str, list[dict[str, str]]] = defaultdict(list)
        self.moves: list[tuple[float, str]] = []
        self.world.listeners.append(self._told)
        self.world.watchers.append(self._look)
        for name, priority in (("a", 10), ("b", 20), ("c", 30)):
            self.world.add(name, priority, **config)
        for host in self.world.hosts.values():
            host.start()
        self.world.advance(20)

    def __getitem__(self, name: str) -> Host:
        return self.world.hosts[name]

    def of(self, names: str) -> list[dict[str, str]]:
        """What is in the journals of these hosts, one after the other."""
        return [entry for name in names for entry in self.entries[name]]

    def step(self, action: Callable[[], object], seconds: float = 60.0) -> float:
        """Do something and let time pass; return when that was (Unix time)."""
        at = EPOCH + self.world.now
        action()
        self.world.advance(seconds)
        return at

    def aside(self, name: str, source: str, why: str) -> None:
        """Let a host's operator or health check set it aside, or, with "", no longer."""
        host = self[name]
        host.run(lambda: host.node and host.node.set_unfit(source, why, host.now))
        host.pump()

    def _told(self, host: Host, event: Event) -> None:
        journal = Journal(EIP, host.id, label, lambda at: EPOCH + at + host.clock_behind)
        stamp = f"{(EPOCH + self.world.now) * 1e6:.0f}"
        told = {"MESSAGE": journal.sentence(event), "__REALTIME_TIMESTAMP": stamp, "_HOSTNAME": NAMES[host.id]}
        self.entries[host.name].append(told | journal.fields(event))

    def _look(self) -> None:
        holders = self.world.holders
        if len(holders) == 1 and (not self.moves or self.moves[-1][1] not in holders):
            self.moves.append((EPOCH + self.world.now, next(iter(holders))))
