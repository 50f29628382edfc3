"""The watching daemon: its parts, put together. `watch` has the main loop.

The threads start only when every part is ready. Discovery waits for an API that does not answer, for as long as it takes; a daemon
that crashed begins with what it had discovered before (`state_files`), so that its peers never miss it.
"""

from __future__ import annotations

import faulthandler
import logging
import math
import queue
import random
import threading
from collections.abc import Callable, Mapping, Sequence

from exoip.config.parse import Config
from exoip.core.backoff import LONGEST_RETRY, Backoff
from exoip.core.calls import Lane
from exoip.core.election import ElectionConfig
from exoip.core.events import Event
from exoip.core.node import Node
from exoip.core.read_schedule import REFRESH_INTERVAL
from exoip.daemon import memory, reload, requisites
from exoip.daemon.addons import Around, Companions
from exoip.daemon.api_worker import ApiCaller, ApiWorker, ClientPool
from exoip.daemon.clock import clock, wall
from exoip.daemon.heartbeat_threads import HeartbeatLink, Receiver, Sender
from exoip.daemon.reload import NotReloaded, Reloaded
from exoip.daemon.state_files import DrainedFile, StartHistory, TopologyCache
from exoip.daemon.supervisor import Inbox, Watch, Worked, catch_signals
from exoip.daemon.systemd import Systemd
from exoip.errors import ApiError, ApiForbidden, MetadataUnavailable
from exoip.exoscale import discovery
from exoip.exoscale.client import Client
from exoip.exoscale.topology import Topology
from exoip.heartbeat.udp import HeartbeatSocket
from exoip.operator import control_server
from exoip.operator.control_commands import ControlCommands, ControlledNode
from exoip.telemetry.counters import Counters
from exoip.telemetry.journal import Journal
from exoip.telemetry.log import log, set_verbose
from exoip.telemetry.metrics import HeartbeatCounts
from exoip.telemetry.status import StatusInput


class Stopped(Exception):
    """SIGTERM or SIGINT came before there was anything to hand over."""


