"""Call the operator's program at each change of role or holding: in order, one call at a time.

    PROGRAM ROLE EIP REASON     with EXOIP_ROLE, EXOIP_OLD_ROLE, EXOIP_HOLDS, EXOIP_EIP,
                                EXOIP_INSTANCE, EXOIP_REASON, EXOIP_TIME, EXOIP_SKIPPED and
                                EXOIP_ATTEMPT in its environment

Nothing waits for the program. If the changes come faster than it runs, the oldest waiting ones are
skipped and the next call says how many: the newest state is never lost. A call that fails is
repeated once, unless a newer state waits. A call that exceeds its timeout has failed, and its
process group is killed before the next call. Shown by tests/unit/operator/test_hooks.py and
tests/process/test_addons.py.
"""

from __future__ import annotations

import os
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from exoip.config.model import Hook
from exoip.core.events import Event, EventName
from exoip.core.peers import Role
from exoip.errors import ConfigError
from exoip.operator.child_process import Child
from exoip.telemetry.addon_views import HookView
from exoip.thread import SupervisedThread

MOST_WAITING = 8  # states that may wait
RETRY_AFTER = 1.0  # seconds between a failed call and its repetition

_HOLDS = {EventName.ATTACHED: True, EventName.HOLDS: True, EventName.LET_GO: False, EventName.LOST: False}


@dataclass(frozen=True, slots=True)
class HookState:
    """The state that the program gets: role and holding from `at` on, and why. Pure."""

    role: str = Role.LISTENING
    holds: bool = False
    at: float = 0.0
    reason: str = "started"

    def after(self, event: Event) -> HookState | None:
        """Return the state after an event of this node, or None if the event does not change it."""
        role = str(event.details["role"]) if event.name is EventName.ROLE else self.role
        holds = _HOLDS.get(event.name, self.holds)
        if (role, holds) == (self.role, self.holds):
            return None
        return replace(self, role=role, holds=holds, at=event.at, reason=event.reason)

    @property
    def description(self) -> str:
        """Role and holding in words."""
        return f"{self.role}, {'holding' if self.holds else 'not holding'}"


def check(hook: Hook) -> None:
    """Raise ConfigError if its program does not exist or this user cannot execute it."""
    if hook.program is None:
        return
    if not os.path.isfile(hook.program):
        raise ConfigError(f"--notify {hook.program}: there is no such file (as this user sees it, inside the unit)")
    if not os.access(hook.program, os.X_OK):
        cure = "give it the mode 0755, and a place that the unit's ExecPaths allow, see exoip(8)"
        raise ConfigError(f"--notify {hook.program}: this user cannot execute it: {cure}")


class HookCaller(SupervisedThread):
    """The thread that calls the program.

    `environ` is what the program may see, with EXOIP_EIP and EXOIP_INSTANCE. A new `hook` counts
    from the next call on.
    """

    def __init__(
        self,
        hook: Hook,
        environ: Mapping[str, str],
        emit: Callable[[Event], None],
        clock: Callable[[], float],
        wall: Callable[[float], float],
    ) -> None:
        super().__init__("notify", clock)
        self.hook = hook
        self._environ, self._emit, self._wall = environ, emit, wall
        self._changed = threading.Condition()  # guards what waits
        self._waiting: deque[HookState] = deque()
        self._calling = False
        self._skipped = 0  # since the last call
        self._last = HookState()  # of the last call
        self._counts = Counter[str]()

    def put(self, state: HookState) -> None:
        """Queue a state for the program; never waits."""
        with self._changed:
            self._waiting.append(state)
            if len(self._waiting) > MOST_WAITING:
                self._waiting.popleft()
                self._skipped += 1
                self._counts["skipped"] += 1
            self._changed.notify()

    @property
    def busy(self) -> bool:
        """Whether the program has not yet been called for every change."""
        with self._changed:
            return self._calling or bool(self._waiting)

    @property
    def view(self) -> HookView:
        """The results of the calls so far."""
        with self._changed:
            counts = self._counts
            return HookView(counts["done"], counts["failed"], counts["skipped"], len(self._waiting))

    def stop(self) -> None:
        """Make no more calls and kill what runs. Does not wait for the thread."""
        self.stopping.set()
        with self._changed:
            self._changed.notify()

    def turn(self) -> None:
        """Wait for a state and call the program with it."""
        if not self._newer_state(self._round_time) or self.stopping.is_set():
            return
        with self._changed:
            state, skipped = self._waiting.popleft(), self._skipped
            self._calling, self._skipped = True, 0
        self._report(state, skipped)
        self._last = state
        with self._changed:
            self._calling = False

    def _newer_state(self, seconds: float) -> bool:
        """Wait up to `seconds` for a state; return whether one waits, or the thread should end."""
        with self._changed:
            if not self._waiting and not self.stopping.is_set() and seconds > 0:
                self._changed.wait(seconds)
            return bool(self._waiting) or self.stopping.is_set()

    def _report(self, state: HookState, skipped: int) -> None:
        """Call the program, and once more if that fails and no newer state waits."""
        reason = state.description + (f", {skipped} older states skipped" if skipped else "")
        for attempt in (1, 2):
            began = self._clock()
            problem = self._call(state, skipped, attempt)
            if problem and self.stopping.is_set():
                return
            now = self._clock()
            details = {"role": state.role, "duration": now - began}
            if not problem:
                self._counts["done"] += 1
                self._emit(Event(EventName.HOOK_DONE, now, "", reason, details))
                return
            self._counts["failed"] += 1
            newer = self._newer_state(0.0)
            then = "not again" if attempt == 2 else "again with the next state" if newer else "once more"
            self._emit(Event(EventName.HOOK_FAILED, now, "", reason, details | {"detail": problem, "then": then}))
            if attempt == 2 or self._newer_state(RETRY_AFTER):
                return

    def _call(self, state: HookState, skipped: int, attempt: int) -> str:
        """Call the program; return "" or what went wrong."""
        variables = {
            "ROLE": state.role,
            "OLD_ROLE": self._last.role,
            "HOLDS": "yes" if state.holds else "no",
            "REASON": state.reason,
            "TIME": f"{self._wall(state.at):.6f}",
            "SKIPPED": str(skipped),
            "ATTEMPT": str(attempt),
        }
        environ, hook = {**self._environ, **{f"EXOIP_{name}": text for name, text in variables.items()}}, self.hook
        try:
            child = Child([hook.program or "", state.role, self._environ["EXOIP_EIP"], state.reason], environ)
        except OSError as error:
            return f"cannot be started: {error.strerror or error}"
        until = self._clock() + hook.timeout
        while not child.ended and (left := until - self._clock()) > 0 and not self.stopping.is_set():
            self.show_progress()
            child.wait(min(left, self._round_time), self.stopping)
        in_time = child.ended
        while not child.end(self.stopping) and not self.stopping.is_set():
            self.show_progress()
        return child.problem(timeout=None if in_time else hook.timeout)
