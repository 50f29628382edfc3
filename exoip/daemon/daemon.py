"""The life of the daemon: start, discover, run, stop.

`supervisor` has the main loop, with reload and hand-over.

The threads start only when all parts are ready. Discovery waits for an API or a metadata service
that does not answer, as long as it takes. After a crash the daemon starts with the topology that it
discovered before (`state_files.TopologyCache`), so that its peers never miss it. Shown by
tests/process/test_daemon.py.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import queue
import random
import threading
from collections.abc import Callable, Mapping

from exoip.config.options import Config
from exoip.core.backoff import LONGEST_RETRY, Backoff
from exoip.daemon import addons, memory
from exoip.daemon.clock import clock, wall
from exoip.daemon.running_node import RunningNode, log_warnings
from exoip.daemon.state_files import DrainedFile, StartHistory, StartVerdict, TopologyCache, path_in
from exoip.daemon.supervisor import STOP_SIGNALS, Mailbox, Supervisor, catch_signals
from exoip.daemon.systemd import Systemd
from exoip.errors import ApiError, ApiForbidden, MetadataUnavailable
from exoip.exoscale import discovery
from exoip.exoscale.topology import Topology
from exoip.heartbeat.udp import HeartbeatSocket
from exoip.operator import control_server
from exoip.operator.control_commands import ControlCommands
from exoip.telemetry.log import log
from exoip.thread import ROUND_TIME


class StoppedEarly(Exception):
    """SIGTERM or SIGINT came before there was anything to hand over."""


class Daemon:
    """The process of one watching node.

    `reread` returns the configuration anew or raises ConfigError.
    """

    def __init__(
        self,
        config: Config,
        environ: Mapping[str, str],
        reread: Callable[[], Config],
        discover: Callable[[Config], Topology] = discovery.discover,
    ) -> None:
        self._config, self._environ, self._reread, self._discover_once = config, environ, reread, discover
        self._mailbox: Mailbox = queue.SimpleQueue()
        self._systemd = Systemd()
        self._starts = StartHistory(environ)
        self._cache = TopologyCache(environ)
        self._control = ControlCommands(config, DrainedFile(environ), clock, wall)

    def run(self) -> int:
        """Run until a stop or a failure; return the exit code.

        Raises ConfigError and ApiForbidden.
        """
        faulthandler.enable()
        catch_signals(self._mailbox)
        threading.excepthook = lambda died: self._mailbox.put(died.exc_value or RuntimeError("no reason given"))
        verdict = self._starts.record(clock())
        addons.require(self._config)
        with contextlib.ExitStack() as stack:
            stack.callback(self._systemd.close)
            channel = HeartbeatSocket(*self._config.bind_address)
            stack.callback(channel.close)
            try:
                code = self._serve(channel, verdict, stack)
            except StoppedEarly:
                code = 0
        if code == 0:  # a planned stop is no crash
            self._starts.forget()
            self._cache.forget()
        return code

    def _serve(self, channel: HeartbeatSocket, verdict: StartVerdict, stack: contextlib.ExitStack) -> int:
        """Discover the topology, start the node, and supervise it until it ends."""
        self._pause(verdict.pause_until)
        default = path_in(self._environ, "RUNTIME_DIRECTORY", "control")
        control = control_server.start(self._config.control_socket, default, self._control.answer)
        if control is not None:
            stack.callback(control.close)
        known = self._cache.load(self._config)
        running = RunningNode(
            self._config, known or self._discover(), self._cache, channel, self._environ, self._mailbox.put,
            after_crash=known is not None, unfit_until=verdict.unfit_until, drained=self._control.drained.load(),
        )  # fmt: skip
        stack.callback(running.stop)
        running.start()
        self._control.serve(running.for_control())
        self._systemd.notify("READY=1")
        memory.settle()
        ping_interval = int(self._environ.get("WATCHDOG_USEC", "0")) / 2e6 or ROUND_TIME
        return Supervisor(running, self._mailbox, self._systemd, self._reread, ping_interval).run()

    def _discover(self) -> Topology:
        """Discover the topology, and wait while the API or the metadata service does not answer.

        A person who started the daemon gets the error instead if there is no metadata service; a
        unit or ifupdown, which may start it before the network is up, waits.
        """
        attended = not self._systemd.listens and "IFACE" not in self._environ
        backoff = Backoff(random.Random())
        local = self._config.instance_id and (self._config.zone or self._config.api_endpoint)
        self._systemd.status(f"waiting for {'' if local else 'the metadata service, then '}the API")
        while True:
            try:
                topology = self._discover_once(self._config)
            except ApiForbidden:
                raise
            except ApiError as error:
                self._wait(f"waiting for the API: {error}", backoff)
            except MetadataUnavailable as error:
                if attended:
                    raise
                self._wait(f"waiting for the metadata service: {error}", backoff)
            else:
                log_warnings(topology)
                self._cache.save(self._config, topology)
                return topology

    def _wait(self, why: str, backoff: Backoff) -> None:
        """Report why the daemon waits, once for each reason, and wait for the next try."""
        if why != self._control.waiting:
            log(logging.WARNING, "%s", why)
        self._control.waiting = why
        self._systemd.status(why)
        self._systemd.notify(f"EXTEND_TIMEOUT_USEC={int(2 * LONGEST_RETRY * 1e6)}")
        backoff.wait_longer(clock())
        self._pause(backoff.at)

    def _pause(self, until: float) -> None:
        """Wait, but raise StoppedEarly at a stop signal."""
        while (left := until - clock()) > 0:
            try:
                if self._mailbox.get(timeout=left) in STOP_SIGNALS:
                    raise StoppedEarly
            except queue.Empty:
                return
