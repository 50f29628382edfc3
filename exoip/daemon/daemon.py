"""The life of the daemon: start, discover, run, stop.

`supervisor` has the main loop, with reload and hand-over.

The threads start only when all parts are ready. A start waits for its address, the API or the
metadata service, as long as it takes; a stop ends it at once. After a crash the daemon starts with
the topology that it discovered before (`state_files.TopologyCache`), so that its peers never miss
it. Shown by tests/process/test_daemon.py and tests/process/test_start.py.
"""

from __future__ import annotations

import contextlib
import logging
import math
import queue
import random
import re
import signal
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial

from exoip.config.options import Config
from exoip.core.backoff import Backoff
from exoip.core.calls import FIRST_TIMEOUT, LONGEST_TIMEOUT
from exoip.daemon import addons, memory, reload, signals
from exoip.daemon.clock import clock, wall
from exoip.daemon.running_node import RunningNode, log_warnings
from exoip.daemon.signals import Mailbox
from exoip.daemon.state_files import CheckResults, DrainedFile, StartHistory, StartVerdict, TopologyCache, path_in
from exoip.daemon.supervisor import Supervisor
from exoip.daemon.systemd import Systemd, starts_at_boot
from exoip.errors import (
    AddressMissing,
    ApiError,
    ApiForbidden,
    ApiTimeout,
    ConfigError,
    MetadataUnavailable,
    WrongClock,
)
from exoip.exoscale import discovery
from exoip.exoscale.topology import Topology
from exoip.heartbeat.admission import CONFIRM_TIME
from exoip.heartbeat.udp import HeartbeatSocket
from exoip.operator import control_server
from exoip.operator.control_commands import ControlCommands
from exoip.telemetry.log import log
from exoip.thread import ROUND_TIME, Thread

ADDRESS_POLL = 1.0  # seconds between two looks for an address that is not there yet
LONGER = 60.0  # seconds that a start which waits may go on, as systemd hears again and again


class StoppedEarly(Exception):
    """A signal to stop, its argument, came before there was anything to hand over."""


