"""The optional parts beside the node: health checks, the notify program and the metrics port.

They start and stop with the node, and a reload changes them. Nothing in the node waits for them.
Shown by tests/unit/daemon/test_addons.py.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from exoip.config.model import HealthCheck, Hook
from exoip.config.options import Config
from exoip.core.events import Event, EventName
from exoip.core.node import Node
from exoip.daemon.clock import clock, wall
from exoip.daemon.state_files import CheckResults
from exoip.daemon.systemd import starts_at_boot
from exoip.errors import OutOfThreads
from exoip.exoscale.topology import Topology
from exoip.exoscale.transport import require_certificates
from exoip.operator import hooks
from exoip.operator.child_process import environment
from exoip.operator.health import Checker
from exoip.operator.hooks import HookCaller, HookState
from exoip.telemetry import metrics
from exoip.telemetry.addon_views import CheckView, Health
from exoip.telemetry.log import log
from exoip.thread import SupervisedThread

if TYPE_CHECKING:
    from exoip.telemetry.exporter import MetricsServer

STOP_TIME = 1.0  # seconds that the threads get to kill their children


def require(config: Config) -> None:
    """Raise ConfigError, with the cure, if this host lacks a program or package of an option."""
    require_certificates_for(config)
    hooks.check(config.hook)
    if config.metrics_listen is not None:
        metrics.require_prometheus_client()


def require_certificates_for(config: Config) -> None:
    """Raise ConfigError, with the cure, if this host cannot verify the API's certificate."""
    if not (config.api_endpoint or "").startswith("http:"):
        require_certificates()


