"""What runs beside the node when it is asked for: health checks. Started with the daemon, changed by a reload, stopped at its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from exoip.config import Config
from exoip.events import Event
from exoip.health import Checker
from exoip.node import Node
from exoip.rise import Health
from exoip.settings import HealthCheck
from exoip.watch import Worked

STOP_TIME = 1.0  # seconds that the threads get to kill their children


class Companions:
    """The optional parts. Only the main thread calls this.

    `watched`: the threads that the main loop watches over; those of here are added and taken out. `environ`: what children may see.
    """

    def __init__(
        self,
        node: Node,
        watched: list[Worked],
        emit: Callable[[Event], None],
        environ: Mapping[str, str],
        clock: Callable[[], float],
    ) -> None:
        self._node, self._watched, self._emit, self._environ, self._clock = node, watched, emit, environ, clock
        self._checkers: list[Checker] = []

    def prepare(self, config: Config, *, again: bool) -> None:
        """Make what the configuration asks for; a pending check sets the node aside now.

        `again`: after a crash. Then the checks begin as passing and need `--check-fall` bad results: a daemon that comes back within
        the dead time shall cost no move.
        """
        for check in config.health.each():
            self._add(check, Health.PASSING if again else Health.PENDING)

    def start(self) -> None:
        """Begin."""
        for checker in self._checkers:
            checker.start()

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

    def stop(self) -> None:
        """Leave no child behind, as far as STOP_TIME allows."""
        for checker in self._checkers:
            checker.retire(forget=False)
        until = self._clock() + STOP_TIME
        for checker in self._checkers:
            if checker.ident is not None:
                checker.join(max(0.0, until - self._clock()))

    @property
    def checkers(self) -> tuple[Checker, ...]:
        """The health checks that run."""
        return tuple(self._checkers)

    def _add(self, check: HealthCheck, health: Health) -> Checker:
        checker = Checker(check, health, self._environ, self._node.set_aside, self._emit, self._clock)
        self._checkers.append(checker)
        self._watched.append(checker)
        return checker