class Daemon:
    """One watching node. `run` returns the exit code; ConfigError and ApiForbidden come out of it.

    `reread` gives the configuration anew at a reload; it raises ConfigError when that is wrong.
    """

    def __init__(self, config: Config, environ: Mapping[str, str], reread: Callable[[], Config]) -> None:
        self._config = config
        self._reread = reread
        self._environ = environ
        self._inbox: Inbox = queue.SimpleQueue()
        self._systemd = Systemd()
        self._attended = not self._systemd.listens and "IFACE" not in environ  # neither a unit nor ifupdown started it
        self._ping_every = int(environ.get("WATCHDOG_USEC", "0")) / 2e6
        self._companions: Companions | None = None
        self._starts = StartHistory(environ)
        self._cache = TopologyCache(environ)
        self._control = ControlCommands(config, DrainedFile(environ), clock, wall)

    def run(self) -> int:
        """Watch until told to stop."""
        faulthandler.enable()
        catch_signals(self._inbox)
        threading.excepthook = lambda died: self._inbox.put(died.exc_value or RuntimeError("no reason given"))
        start = self._starts.record(clock())
        requisites.check(self._config)
        channel = HeartbeatSocket(*self._config.bind_address)
        socket = None
        try:
            self._wait_for_stop(start.pause_until)
            socket = control_server.start(self._config.control_socket, self._environ, self._control.answer)
            remembered = self._cache.load(self._config)
            self._topology = remembered or self._discover()
            self._node = self._make_node(start.unfit_until, 0.0 if remembered else REFRESH_INTERVAL)
            threads = self._start(channel, again=remembered is not None)
            self._systemd.notify("READY=1")
            memory.settle()
            code = self._watch(threads).run()
        except Stopped:
            code = 0
        finally:
            if self._companions is not None:
                self._companions.stop()
            channel.close()
            if socket is not None:
                socket.close()
            self._systemd.close()
        if code == 0:
            self._starts.forget()
            self._cache.forget()
        return code

    def _discover(self) -> Topology:
        """Find out who and where we are; wait as long as the API does not answer, saying so."""
        backoff = Backoff(random.Random())
        last = ""
        while True:
            try:
                topology = discovery.discover(self._config)
            except ApiForbidden:
                raise
            except (ApiError, MetadataUnavailable) as error:
                if isinstance(error, MetadataUnavailable) and self._attended:
                    raise  # a person started it and sees the error; what starts at boot has to wait
                if str(error) != last:
                    last = str(error)
                    log(logging.WARNING, "waiting for the API: %s", error)
                self._control.waiting = f"waiting for the API: {error}"
                self._systemd.status(self._control.waiting)
                self._systemd.notify(f"EXTEND_TIMEOUT_USEC={int(2 * LONGEST_RETRY * 1e6)}")
                backoff.wait_longer(clock())
                self._wait_for_stop(backoff.at)
            else:
                self._warn(topology)
                self._cache.save(self._config, topology)
                return topology

    def _wait_for_stop(self, until: float) -> None:
        while (left := until - clock()) > 0:
            try:
                if self._inbox.get(timeout=left) == "stop":
                    raise Stopped
            except queue.Empty:
                return

    def _warn(self, topology: Topology) -> None:
        for warning in topology.warnings:
            log(logging.WARNING, "%s", warning)

    def _election_config(self) -> ElectionConfig:
        config = self._config
        return ElectionConfig(
            self._topology.instance_id,
            config.host_priority,
            config.advertisement_interval,
            config.dead_ratio,
            config.preempt_delay,
            config.flap_damping,
        )

    def _make_node(self, stand_aside_until: float, refresh_in: float) -> Node:
        return Node(
            self._election_config(),
            self._topology.eip,
            places(self._topology),
            clock(),
            emit=self._inbox.put,
            verify_interval=self._config.verify_interval,
            refresh_in=refresh_in if discovery.members_change(self._config) else math.inf,
            quarantined_until=stand_aside_until,
            drained=self._control.drained.load(),
        )

    def _start(self, channel: HeartbeatSocket, *, again: bool) -> Sequence[Worked]:
        self._clients = ClientPool(*self._new_clients())
        caller = ApiCaller(self._topology.eip, self._topology.eip_id, self._clients, self._refresh, clock)
        self._link = HeartbeatLink(channel, self._node, self._inbox.put, self._config.auth_policy(), clock)
        sender, receiver = Sender(self._link), Receiver(self._link)
        counters = Counters()
        workers = [ApiWorker(lane, self._node, caller, counters.count_call, clock) for lane in Lane]
        threads: list[Sender | Receiver | ApiWorker] = [sender, receiver, *workers]
        watched: list[Worked] = [*threads]
        self._journal = Journal(self._topology.eip, self._topology.instance_id, self._label, wall)
        around = Around(
            self._node, self._topology.eip, watched, self._inbox.put, self._journal, counters,
            lambda: HeartbeatCounts(sender.sent, sender.failures, receiver.received), self._environ, clock, wall,
        )  # fmt: skip
        self._companions = Companions(around, self._config, again=again)
        for thread in threads:
            thread.start()
        self._companions.start()
        self._control.serve(ControlledNode(self._node, self._facts, self._label, self._companions.metrics))
        return watched

    def _facts(self) -> StatusInput:
        checkers = self._companions.checkers if self._companions is not None else ()
        return StatusInput(self._config, self._topology, tuple(checker.view for checker in checkers))

    def _tell(self, event: Event) -> None:
        self._journal.log(event)
        if self._companions is not None:
            self._companions.told(event)

    def _new_clients(self) -> tuple[Client, Client]:
        endpoint = self._topology.endpoint
        return discovery.client_for(self._config, endpoint), discovery.client_for(self._config, endpoint)

    def _refresh_every(self) -> float:
        return REFRESH_INTERVAL if discovery.members_change(self._config) else math.inf

    def _refresh(self, client: Client) -> None:
        """Read the group anew; called by a worker."""
        config = self._config
        topology = discovery.refresh(config, client, self._topology)
        if config is self._config:  # not when a reload came in between
            self._use(topology)

    def _use(self, topology: Topology) -> None:
        if topology.warnings != self._topology.warnings:
            self._warn(topology)
        self._topology = topology
        self._cache.save(self._config, topology)
        self._node.set_members(places(topology), clock())

    def _watch(self, threads: Sequence[Worked]) -> Watch:
        return Watch(
            self._config,
            self._node,
            threads,
            self._tell,
            self._inbox,
            self._systemd,
            self._ping_every,
            self._begin_reload,
            self._adopt,
            lambda: self._companions is not None and self._companions.busy,
        )

    def _begin_reload(self, old: Config, answer: Callable[[Reloaded | NotReloaded], None]) -> None:
        reload.start(self._reread, old, (self._topology.instance_id, self._topology.eip_id), answer)

    def _adopt(self, reloaded: Reloaded) -> None:
        """Go by another configuration, which was checked whole."""
        self._config = reloaded.config
        self._link.auth_policy = self._config.auth_policy()
        set_verbose(self._config.verbose)
        self._clients.replace(*self._new_clients())
        self._use(reloaded.topology)
        self._node.set_config(self._election_config(), self._config.verify_interval, clock())
        self._node.refresh_in(self._refresh_every(), clock())
        if self._companions is not None:
            self._companions.reload(self._config)

    def _label(self, instance_id: str) -> str:
        """Return a person's words for an instance id."""
        for member in self._topology.members:
            if member.instance_id == instance_id:
                return f"{member.name or instance_id} ({member.address})"
        return instance_id


def places(topology: Topology) -> dict[str, tuple[str, int]]:
    """Return where each other member beats from and is beaten to, by instance id."""
    return {member.instance_id: (member.address, member.port) for member in topology.members}
