"""Run health checks of the service behind the Elastic IP, each in a thread of its own.

A check is a shell line, a TCP connection or an HTTP request. As in keepalived and HAProxy it fails
after `fall` bad results in a row and passes after `rise` good ones; while it fails, the node is
unfit, with the check as the source. Before its first result a check is pending, which counts as
failing: a node that starts with a broken service must not take over from a working one. The first
result decides alone, good or bad, so that a start costs one result and not several. A check that
replaces an earlier one in a reload takes over its state; after a crash or a restart one that passed
starts as passing. A new check starts as passing after a reload, and after a restart of the holder,
unless another did not pass; on a node that restarts and does not hold it has to pass first.

Nothing blocks on these threads. A check that hangs has failed at its timeout, and that is reported
first; then its processes are killed, however long that takes, and it runs again only after that.
One that cannot be started has failed too: a machine without memory, processes or descriptors for it
has none for the service either.
Shown by tests/unit/operator/test_health.py and tests/process/test_addons.py.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace

import requests

from exoip import __version__
from exoip.config.model import HealthCheck
from exoip.core.events import Event, EventName
from exoip.exoscale.transport import Transport
from exoip.operator.child_process import SHELL, Child
from exoip.telemetry.addon_views import CheckView, Health
from exoip.telemetry.log import log
from exoip.thread import SupervisedThread

LARGEST_PAGE = 1 << 20  # bytes of an answer to an HTTP check
_HEADERS = {"User-Agent": f"exoip/{__version__} (health check)", "Accept": "*/*", "Connection": "close"}


class RiseFallCounter:
    """One check's state: `rise` good results in a row end a failure, `fall` bad ones begin it."""

    def __init__(self, rise: int, fall: int, health: Health = Health.PENDING) -> None:
        self._rise, self._fall = rise, fall
        self.health = health
        self._contrary = 0  # results in a row that contradict `health`

    def add(self, good: bool) -> bool:
        """Count a result; return whether `health` changed."""
        says = Health.PASSING if good else Health.FAILING
        if says is self.health:
            self._contrary = 0
            return False
        self._contrary += 1
        if self.health is not Health.PENDING and self._contrary < (self._rise if good else self._fall):
            return False
        self.health, self._contrary = says, 0
        return True


class Probe:
    """One way to ask whether a service works."""

    def ask(self, seconds: float, stop: threading.Event) -> str:
        """Return "" if the service works, else why not; within `seconds`, or once `stop` is set."""
        raise NotImplementedError

    def clean_up(self, stop: threading.Event) -> bool:  # noqa: ARG002
        """Return whether nothing is left of the last time."""
        return True


class CommandProbe(Probe):
    """Runs a shell line: the service works if it exits with 0."""

    def __init__(self, line: str, environ: Mapping[str, str]) -> None:
        self._line, self._environ = line, environ
        self._child: Child | None = None

    def ask(self, seconds: float, stop: threading.Event) -> str:
        """Run the line."""
        try:
            child = self._child = Child([SHELL, "-c", self._line], self._environ)
        except OSError as error:
            return f"cannot be started: {error.strerror or error}"
        if not child.wait(seconds, stop):
            return child.problem(timeout=seconds)
        child.end(stop)  # it has ended: this takes no time
        return child.problem()

    def clean_up(self, stop: threading.Event) -> bool:
        """Kill what is left of it."""
        if self._child is not None and self._child.end(stop):
            self._child = None
        return self._child is None


class TcpProbe(Probe):
    """Opens a TCP connection: the service works if it accepts it."""

    def __init__(self, host: str, port: int) -> None:
        self._place = (host, port)

    def ask(self, seconds: float, stop: threading.Event) -> str:  # noqa: ARG002
        """Open the connection and close it."""
        try:
            socket.create_connection(self._place, timeout=seconds).close()
        except TimeoutError:
            return f"no connection within {seconds:g} s"
        except OSError as error:
            return error.strerror or str(error)
        return ""


