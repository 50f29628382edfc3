"""Health checks of the service behind the address: a thread each, that asks again and again and lets the node step aside.

A check is a shell line, a TCP connection, or an HTTP request. `rise` has when it counts as failing; then the node is set aside with the
check as the source, and no longer once it passes again. Nothing here is waited for by anybody: a check that hangs is over at its time-out,
and told of as failing then; only then its processes are killed, however long that takes, and only after that it is asked again.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol

import requests

from exoip import __version__
from exoip.config.model import HealthCheck
from exoip.core.events import Event, EventName
from exoip.core.snapshot import CheckView, Health
from exoip.exoscale.transport import new_session
from exoip.operator.child_process import SHELL, Child
from exoip.operator.rise import Rise
from exoip.telemetry.log import log

LARGEST_PAGE = 1 << 20  # bytes of an answer to an HTTP check
_ROUND = 2.0  # seconds after which a resting thread shows that it lives


class Probe(Protocol):
    """How one check asks."""

    def ask(self, seconds: float, stop: threading.Event) -> str:
        """Return "" when the service is well, else why not; within `seconds`, and soon after `stop` is set."""

    def tidy(self, stop: threading.Event) -> bool:
        """Return whether nothing is left of the last time."""


class CommandProbe:
    """A shell line: well when it ends with 0."""

    def __init__(self, line: str, environ: Mapping[str, str]) -> None:
        self._line, self._environ = line, environ
        self._child: Child | None = None

    def ask(self, seconds: float, stop: threading.Event) -> str:
        """Run it."""
        try:
            child = self._child = Child([SHELL, "-c", self._line], self._environ)
        except OSError as error:
            return f"can not be started: {error.strerror or error}"
        if not child.wait(seconds, stop):
            return _with(f"no end within {seconds:g} s", child.said)
        child.end(stop)  # it has ended: this takes no time
        code = child.code or 0
        return "" if code == 0 else _with(f"exit status {code}" if code > 0 else f"signal {-code}", child.said)

    def tidy(self, stop: threading.Event) -> bool:
        """Kill what is left."""
        if self._child is not None and self._child.end(stop):
            self._child = None
        return self._child is None


class TcpProbe:
    """A TCP connection: well when it opens."""

    def __init__(self, host: str, port: int) -> None:
        self._place = (host, port)

    def ask(self, seconds: float, stop: threading.Event) -> str:  # noqa: ARG002
        """Open it and close it."""
        try:
            socket.create_connection(self._place, timeout=seconds).close()
        except TimeoutError:
            return f"no connection within {seconds:g} s"
        except OSError as error:
            return error.strerror or str(error)
        return ""

    def tidy(self, stop: threading.Event) -> bool:  # noqa: ARG002
        """Nothing ever is left."""
        return True


class HttpProbe:
    """A GET request on a connection of its own: well when the answer is 2xx or 3xx. A redirect is not followed, TLS is verified."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session = new_session(limit=LARGEST_PAGE)
        self._session.headers.update({"User-Agent": f"exoip/{__version__} (health check)", "Connection": "close"})

    def ask(self, seconds: float, stop: threading.Event) -> str:  # noqa: ARG002
        """Ask for it."""
        try:
            status = self._session.get(self._url, timeout=seconds, allow_redirects=False).status_code
        except requests.RequestException as error:
            return str(error)
        finally:
            self._session.close()
        return "" if 200 <= status < 400 else f"answered {status}"

    def tidy(self, stop: threading.Event) -> bool:  # noqa: ARG002
        """Nothing ever is left."""
        return True


def _with(why: str, said: str) -> str:
    return f"{why}: {said}" if said else why


class Checker(threading.Thread):
    """The thread of one check. `progress` is when it last went round; `view` its state, replaced as a whole.

    `set_unfit(source, why, now)` is the node's. A pending check sets the node aside as soon as this is made.
    """

    def __init__(
        self,
        check: HealthCheck,
        health: Health,
        environ: Mapping[str, str],
        set_unfit: Callable[[str, str, float], None],
        emit: Callable[[Event], None],
        clock: Callable[[], float],
    ) -> None:
        super().__init__(name=f"exoip-check-{check.kind}", daemon=True)
        self.check = check
        self.source = f"health check {check.name}"
        self._set_unfit, self._emit, self._clock = set_unfit, emit, clock
        self._rise = Rise(check.rise, check.fall, health)
        self._probe = probe_for(check, environ)
        self.stopping = threading.Event()
        self._telling = threading.Lock()  # so that nothing is told any more after `retire`
        self.progress = clock()
        self.view = CheckView(check.name, health, self.progress)
        if health is Health.PENDING:
            set_unfit(self.source, f"{self.source} has no result yet", self.progress)

    def run(self) -> None:
        """Ask until told to stop."""
        while not self.stopping.is_set():
            began = self.progress = self._clock()
            why = self._probe.ask(self.check.timeout, self.stopping)
            with self._telling:
                if not self.stopping.is_set():
                    self._take(why, began)
            while not self._probe.tidy(self.stopping) and not self.stopping.is_set():
                self.progress = self._clock()
            while (left := began + self.check.interval - self._clock()) > 0 and not self.stopping.wait(
                min(left, _ROUND)
            ):
                self.progress = self._clock()

    def retire(self, *, forget: bool) -> None:
        """Ask no more, kill what runs, and with `forget` set the node aside no longer. Does not wait for the thread."""
        with self._telling:
            self.stopping.set()
            if forget:
                self._set_unfit(self.source, "", self._clock())

    def _take(self, why: str, began: float) -> None:
        now, before, view = self._clock(), self._rise.health, self.view
        changed = self._rise.take(not why)
        self.view = replace(
            view, health=self._rise.health, since=now if changed else view.since, why=why or view.why,
            runs=view.runs + 1, bad=view.bad + bool(why), took=now - began,
        )  # fmt: skip
        if not changed:
            if why:
                log(logging.DEBUG, "%s: bad result: %s", self.source, why)
            return
        if why:
            self._emit(Event(EventName.CHECK_FAILING, now, "", why, {"check": self.check.name}))
            self._set_unfit(self.source, f"{self.source} fails: {why}", now)
        else:
            often = "the first result" if before is Health.PENDING else f"well {self.check.rise} times in a row"
            self._emit(Event(EventName.CHECK_PASSING, now, "", often, {"check": self.check.name}))
            self._set_unfit(self.source, "", now)


def probe_for(check: HealthCheck, environ: Mapping[str, str]) -> Probe:
    """Return what asks for this check."""
    if check.kind == "tcp":
        return TcpProbe(check.host, check.port)
    return HttpProbe(check.target) if check.kind == "http" else CommandProbe(check.target, environ)
