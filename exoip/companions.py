"""What runs beside the node when it is asked for: health checks, and the program that is told of changes.

Started with the daemon, changed by a reload, stopped at its end.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace

from exoip.config import Config
from exoip.events import Event
from exoip.health import Checker
from exoip.hooks import Hooks
from exoip.journal import say
from exoip.node import Node
from exoip.rise import Health
from exoip.settings import HealthCheck, Hook
from exoip.stance import Stance
from exoip.watch import Worked

STOP_TIME = 1.0  # seconds that the threads get to kill their children


class Companions:
    """The optional parts. Only the main thread calls this.

    `watched`: the threads that the main loop watches over; those of here are added and taken out. `environ`: what children may see.
    `explain` puts an event's reason into a person's words; `wall` gives the Unix time of a moment of `clock`.
    """

    def __init__(
        self,
        node: Node,
        watched: list[Worked],
        emit: Callable[[Event], None],
        environ: Mapping[str, str],
        explain: Callable[[Event], str],
        clock: Callable[[], float],
        wall: Callable[[float], float],
    ) -> None:
        self._node, self._watched, self._emit, self._environ = node, watched, emit, environ
        self._explain, self._clock, self._wall = explain, clock, wall
        self._stance = Stance(at=clock())
        self._hooks: Hooks | None = None
        self._checkers: list[Checker] = []

    def prepare(self, config: Config, *, again: bool) -> None:
        """Make what the configuration asks for; a pending check sets the node aside now.

        `again`: after a crash. Then the checks begin as passing and need `--check-fall` bad results: a daemon that comes back within
        the dead time shall cost no move.
        """
        for check in config.health.each():
            self._add(check, Health.PASSING if again else Health.PENDING)
        self._hook(config.hook)

    def start(self) -> None:
        """Begin."""
        for checker in self._checkers:
            checker.start()
        if self._hooks is not None:
            self._hooks.start()

    def told(self, event: Event) -> None:
        """An event has been written to the journal; never waits."""
        if (stance := self._stance.after(event)) is not None:
            self._stance = replace(stance, reason=self._explain(event))
            if self._hooks is not None:
                self._hooks.put(self._stance)

    @property
    def busy(self) -> bool:
        """Whether the operator's program has yet to be told of something."""
        return self._hooks is not None and self._hooks.busy

    def reload(self, config: Config) -> None:
        """Go by another configuration. A check that stays the same is not disturbed; a new one begins as passing, to move nothing."""
        wanted = {check.name: check for check in config.health.each()}
        former = {checker.check.name: checker for checker in self._checkers}
        for name, checker in former.items():
            if wanted.get(name) != checker.check:
                checker.retire(forget=name not in wanted)
                self._checkers.remove(checker)
                self._watched.remove(checker)
        for name, check in wanted.items():
            if name not in former or former[name].check != check:
                self._add(check, former[name].view.health if name in former else Health.PASSING).start()

        if self._hooks is None or self._hooks.hook != config.hook:
            self._drop_hook()
            if (hooks := self._hook(config.hook)) is not None:
                hooks.put(replace(self._stance, reason="the configuration was read again"))
                hooks.start()

    def stop(self) -> None:
        """Leave no child behind, as far as STOP_TIME allows."""
        if self.busy:
            say(logging.WARNING, "the notify program was not told of all before the end")
        threads: list[Checker | Hooks] = [*self._checkers]
        for checker in self._checkers:
            checker.retire(forget=False)
        if self._hooks is not None:
            self._hooks.retire()
            threads.append(self._hooks)
        until = self._clock() + STOP_TIME
        for thread in threads:
            if thread.ident is not None:
                thread.join(max(0.0, until - self._clock()))

    @property
    def checkers(self) -> tuple[Checker, ...]:
        """The health checks that run."""
        return tuple(self._checkers)

    def _hook(self, hook: Hook) -> Hooks | None:
        if hook.program is not None:
            self._hooks = Hooks(hook, self._environ, self._emit, self._clock, self._wall)
            self._watched.append(self._hooks)
        return self._hooks

    def _drop_hook(self) -> None:
        if self._hooks is not None:
            self._hooks.retire()
            self._watched.remove(self._hooks)
            self._hooks = None

    def _add(self, check: HealthCheck, health: Health) -> Checker:
        checker = Checker(check, health, self._environ, self._node.set_aside, self._emit, self._clock)
        self._checkers.append(checker)
        self._watched.append(checker)
        return checker