class Daemon:
    """The process of one watching node.

    `reread` reads the configuration again, or raises ConfigError.
    """

    def __init__(
        self,
        config: Config,
        environ: Mapping[str, str],
        reread: Callable[[], Config],
        discover: Callable[[Config, discovery.Connect], Topology] = discovery.discover,
        mailbox: Mailbox | None = None,
    ) -> None:
        self._config, self._environ, self._reread, self._discover_once = config, environ, reread, discover
        self._mailbox: Mailbox = mailbox or queue.SimpleQueue()
        self._systemd = Systemd()
        self._starts = StartHistory(environ)
        self._cache = TopologyCache(environ)
        self._control_opened = False
        self._control = ControlCommands(config, DrainedFile(environ), clock, wall)

    def run(self) -> int:
        """Run until a stop or a failure; return the exit code.

        Raises ConfigError and ApiForbidden.
        """
        signals.catch(self._mailbox)
        threading.excepthook = lambda died: self._mailbox.put(died.exc_value or RuntimeError("no reason given"))
        verdict = self._starts.record(clock())
        addons.require(self._config)
        with contextlib.ExitStack() as stack:
            stack.callback(self._systemd.close)
            try:
                code = self._serve(verdict, stack)
            except StoppedEarly as early:
                code = None if signal.SIGQUIT in early.args else 0
        if code != 1:  # a planned stop is no crash
            self._starts.forget()
        if code == 0:  # else it is about to be started again
            self._cache.forget()
            CheckResults(self._environ).forget()
        return code or 0

    def _serve(self, verdict: StartVerdict, stack: contextlib.ExitStack) -> int | None:
        """Discover the topology, start the node, and supervise it; return as `Supervisor.run`."""
        self._pause(verdict.pause_until)
        channel = self._bind(stack)
        stack.callback(channel.close)
        self._open_control(stack)
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

    @property
    def _attended(self) -> bool:
        """Whether a person started the daemon, who wants an error and not a daemon that waits."""
        return not starts_at_boot(self._environ)

    def _open_control(self, stack: contextlib.ExitStack) -> None:
        if not self._control_opened:
            self._control_opened = True
            default = path_in(self._environ, "RUNTIME_DIRECTORY", "control")
            control = control_server.start(self._config.control_socket, default, self._control.answer)
            if control is not None:
                stack.callback(control.close)

    def _bind(self, stack: contextlib.ExitStack) -> HeartbeatSocket:
        """Bind the heartbeats' socket; unless attended, wait for an address that is not there."""
        while True:
            try:
                return HeartbeatSocket(*self._config.bind_address)
            except AddressMissing as error:
                if self._attended:
                    raise
                self._open_control(stack)  # which says what the daemon waits for
                self._wait(f"waiting for the address: {error}", clock() + ADDRESS_POLL)

    def _discover(self) -> Topology:
        """Discover the topology, and wait while the API does not answer.

        Unless attended, wait for the metadata service and for the right time as well, and believe
        that the configuration cannot work only if the API still says so CONFIRM_TIME later: it may
        not know a new key or instance yet. Meanwhile the file may be corrected.
        """
        backoff, timeout, refuted_at = Backoff(random.Random()), FIRST_TIMEOUT, math.inf
        local = self._config.instance_id and (self._config.zone or self._config.api_endpoint)
        self._systemd.status(f"waiting for {'' if local else 'the metadata service, then '}the API")
        while True:
            try:
                connect = partial(discovery.client_for, self._config, read_timeout=timeout)
                topology = self._unless_stopped(partial(self._discover_once, self._config, connect))
            except (MetadataUnavailable, WrongClock) as error:
                if self._attended:
                    raise
                refuted_at = math.inf
                missing = "the right time" if isinstance(error, WrongClock) else "the metadata service"
                why = f"waiting for {missing}: {error}"
            except (ApiForbidden, ConfigError) as error:
                refuted_at = min(refuted_at, clock())
                if self._attended or clock() >= refuted_at + CONFIRM_TIME:
                    self._systemd.status(f"ended: {error}")
                    raise
                why = f"asking again for {CONFIRM_TIME:g} s, because this may be for a moment only: {error}"
                if (new := self._corrected()) != self._config:
                    log_warnings(new, self._config)
                    self._config, refuted_at = new, math.inf
            except ApiError as error:
                refuted_at = math.inf  # no answer confirms nothing
                timeout = min(2 * timeout, LONGEST_TIMEOUT) if isinstance(error, ApiTimeout) else timeout
                why = f"waiting for the API: {error}"
            else:
                log_warnings(topology)
                self._cache.save(self._config, topology)
                return topology
            backoff.wait_longer(clock())
            self._wait(why, backoff.at)

    def _corrected(self) -> Config:
        """Return the configuration as it is now written, or the old one if that needs a restart."""
        try:
            reload.check(self._config, new := self._reread())
            addons.require(new)
        except ConfigError:
            return self._config
        return new

    def _unless_stopped(self, work: Callable[[], Topology]) -> Topology:
        """Return what `work` returns. A thread does it, because it may take minutes."""
        answer: Future[Topology] = Future()

        def run() -> None:
            try:
                answer.set_result(work())
            except BaseException as error:
                answer.set_exception(error)
            self._mailbox.put(answer)

        Thread("discovery", run).start()
        self._pause(math.inf, answer)
        return answer.result()

    def _wait(self, why: str, until: float) -> None:
        """Report why the daemon waits, once for each reason, and wait for the next try."""
        if _reason(why) != _reason(self._control.waiting):
            log(logging.WARNING, "%s", why)
        self._control.waiting = why
        self._systemd.status(why)
        self._pause(until)

    def _pause(self, until: float, answer: object = None) -> None:
        """Wait until then, or for `answer`, but raise StoppedEarly at a stop signal.

        Other messages stay in the mailbox. systemd hears that the start takes longer.
        """
        kept = []
        while (left := until - clock()) > 0:
            try:
                message = self._mailbox.get(timeout=min(left, ROUND_TIME))
            except queue.Empty:
                self._systemd.notify(f"EXTEND_TIMEOUT_USEC={int(LONGER * 1e6)}")
                continue
            if message is answer:
                break
            if message in signals.STOP:
                raise StoppedEarly(message)
            kept.append(message)
        for message in kept:
            self._mailbox.put(message)


def _reason(why: str) -> str:
    """Return why the daemon waits, without the times and numbers that differ at each try."""
    return re.sub(r"[0-9]+", "", why)
