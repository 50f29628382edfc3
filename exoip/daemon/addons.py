"""What runs beside the node when it is asked for: health checks, the program that is told of changes, and the metrics' port.

Started with the daemon, changed by a reload, stopped at its end.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from exoip.config.model import HealthCheck, Hook
from exoip.config.parse import Config
from exoip.core.events import Event
from exoip.core.node import Node
from exoip.core.snapshot import Health
from exoip.daemon.supervisor import Worked
from exoip.operator.child_process import environment
from exoip.operator.hooks import HookCaller, HookState
from exoip.telemetry import metrics
from exoip.telemetry.counters import Counters
from exoip.telemetry.journal import Journal
from exoip.telemetry.log import log
from exoip.telemetry.metrics import HeartbeatCounts, MetricsInput

if TYPE_CHECKING:
    from exoip.operator.health import Checker
    from exoip.telemetry.exporter import MetricsServer

STOP_TIME = 1.0  # seconds that the threads get to kill their children


@dataclass(frozen=True, slots=True)
class Around:
    """What the companions go by.

    `watched`: the threads that the main loop watches over; those of here are added and taken out. `emit` takes the events that come
    about here. `environ`: the daemon's own. `beats`: the datagrams so far. `wall` gives the Unix time of a moment of `clock`.
    """

    node: Node
    eip: str
    watched: list[Worked]
    emit: Callable[[Event], None]
    journal: Journal
    counters: Counters
    beats: Callable[[], HeartbeatCounts]
    environ: Mapping[str, str]
    clock: Callable[[], float]
    wall: Callable[[float], float]


class Companions:
    """The optional parts. Only the main thread calls this, but for `metrics`.

    Making it raises ConfigError when the metrics' port can not be had. A health check is pending then, which sets the node aside, but
    `again`, after a crash: then it begins as passing and needs `--check-fall` bad results, for a daemon that comes back within the
    dead time shall cost no move.
    """

    def __init__(self, around: Around, config: Config, *, again: bool) -> None:
        self._around = around
        secrets = (config.api_key, *(one.reveal() for one in (config.api_secret, *config.auth_keys)))
        self._own_id = around.node.config().instance_id
        self._seen = environment(around.environ, secrets) | {"EXOIP_EIP": around.eip, "EXOIP_INSTANCE": self._own_id}
        self._hook_state = HookState(at=around.clock())
        self._hooks: HookCaller | None = None
        self._checkers: list[Checker] = []
        self._metrics_server: MetricsServer | None = None
        if config.metrics_listen is not None:
            from exoip.telemetry.exporter import MetricsServer  # here, for the memory of all who have no metrics

            self._metrics_server = MetricsServer(*config.metrics_listen, self.metrics)
        for each in config.health_checks:
            self._add(each, Health.PASSING if again else Health.PENDING)
        self._hook(config.hook)

    def start(self) -> None:
        """Begin."""
        for thread in (*self._checkers, self._hooks, self._metrics_server):
            if thread is not None:
                thread.start()

    def told(self, event: Event) -> None:
        """An event has been written to the journal; never waits."""
        self._around.counters.count_event(event)
        if (state := self._hook_state.after(event)) is not None:
            self._hook_state = replace(state, reason=self._around.journal.explain(event))
            if self._hooks is not None:
                self._hooks.put(self._hook_state)

    @property
    def busy(self) -> bool:
        """Whether the operator's program has yet to be told of something."""
        return self._hooks is not None and self._hooks.busy

    @property
    def checkers(self) -> tuple[Checker, ...]:
        """The health checks that run."""
        return tuple(self._checkers)

    def metrics(self) -> str:
        """Return the metrics; any thread may ask. Raises ConfigError where the package for them is missing."""
        around, told = self._around, self._hooks
        return metrics.render(
            MetricsInput(
                around.node.snapshot(around.clock()), around.eip, self._own_id, around.beats(), around.counters.snapshot(),
                tuple(checker.view for checker in self.checkers), told.view if told is not None else None,
                around.wall, around.journal.replace_ids,
            )
        )  # fmt: skip

    def reload(self, config: Config) -> None:
        """Go by another configuration. A check that stays the same is not disturbed; a new one begins as passing, to move nothing."""
        wanted = {check.name: check for check in config.health_checks}
        former = {checker.check.name: checker for checker in self._checkers}
        for name, checker in former.items():
            if wanted.get(name) != checker.check:
                checker.stop(clear=name not in wanted)
                self._checkers.remove(checker)
                self._around.watched.remove(checker)
        for name, each in wanted.items():
            if name not in former or former[name].check != each:
                self._add(each, former[name].view.health if name in former else Health.PASSING).start()
        if self._hooks is None or self._hooks.hook != config.hook:
            self._drop_hook()
            if (told := self._hook(config.hook)) is not None:
                told.put(replace(self._hook_state, reason="the configuration was read again"))
                told.start()

    def stop(self) -> None:
        """Leave no child behind, as far as STOP_TIME allows."""
        if self.busy:
            log(logging.WARNING, "stopped before the notify program was called for every change")
        threads: list[Checker | HookCaller] = [*self._checkers]
        for checker in self._checkers:
            checker.stop(clear=False)
        if self._hooks is not None:
            self._hooks.stop()
            threads.append(self._hooks)
        if self._metrics_server is not None:
            self._metrics_server.stopping.set()
        until = self._around.clock() + STOP_TIME
        for thread in threads:
            if thread.ident is not None:
                thread.join(max(0.0, until - self._around.clock()))

    def _hook(self, hook: Hook) -> HookCaller | None:
        if hook.program is not None:
            self._hooks = HookCaller(hook, self._seen, self._around.emit, self._around.clock, self._around.wall)
            self._around.watched.append(self._hooks)
        return self._hooks

    def _drop_hook(self) -> None:
        if self._hooks is not None:
            self._hooks.stop()
            self._around.watched.remove(self._hooks)
            self._hooks = None

    def _add(self, check: HealthCheck, health: Health) -> Checker:
        from exoip.operator.health import Checker  # here, for the memory of all who have no check

        around = self._around
        checker = Checker(check, health, self._seen, around.node.set_unfit, around.emit, around.clock)
        self._checkers.append(checker)
        around.watched.append(checker)
        return checker