class HttpProbe(Probe):
    """Sends a GET request on a new connection: the service works if it answers 2xx or 3xx.

    Redirects are not followed. The TLS certificate is verified.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._transport = Transport(limit=LARGEST_PAGE)

    def ask(self, seconds: float, stop: threading.Event) -> str:  # noqa: ARG002
        """Send the request."""
        try:
            request = requests.Request("GET", self._url, headers=_HEADERS).prepare()
            status = self._transport.send(request, seconds).status_code
        except requests.RequestException as error:
            return str(error)
        finally:
            self._transport.close()
        return "" if 200 <= status < 400 else f"answered {status}"


def probe_for(check: HealthCheck, environ: Mapping[str, str]) -> Probe:
    """Return the probe of a check."""
    if check.kind == "tcp":
        return TcpProbe(check.host, check.port)
    return HttpProbe(check.target) if check.kind == "http" else CommandProbe(check.target, environ)


class Checker(SupervisedThread):
    """The thread of one check. `view` is its state, replaced as a whole.

    `set_unfit(source, why, now)` is the node's; "" as the reason ends it. All checks of a node
    share the lock `reporting`: nothing is reported while it is held.
    """

    def __init__(
        self,
        check: HealthCheck,
        view: CheckView,
        environ: Mapping[str, str],
        set_unfit: Callable[[str, str, float], None],
        emit: Callable[[Event], None],
        clock: Callable[[], float],
        reporting: threading.RLock,
    ) -> None:
        super().__init__(f"check-{check.kind}", clock)
        self.check = check
        self.source = f"health check {check.name}"
        self._set_unfit, self._emit = set_unfit, emit
        self._counter = RiseFallCounter(check.rise, check.fall, view.health)
        self._probe = probe_for(check, environ)
        self._reporting = reporting
        self._due = self.progress
        self.view = view

    def report_pending(self) -> None:
        """Make the node unfit if this check has no result yet."""
        if self.view.health is Health.PENDING:
            self._set_unfit(self.source, f"{self.source} has no result yet", self.progress)

    def turn(self) -> None:
        """Ask if it is time, and nothing is left of the last time."""
        if not self._probe.clean_up(self.stopping):
            return
        if (left := self._due - self._clock()) > 0:
            self.stopping.wait(min(left, self._round_time))
            return
        began = self._clock()
        self._due = began + self.check.interval
        problem = self._probe.ask(self.check.timeout, self.stopping)
        with self._reporting:
            if not self.stopping.is_set():
                self._report(problem, began)
        self._probe.clean_up(self.stopping)

    def stop(self, *, clear: bool) -> None:
        """End the check and kill what runs, without waiting; `clear` also ends its unfit reason.

        Nothing is reported after it.
        """
        with self._reporting:
            self.stopping.set()
            if clear:
                self._set_unfit(self.source, "", self._clock())

    def _report(self, problem: str, began: float) -> None:
        now, before, view = self._clock(), self._counter.health, self.view
        changed = self._counter.add(not problem)
        proven = view.proven or (not problem and self._counter.health is Health.PASSING)
        self.view = replace(
            view, health=self._counter.health, since=now if changed else view.since, why=problem or view.why,
            runs=view.runs + 1, bad=view.bad + bool(problem), took=now - began, proven=proven,
        )  # fmt: skip
        unfit = f"{self.source} fails: {problem}" if problem else ""
        if not changed and proven == view.proven:
            if problem:
                log(logging.DEBUG, "%s: bad result: %s", self.source, problem)
            if self._counter.health is Health.FAILING and self.view.why != view.why:
                self._set_unfit(self.source, unfit, now)
            return
        if problem:
            name, reason = EventName.CHECK_FAILING, problem
        else:
            name = EventName.CHECK_PASSING
            reason = f"{self.check.rise} good results in a row" if before is Health.FAILING else "first result"
        self._emit(Event(name, now, "", reason, {"check": self.check.name}))
        self._set_unfit(self.source, unfit, now)
