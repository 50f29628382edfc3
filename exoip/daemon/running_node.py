"""A node at work: its threads, clients and addons, from the moment that its topology is known."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from exoip.config.options import Config
from exoip.core.calls import Call, Lane, Outcome
from exoip.core.events import Event, EventName
from exoip.core.node import Node
from exoip.core.peers import ElectionConfig
from exoip.core.reads import REFRESH_INTERVAL
from exoip.core.unfit import OPERATOR
from exoip.daemon.addons import Addons
from exoip.daemon.api_worker import ApiCaller, ApiWorker, ClientPool
from exoip.daemon.clock import clock, wall
from exoip.daemon.heartbeat_threads import HeartbeatLink, Receiver, Sender
from exoip.daemon.reload import Reloaded
from exoip.daemon.state_files import HeldFile, TopologyCache
from exoip.exoscale import discovery
from exoip.exoscale.client import Client
from exoip.exoscale.topology import Topology
from exoip.heartbeat.socket_address import SocketAddress
from exoip.heartbeat.udp import HeartbeatSocket
from exoip.operator.control_commands import ControlledNode
from exoip.telemetry import metrics
from exoip.telemetry.api_health import ApiHealth
from exoip.telemetry.counters import Counters
from exoip.telemetry.journal import Journal
from exoip.telemetry.log import log, set_verbose
from exoip.telemetry.metrics import HeartbeatCounts, MetricsInput
from exoip.telemetry.status import StatusInput, status_line
from exoip.thread import SupervisedThread


@dataclass(frozen=True, slots=True)
class Refreshed:
    """The topology that was read again for a configuration."""

    config: Config
    topology: Topology


class RunningNode:
    """A node, the threads that work for it, and the configuration and topology that are in force.

    The main thread alone replaces these two. `emit` puts what other threads have for it into its
    mailbox: it hands an event to `on_event`, and what a refresh found to `refresh`. Raises
    ConfigError if the metrics port cannot be bound.
    """

    def __init__(
        self,
        config: Config,
        topology: Topology,
        cache: TopologyCache,
        channel: HeartbeatSocket,
        environ: Mapping[str, str],
        emit: Callable[[Event | Refreshed], None],
        *,
        after_crash: bool,
        unfit_until: float,
        drained: str,
    ) -> None:
        self.config, self.topology, self._cache, self._emit = config, topology, cache, emit
        self._former = topology.members  # for the names of those that are no longer members
        self.node = Node(
            _election_config(config, topology), topology.eip, _places(topology), clock(),
            emit=emit, verify_interval=config.verify_interval,
            quarantined_until=unfit_until, known=after_crash,
        )  # fmt: skip
        self.node.refresh_in(_refresh_interval(config, soon=after_crash), clock())
        self._held = HeldFile(environ)
        held = self._held.take(clock())
        if after_crash and held is not None:
            self.node.resume(held[0], clock(), in_doubt=held[1])
        self.node.set_unfit(OPERATOR, drained, clock())
        self._clients = ClientPool(*[discovery.client_for(config, topology.endpoint) for _ in Lane])
        self._counters, self.api = Counters(), ApiHealth(topology.instance_id, emit)
        self._journal = Journal(topology.eip_label, topology.instance_id, self.display_name, wall)
        self._link = HeartbeatLink(channel, self.node, emit, config.auth_policy(), clock)
        self._sender, self._receiver = Sender(self._link), Receiver(self._link)
        caller = ApiCaller(topology.eip, topology.eip_id, self._clients, self._read_group, clock)
        self._workers = [ApiWorker(lane, self.node, caller, self._count_call, clock) for lane in Lane]
        self._addons = Addons(
            config, topology, self.node, environ, emit, self.metrics,
            after_crash=after_crash or held is not None, holds=held is not None,
        )  # fmt: skip

    @property
    def threads(self) -> list[SupervisedThread]:
        """The threads for the supervisor to watch; without one of them the daemon is of no use."""
        return [self._sender, self._receiver, *self._workers, *self._addons.supervised]

    @property
    def busy(self) -> bool:
        """Whether something beside the node needs more time before a stop."""
        return self._addons.busy

    def start(self) -> None:
        """Start all threads."""
        for thread in (self._sender, self._receiver, *self._workers):
            thread.start()
        self._addons.start()

    def stop(self) -> None:
        """Stop the addons and their children. The other threads end with the process."""
        self._addons.stop()

    def keep_held(self, seconds: float) -> str:
        """Keep for so many seconds after the last heartbeat whether this node holds.

        Return why a restart within that time may move the Elastic IP, or "".
        """
        return self._held.save(self.node.snapshot(clock()), self._sender.sent_at + seconds)

    def on_event(self, event: Event) -> None:
        """Log an event, count it, and let the addons know."""
        if event.name is EventName.NEVER_HEARD:
            cure = self._status_input().cure_of_silence(event.instance_id)
            event = replace(event, reason=f"{event.reason}; {cure}")
        self._journal.log(event)
        self._counters.count_event(event)
        self.api.on_event(event)
        self._addons.on_event(event, self._journal.explain)

    def apply(self, reloaded: Reloaded) -> None:
        """Apply a new configuration and the topology that was discovered for it, or nothing of it.

        Raises OutOfThreads.
        """
        config = reloaded.config
        self._addons.apply(config)
        self._link.auth_policy = config.auth_policy()
        set_verbose(config.verbose)
        self._clients.sign_with(config.api_key, config.api_secret.reveal())
        self.node.refresh_in(_refresh_interval(config, soon=reloaded.topology is None), clock())
        self._use(config, reloaded.topology or self.topology)  # which may have the group read sooner
        self.node.set_config(_election_config(config, self.topology), config.verify_interval, clock())
        if reloaded.topology is not None:
            self.api.on_discovery(clock(), refreshes=discovery.members_change(config))

    def refresh(self, refreshed: Refreshed) -> None:
        """Use what a refresh found, unless a reload has replaced its configuration since."""
        if refreshed.config is self.config:
            self._use(refreshed.config, refreshed.topology)

    def _use(self, config: Config, topology: Topology) -> None:
        """Replace the members. One that a list lacks and the node keeps for a while stays known."""
        log_warnings(config, self.config)
        log_warnings(topology, self.topology)
        certain = not discovery.members_change(config)  # one list of the API is not enough to drop a live member
        self.node.set_members(_places(topology), clock(), certain=certain)
        stay = self.node.admission.members.keys() - {member.instance_id for member in topology.members}
        members = (*topology.members, *(one for one in self.topology.members if one.instance_id in stay))
        self._former = self.topology.members
        # In this order: `_read_group` reads the configuration first.
        self.topology = replace(topology, members=tuple(sorted(members, key=lambda member: member.instance_id)))
        self.config = config
        self._cache.save(config, self.topology)

    # -- called by other threads ----------------------------------------------------------------------------------

    def for_control(self) -> ControlledNode:
        """Return what the control socket needs."""
        return ControlledNode(self.node, self._status_input, self.display_name, self.metrics)

    def metrics(self) -> str:
        """Return the metrics as text. Raises ConfigError if the package for them is missing."""
        topology, caller = self.topology, self._addons.hook_caller
        return metrics.render(
            MetricsInput(
                self.node.snapshot(clock()), topology.eip_label, topology.instance_id,
                HeartbeatCounts(self._sender.sent, self._sender.failures, self._receiver.received),
                self._counters.snapshot(), tuple(checker.view for checker in self._addons.checkers),
                caller.view if caller is not None else None, wall, self._journal.replace_ids, self.api.view(),
                topology.stopped,
            )
        )  # fmt: skip

    def display_name(self, instance_id: str) -> str:
        """Return the name and address of an instance, for people."""
        for member in (*self.topology.members, *self._former):
            if member.instance_id == instance_id:
                return f"{member.name or instance_id} ({member.address})"
        return instance_id

    def status_line(self) -> str:
        """Return the state in one line, for systemd."""
        return status_line(self.node.snapshot(clock()), self.topology.eip_label, self.api.view())

    def _status_input(self) -> StatusInput:
        checks = tuple(checker.view for checker in self._addons.checkers)
        return StatusInput(self.config, self.topology, checks, self._journal.recent, self.api.view())

    def _count_call(self, call: Call, outcome: Outcome) -> None:
        self._counters.count_call(call, outcome)
        self.api.note(call, outcome)

    def _read_group(self, client: Client) -> None:
        """Read the group again; an API worker calls this."""
        config = self.config
        self._emit(Refreshed(config, discovery.refresh(config, client, self.topology)))


def log_warnings(new: Config | Topology, old: Config | Topology | None = None) -> None:
    """Log what is odd about a configuration or topology, and was not about the old one."""
    for warning in new.warnings:
        if old is None or warning not in old.warnings:
            log(logging.WARNING, "%s", warning)


def _places(topology: Topology) -> dict[str, SocketAddress]:
    """Return where each member sends from and is sent to, by id."""
    return {member.instance_id: SocketAddress(member.address, member.port) for member in topology.members}


def _refresh_interval(config: Config, *, soon: bool) -> float:
    """Return after how many seconds the members are read again; never if they cannot change."""
    return (0.0 if soon else REFRESH_INTERVAL) if discovery.members_change(config) else math.inf


def _election_config(config: Config, topology: Topology) -> ElectionConfig:
    return ElectionConfig(
        topology.instance_id,
        config.host_priority,
        config.advertisement_interval,
        config.dead_ratio,
        config.preempt_delay,
        config.flap_damping,
    )
