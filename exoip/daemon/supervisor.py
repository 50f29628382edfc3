"""The main loop: log events, obey signals, and watch the threads for systemd.

The main thread never does the work of the node. If one of its threads dies, the process ends at
once. If one hangs, the watchdog gets no more pings. In both cases systemd restarts the daemon.
`signals` says which signals it obeys.

Shown by tests/unit/daemon/test_supervisor.py.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import signal
import time
from collections.abc import Callable

from exoip.config.parse import HIGHEST_PRIORITY, LOWEST_PRIORITY, Config
from exoip.core.events import Event
from exoip.core.peers import LEAVING
from exoip.core.unfit import FAILOVER
from exoip.daemon import reload
from exoip.daemon.clock import clock
from exoip.daemon.reload import NotReloaded, Reloaded
from exoip.daemon.running_node import Refreshed, RunningNode
from exoip.daemon.signals import Mailbox
from exoip.daemon.systemd import Systemd
from exoip.errors import ExoipError
from exoip.operator.child_process import reap_orphans
from exoip.telemetry.log import log
from exoip.thread import ROUND_TIME

HANG_TIME = 60.0  # seconds without progress after which a thread counts as stuck; an API call may take 10 s
RETRY_PING = 0.5  # seconds after a ping that was not sent
FAREWELL_TIME = 0.2  # seconds that three heartbeats with priority 255 take, however short the leave timeout is
LEAVE_POLL = 0.02  # seconds between two looks whether the node has left

Message = Event | signal.Signals | Refreshed | Reloaded | NotReloaded | BaseException  # in the mailbox


class Supervisor:
    """The main loop of a running node.

    `reread` reads the configuration again, or raises ConfigError.

    The watchdog is pinged every `ping_interval` seconds as long as no thread hangs for `hang_time`.
    """

    def __init__(
        self,
        running: RunningNode,
        mailbox: Mailbox,
        systemd: Systemd,
        reread: Callable[[], Config],
        ping_interval: float = ROUND_TIME,
        hang_time: float = HANG_TIME,
    ) -> None:
        self._running, self._node = running, running.node
        self._mailbox, self._systemd, self._reread = mailbox, systemd, reread
        self._ping_interval, self._hang_time = ping_interval, hang_time
        self._reloading = self._reload_again = False
        self._leave_by: float | None = None

    def run(self) -> int | None:
        """Loop until the node has left (0), a restart begins (None), or a thread failed (1)."""
        ping_at = clock()
        while True:
            now = clock()
            if now >= ping_at:
                if dead := [thread.name for thread in self._running.threads if not thread.is_alive()]:
                    return self._fail(f"thread {', '.join(dead)} is dead")
                reap_orphans()
                self._systemd.status(self._running.status_line())  # some of it ends without an event
                ping_at = now + (self._ping_interval if self._ping(now) else RETRY_PING)
            if self._leave_by is not None and (now >= self._leave_by or self._has_left()):
                self._say_goodbye()
                return 0
            try:
                timeout = LEAVE_POLL if self._leave_by is not None else max(0.0, ping_at - now)
                message = self._mailbox.get(timeout=timeout)
            except queue.Empty:
                continue
            if isinstance(message, BaseException):
                return self._fail("a thread failed", message)
            if message is signal.SIGQUIT:
                self._end_for_restart()
                return None
            self._handle(message)

    def _fail(self, what: str, why: BaseException | None = None) -> int:
        """Log what led to this; return the exit code."""
        rest = self._log_rest()
        why = why or rest
        log(logging.CRITICAL, "%s; stopping", f"{what}: {why!r}" if why is not None else what)
        if why is not None:
            logging.getLogger("exoip").critical("traceback", exc_info=why)
        return 1

    def _log_rest(self) -> BaseException | None:
        """Log the events that wait in the mailbox; return the exception that waits there."""
        why = None
        for _ in range(self._mailbox.qsize()):  # not until it is empty: other threads still fill it
            message = self._mailbox.get_nowait()
            if isinstance(message, Event):
                with contextlib.suppress(Exception):  # it must not hide what ends the process
                    self._running.on_event(message)
            elif isinstance(message, BaseException):
                why = message
        return why

    def _ping(self, now: float) -> bool:
        """Ping the watchdog; return False, without a ping, if a thread hangs."""
        well = all(now - thread.progress < self._hang_time for thread in self._running.threads)
        if well:
            self._systemd.notify("WATCHDOG=1")
        return well

    def _handle(self, message: Event | signal.Signals | Refreshed | Reloaded | NotReloaded) -> None:
        match message:
            case Event():
                self._running.on_event(message)
                if self._mailbox.empty():
                    self._systemd.status(self._running.status_line())
            case Refreshed():
                self._running.refresh(message)
            case Reloaded() | NotReloaded():
                self._finish_reload(message)
            case signal.SIGTERM | signal.SIGINT:
                self._leave()
            case signal.SIGHUP:
                self._begin_reload()
            case _:
                self._change_priority(-1 if message == signal.SIGUSR1 else 1)

    def _change_priority(self, step: int) -> None:
        priority = min(max(self._node.config().priority + step, LOWEST_PRIORITY), HIGHEST_PRIORITY)
        before = self._node.set_priority(priority, clock())
        log(logging.INFO, "the configured priority %d is now %d, requested by a signal", before, priority)

    # -- reload ---------------------------------------------------------------------------------------------------

    def _begin_reload(self) -> None:
        if self._reloading or self._leave_by is not None:
            self._reload_again = self._reloading  # the file may have changed since it was read
            return
        self._reloading = True
        self._systemd.notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        reload.start(self._reread, self._running.config, self._running.topology, self._mailbox.put)

    def _finish_reload(self, answer: Reloaded | NotReloaded) -> None:
        self._reloading = False
        if self._leave_by is not None:  # too late, and READY=1 would take back STOPPING=1
            return
        try:
            if isinstance(answer, NotReloaded):
                raise ExoipError(answer.why)
            self._running.apply(answer)
            log(logging.INFO, "the configuration was read again and is in force")
        except ExoipError as error:
            log(logging.ERROR, "the configuration stays as it was: %s", error)
        self._systemd.notify("READY=1")
        if self._reload_again:
            self._reload_again = False
            self._begin_reload()

    # -- stop -----------------------------------------------------------------------------------------------------

    def _leave(self) -> None:
        if self._leave_by is not None:
            return
        self._node.leave(clock())
        timeout = self._running.config.leave_timeout
        self._leave_by = clock() + max(timeout, FAREWELL_TIME)
        self._systemd.notify("STOPPING=1", f"EXTEND_TIMEOUT_USEC={int((timeout + ROUND_TIME) * 1e6)}")

    def _end_for_restart(self) -> None:
        """End like a crash, but say so: what a restart within the dead time needs is kept."""
        self._systemd.notify("STOPPING=1")
        self._running.stop()  # which may take a second, in which the node goes on; so what is kept comes after it
        config = self._node.config()
        unnoticed = config.dead_time - config.interval
        doubt = self._running.keep_held(unnoticed + config.spacing)
        self._log_rest()
        outlook = f"a peer may take {self._running.topology.eip_label}: {doubt}"
        if self._leave_by is not None:
            outlook = "the hand-over is under way already"
        elif not doubt:
            outlook = f"within {unnoticed:g} s it moves nothing by itself{self._forgotten()}"
        log(logging.INFO, "stopping for a restart: %s", outlook)

    def _forgotten(self) -> str:
        """Say what ends with this daemon, and may move the Elastic IP all the same."""
        node = self._node.snapshot(clock())
        ends = ["the failover on demand"] if any(reason.cause == FAILOVER for reason in node.unfit_reasons) else []
        ends += ["flap damping"] if node.damping.delay else []
        ends += [f"the priority {node.priority}"] if node.priority != self._running.config.host_priority else []
        return f", but {', '.join(ends)} will not be in force any more" if ends else ""

    def _has_left(self) -> bool:
        return self._node.finished() and self._mailbox.empty() and not self._running.busy

    def _say_goodbye(self) -> None:
        """Handle the last events, and log how the node stops."""
        self._log_rest()
        eip, timeout = self._running.topology.eip_label, self._running.config.leave_timeout
        if self._node.finished():
            log(logging.INFO, "stopped; %s is not attached to this instance", eip)
            return
        node = self._node.snapshot(clock())
        holding = "still holding" if node.holds and not node.in_doubt else "perhaps still holding"
        outlook = "no peer that could take it is heard, so nobody detaches this instance"
        if any(peer.alive and peer.priority < LEAVING for peer in node.peers):
            outlook = "a peer that is heard should attach it and detach this instance"
        log(logging.WARNING, "stopped after %g s, %s %s; %s", timeout, holding, eip, outlook)
