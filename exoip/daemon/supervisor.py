"""The main loop of a watching daemon: events to the journal, signals to the node, pings to the watchdog.

It never does the work. It watches over the threads that do: one that died ends the process at once, one that hangs stops the
watchdog's pings, and systemd restarts the daemon either way.

    SIGTERM, SIGINT   hand over and end      SIGHUP    read the configuration again
    SIGUSR1, SIGUSR2  one better, one worse priority, until the next reload or restart
"""

from __future__ import annotations

import logging
import queue
import signal
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Literal, Protocol

from exoip.config.parse import HIGHEST_PRIORITY, LOWEST_PRIORITY, Config
from exoip.core.events import Event
from exoip.core.node import Node
from exoip.core.snapshot import status
from exoip.daemon.clock import clock
from exoip.daemon.reload import NotReloaded, Reloaded
from exoip.daemon.systemd import Systemd
from exoip.telemetry.log import log

ROUND = 2.0  # seconds: every thread goes round at least that often …
HANGS = 60.0  # … and hangs when it did not for that long; a call to the API may take 10 s, to read the group some
PING_AGAIN = 0.5  # after a ping that was not due to all
FAREWELL_TIME = 0.2  # what three heartbeats with 255 take, however short the leave time-out
LEAVE_LOOK = 0.02

Order = Literal["stop", "reload", "better", "worse"]
Item = Event | Order | Reloaded | NotReloaded | BaseException
Inbox = queue.SimpleQueue[Item]

_ORDERS: dict[signal.Signals, Order] = {
    signal.SIGTERM: "stop",
    signal.SIGINT: "stop",
    signal.SIGHUP: "reload",
    signal.SIGUSR1: "better",
    signal.SIGUSR2: "worse",
}


def catch_signals(inbox: Inbox) -> None:
    """Turn the daemon's signals into orders in the inbox."""

    def caught(number: int, _frame: FrameType | None) -> None:
        inbox.put(_ORDERS[signal.Signals(number)])

    for number in _ORDERS:
        signal.signal(number, caught)


class Worked(Protocol):
    """A thread that is watched over: `progress` is when it last went round."""

    name: str
    progress: float

    def is_alive(self) -> bool:
        """Whether it still runs."""


class Watch:
    """The main loop. `tell` hears every event; `reread` begins to read the configuration anew and answers later, `adopt` takes a good
    one over; `busy` says whether something beside the node still wants the rest of the leave time-out."""

    def __init__(
        self,
        config: Config,
        node: Node,
        threads: Sequence[Worked],
        tell: Callable[[Event], None],
        inbox: Inbox,
        systemd: Systemd,
        ping_every: float,
        reread: Callable[[Config, Callable[[Reloaded | NotReloaded], None]], None],
        adopt: Callable[[Reloaded], None],
        busy: Callable[[], bool],
    ) -> None:
        self._config, self._node, self._threads, self._tell = config, node, threads, tell
        self._inbox, self._systemd = inbox, systemd
        self._ping_every = ping_every or ROUND
        self._reread, self._adopt, self._busy = reread, adopt, busy
        self._reloading = False
        self._leave_by: float | None = None

    def run(self) -> int:
        """Loop until the node has left (0) or something broke (1)."""
        ping_at = clock()
        while True:
            now = clock()
            if now >= ping_at:
                dead = [thread.name for thread in self._threads if not thread.is_alive()]
                if dead:
                    log(logging.CRITICAL, "thread %s is dead; stopping", ", ".join(dead))
                    return 1
                ping_at = now + (self._ping_every if self._ping(now) else PING_AGAIN)
            if self._leave_by is not None and (now >= self._leave_by or self._gone()):
                return self._left()
            try:
                item = self._inbox.get(timeout=LEAVE_LOOK if self._leave_by is not None else max(0.0, ping_at - now))
            except queue.Empty:
                continue
            if isinstance(item, BaseException):
                log(logging.CRITICAL, "a thread failed with %r; stopping", item)
                logging.getLogger("exoip").critical("traceback", exc_info=item)
                return 1
            self._take(item)

    def _take(self, item: Event | Order | Reloaded | NotReloaded) -> None:
        if isinstance(item, Event):
            self._tell(item)
            if self._inbox.empty():
                self._systemd.status(status(self._node.snapshot(clock()), self._config.address))
        elif isinstance(item, Reloaded | NotReloaded):
            self._reloaded(item)
        elif item == "stop":
            self._leave()
        elif item == "reload":
            self._reload()
        else:
            self._change_priority(-1 if item == "better" else 1)

    # -- orders ---------------------------------------------------------------------------------------------------

    def _leave(self) -> None:
        if self._leave_by is not None:
            return
        self._node.leave(clock())
        self._leave_by = clock() + max(self._config.leave_timeout, FAREWELL_TIME)
        extend = int((self._config.leave_timeout + ROUND) * 1e6)
        self._systemd.notify("STOPPING=1", f"EXTEND_TIMEOUT_USEC={extend}")

    def _gone(self) -> bool:
        """Whether the node has left, and everybody knows."""
        return self._node.finished() and self._inbox.empty() and not self._busy()

    def _left(self) -> int:
        while not self._inbox.empty():
            item = self._inbox.get()
            if isinstance(item, Event):
                self._tell(item)
        if self._node.finished():
            log(logging.INFO, "stopped; %s is not attached to this instance", self._config.address)
        else:
            text = "stopped after %g s, perhaps still holding %s; a peer attaches it and detaches this instance"
            log(logging.WARNING, text, self._config.leave_timeout, self._config.address)
        return 0

    def _reload(self) -> None:
        if self._reloading or self._leave_by is not None:
            return
        self._reloading = True
        self._systemd.notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        self._reread(self._config, self._inbox.put)

    def _reloaded(self, answer: Reloaded | NotReloaded) -> None:
        self._reloading = False
        if isinstance(answer, Reloaded):
            self._adopt(answer)
            self._config = answer.config
            log(logging.INFO, "the configuration was read again and is in force")
        else:
            log(logging.ERROR, "the configuration stays as it was: %s", answer.why)
        self._systemd.notify("READY=1")

    def _change_priority(self, step: int) -> None:
        wanted = self._node.config().priority + step
        priority = min(max(wanted, LOWEST_PRIORITY), HIGHEST_PRIORITY)
        before = self._node.set_priority(priority, clock())
        log(logging.INFO, "the configured priority %d is now %d, requested by a signal", before, priority)

    # -- supervision ----------------------------------------------------------------------------------------------

    def _ping(self, now: float) -> bool:
        """Tell the watchdog that all is well; False when a thread hangs."""
        well = all(now - thread.progress < HANGS for thread in self._threads)
        if well:
            self._systemd.notify("WATCHDOG=1")
        return well