class Addons:
    """The optional parts of one node.

    Only the main thread calls this, except `checkers` and `hook_caller`.

    `environ` is the daemon's own; children get it without secrets. `page` returns the metrics.
    Raises ConfigError if the metrics port cannot be bound.

    A check is pending at a start, which makes the node unfit. After a crash or a restart one that
    passed before begins as passing and needs `--check-fall` bad results: a daemon that is back
    within the dead time must not move the EIP. So does a new one, if this node `holds` and all
    others passed. On any other node it has to pass first: a broken node must not take the EIP.
    """

    def __init__(
        self,
        config: Config,
        topology: Topology,
        node: Node,
        environ: Mapping[str, str],
        emit: Callable[[Event], None],
        page: Callable[[], str],
        *,
        after_crash: bool,
        holds: bool,
    ) -> None:
        secrets = (config.api_key, *(secret.reveal() for secret in (config.api_secret, *config.auth_keys)))
        about = {"EXOIP_EIP": topology.eip_label, "EXOIP_INSTANCE": topology.instance_id}
        self._environ = environment(environ, secrets) | about
        self._node, self._emit = node, emit
        self._reporting = threading.RLock()  # no check reports while it is held
        self._stop_by = math.inf
        self._server: MetricsServer | None = None
        if config.metrics_listen is not None:
            from exoip.telemetry.exporter import MetricsServer  # only here, to save its memory without the option

            self._server = MetricsServer(*config.metrics_listen, page, early=starts_at_boot(environ))
        self._results = CheckResults(environ)
        passed = self._results.load() if after_crash else None
        fresh = Health.PASSING if passed is not None and holds and all(passed.values()) else Health.PENDING
        self.checkers = [self._checker(check, _begin(check, passed or {}, fresh)) for check in config.health_checks]
        for checker in self.checkers:
            checker.report_pending()
        self._keep_results()
        self._state = HookState(at=clock())
        self.hook_caller = self._hook_caller(config.hook)

    @property
    def supervised(self) -> list[SupervisedThread]:
        """The threads for the supervisor to watch."""
        return [*self.checkers, *([self.hook_caller] if self.hook_caller else [])]

    @property
    def busy(self) -> bool:
        """Whether the notify program has not been called for every change yet."""
        return self.hook_caller is not None and self.hook_caller.busy

    def start(self) -> None:
        """Start all threads."""
        for thread in (*self.supervised, *([self._server] if self._server else [])):
            thread.start()

    def on_event(self, event: Event, explain: Callable[[Event], str]) -> None:
        """Keep which checks fail. Queue a call of the notify program if role or holding changed."""
        if event.name in (EventName.CHECK_FAILING, EventName.CHECK_PASSING):
            self._keep_results()
        if (state := self._state.after(event)) is not None:
            self._state = replace(state, reason=explain(event))
            if self.hook_caller is not None:
                self.hook_caller.put(self._state)

    def apply(self, config: Config) -> None:
        """Apply a new configuration, or nothing of it.

        A check that stays the same is not disturbed. A new one begins as passing, so that the
        reload moves nothing; but if a check did not pass, it may be that one under a new name, so
        it begins as pending. No check reports meanwhile: one that is replaced could change the
        state that its successor has taken over. Raises OutOfThreads.
        """
        with self._reporting:
            self._apply(config)

    def _apply(self, config: Config) -> None:
        well = all(checker.view.health is Health.PASSING for checker in self.checkers)
        fresh = Health.PASSING if well else Health.PENDING
        wanted = {check.name: check for check in config.health_checks}
        former = {checker.check.name: checker for checker in self.checkers}
        kept = [checker for checker in self.checkers if wanted.get(checker.check.name) == checker.check]
        known = {
            name: old.view if old.check.identity == wanted[name].identity else replace(old.view, proven=False)
            for name, old in former.items()
            if name in wanted and (old.check.kind != "http" or old.check.target == wanted[name].target)
        }
        new = [
            self._checker(check, known.get(name) or _begin(check, {}, fresh))
            for name, check in wanted.items()
            if name not in former or former[name] not in kept
        ]
        caller = self.hook_caller or self._hook_caller(config.hook)
        _start_all([*new, *([caller] if caller is not None and caller is not self.hook_caller else [])])
        for checker in new:
            checker.report_pending()
        for checker in self.checkers:
            if checker not in kept:
                checker.stop(clear=checker.check.name not in wanted)
        if caller is not None:
            same = caller is self.hook_caller and caller.hook.program == config.hook.program
            caller.hook = config.hook
            if config.hook.program is None:
                caller.stop()
            elif not same:
                caller.put(replace(self._state, reason="the configuration was read again"))
        self.checkers = [*kept, *new]
        self.hook_caller = caller if config.hook.program is not None else None
        self._keep_results()

    def stop(self) -> None:
        """Stop all threads and their children, within STOP_TIME of the first call."""
        if self.busy and self._stop_by == math.inf:
            log(logging.WARNING, "stopped before the notify program was called for every change")
        for checker in self.checkers:
            checker.stop(clear=False)
        if self.hook_caller is not None:
            self.hook_caller.stop()
        if self._server is not None:
            self._server.stopping.set()
        self._stop_by = min(self._stop_by, clock() + STOP_TIME)
        for thread in self.supervised:
            if thread.ident is not None:
                thread.join(max(0.0, self._stop_by - clock()))

    def _keep_results(self) -> None:
        """Keep for the next start which checks pass; one that is only taken to pass is left out."""
        passing = {one: one.view.health is Health.PASSING for one in self.checkers}
        self._results.save({one.check.identity: well for one, well in passing.items() if one.view.proven or not well})

    def _checker(self, check: HealthCheck, view: CheckView) -> Checker:
        return Checker(check, view, self._environ, self._node.set_unfit, self._emit, clock, self._reporting)

    def _hook_caller(self, hook: Hook) -> HookCaller | None:
        return HookCaller(hook, self._environ, self._emit, clock, wall) if hook.program is not None else None


def _begin(check: HealthCheck, passed: Mapping[str, bool], fresh: Health) -> CheckView:
    """Return a check's first view: as it `passed` before the restart, or `fresh` if it is new."""
    if (before := passed.get(check.identity)) is None:
        return CheckView(check.name, fresh, clock(), proven=False)
    return CheckView(check.name, Health.PASSING if before else Health.PENDING, clock())


def _start_all(threads: list[SupervisedThread]) -> None:
    """Start these threads, or leave none of them running."""
    try:
        for thread in threads:
            thread.start()
    except OutOfThreads:
        for thread in threads:
            thread.stopping.set()
        raise
