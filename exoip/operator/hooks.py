"""The operator's program that is told of each change of role or holding: in order, one call at a time, in a thread of its own.

    PROGRAM ROLE EIP REASON     with EXOIP_ROLE, EXOIP_OLD_ROLE, EXOIP_HOLDS, EXOIP_EIP, EXOIP_INSTANCE, EXOIP_REASON, EXOIP_TIME,
                                EXOIP_SKIPPED and EXOIP_ATTEMPT in its environment

Nobody waits for it. When it is slower than the changes, the oldest that it was not told of yet are left out, and it is told how many: the
newest state is never lost. A call that fails is made once more, unless a newer state waits. A call that takes longer than the
time-out has failed, and its process group is killed before the next.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Mapping

from exoip.config.model import Hook
from exoip.core.events import Event, EventName
from exoip.core.snapshot import HookView
from exoip.errors import ConfigError
from exoip.operator.child_process import Child
from exoip.operator.stance import Stance

WAITING = 8  # states that may wait
AGAIN = 1.0  # seconds before the second call
_ROUND = 2.0  # seconds after which the thread shows that it lives


def check(hook: Hook) -> None:
    """Raise ConfigError when its program is not there or can not be executed by this user."""
    if hook.program is None:
        return
    if not os.path.isfile(hook.program):
        raise ConfigError(
            f"--notify {hook.program}: there is no such file (for this user, below the unit's protection)"
        )
    if not os.access(hook.program, os.X_OK):
        cure = "give it the mode 0755, and a place that the unit's ExecPaths allow, see exoip(8)"
        raise ConfigError(f"--notify {hook.program}: can not be executed by this user: {cure}")


class Hooks(threading.Thread):
    """The thread. `environ`: what the program may see, EXOIP_EIP and EXOIP_INSTANCE among it. `progress` is when it last went round."""

    def __init__(
        self,
        hook: Hook,
        environ: Mapping[str, str],
        emit: Callable[[Event], None],
        clock: Callable[[], float],
        wall: Callable[[float], float],
    ) -> None:
        super().__init__(name="exoip-notify", daemon=True)
        self.hook = hook
        self._environ = environ
        self._emit, self._clock, self._wall = emit, clock, wall
        self._changed = threading.Condition()
        self._waiting: deque[Stance] = deque()
        self._calling = False
        self._skipped = 0  # since the last call
        self._last = Stance()  # that it was called with
        self._counts = [0, 0, 0]  # done, failed, skipped
        self.stopping = threading.Event()
        self.progress = clock()

    def put(self, stance: Stance) -> None:
        """Tell the program of it; never waits."""
        with self._changed:
            self._waiting.append(stance)
            if len(self._waiting) > WAITING:
                self._waiting.popleft()
                self._skipped += 1
                self._counts[2] += 1
            self._changed.notify()

    @property
    def busy(self) -> bool:
        """Whether there is something that the program was not told of."""
        with self._changed:
            return self._calling or bool(self._waiting)

    @property
    def view(self) -> HookView:
        """What came of the calls so far."""
        with self._changed:
            done, failed, skipped = self._counts
            return HookView(done, failed, skipped, len(self._waiting))

    def retire(self) -> None:
        """Call no more, and kill what runs. Does not wait for the thread."""
        self.stopping.set()
        with self._changed:
            self._changed.notify()

    def run(self) -> None:
        """Call until told to stop."""
        while not self.stopping.is_set():
            self.progress = self._clock()
            with self._changed:
                if not self._waiting and not self.stopping.is_set():
                    self._changed.wait(_ROUND)
                if not self._waiting:
                    continue
                stance, skipped = self._waiting.popleft(), self._skipped
                self._calling, self._skipped = True, 0
            self._tell(stance, skipped)
            self._last = stance
            with self._changed:
                self._calling = False

    def _tell(self, stance: Stance, skipped: int) -> None:
        """Call the program, and once more if that fails and nothing newer waits."""
        reason = stance.words + (f", {skipped} older states were left out" if skipped else "")
        for attempt in (1, 2):
            began = self._clock()
            why = self._call(stance, skipped, attempt)
            if self.stopping.is_set() and why:
                return
            now = self._clock()
            details = {"role": stance.role, "duration": now - began}
            if not why:
                self._counts[0] += 1
                self._emit(Event(EventName.HOOK_DONE, now, "", reason, details))
                return
            self._counts[1] += 1
            then = "not again" if attempt == 2 else "again with the next state" if self._newer(0.0) else "once more"
            self._emit(Event(EventName.HOOK_FAILED, now, "", reason, details | {"detail": why, "then": then}))
            if self._newer(AGAIN):
                return

    def _newer(self, seconds: float) -> bool:
        """Wait that long for a newer state; whether there is one, or the end is near."""
        with self._changed:
            if not self._waiting and not self.stopping.is_set() and seconds > 0:
                self._changed.wait(seconds)
            return bool(self._waiting) or self.stopping.is_set()

    def _call(self, stance: Stance, skipped: int, attempt: int) -> str:
        """Call the program; return "" or what went wrong."""
        told = {
            "ROLE": stance.role,
            "OLD_ROLE": self._last.role,
            "HOLDS": "yes" if stance.holds else "no",
            "REASON": stance.reason,
            "TIME": f"{self._wall(stance.at):.6f}",
            "SKIPPED": str(skipped),
            "ATTEMPT": str(attempt),
        }
        environ = {**self._environ, **{f"EXOIP_{name}": text for name, text in told.items()}}
        try:
            child = Child([self.hook.program or "", stance.role, self._environ["EXOIP_EIP"], stance.reason], environ)
        except OSError as error:
            return f"can not be started: {error.strerror or error}"
        until = self._clock() + self.hook.timeout
        while not child.ended and (left := until - self._clock()) > 0 and not self.stopping.is_set():
            self.progress = self._clock()
            child.wait(min(left, _ROUND), self.stopping)
        in_time = child.ended
        while not child.end(self.stopping) and not self.stopping.is_set():
            self.progress = self._clock()
        said = f": {child.said}" if child.said else ""
        if not in_time:
            return f"no end within {self.hook.timeout:g} s{said}"
        code = child.code or 0
        return "" if code == 0 else (f"exit status {code}" if code > 0 else f"signal {-code}") + said
