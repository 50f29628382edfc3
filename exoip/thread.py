"""A supervised thread: a loop that shows its `progress` and ends when `stopping` is set."""

from __future__ import annotations

import threading
from collections.abc import Callable

from exoip.errors import OutOfThreads

ROUND_TIME = 2.0  # seconds: the longest wait inside one turn of a loop


class Thread(threading.Thread):
    """A thread of the daemon: it never keeps the process from ending."""

    def __init__(self, name: str, target: Callable[[], object] | None = None) -> None:
        super().__init__(target=target, name=f"exoip-{name}", daemon=True)

    def start(self) -> None:
        """Start it. Raises OutOfThreads."""
        try:
            super().start()
        except RuntimeError as error:
            raise OutOfThreads(f"{error}: raise the limit of tasks (the unit's TasksMax, ulimit -u)") from error


class SupervisedThread(Thread):
    """Call `turn` again and again until `stopping` is set.

    `progress` is the time of `clock` at which the loop last went round; the supervisor compares it
    with the present. A turn that may take longer than `round_time` calls `show_progress` meanwhile.
    """

    def __init__(self, name: str, clock: Callable[[], float], round_time: float = ROUND_TIME) -> None:
        super().__init__(name)
        self._clock, self._round_time = clock, round_time
        self.stopping = threading.Event()
        self.progress = clock()

    def run(self) -> None:
        """Go round until asked to stop."""
        while not self.stopping.is_set():
            self.show_progress()
            self.turn()

    def turn(self) -> None:
        """Do one round of work."""
        raise NotImplementedError

    def show_progress(self) -> None:
        """Note that this thread is not stuck."""
        self.progress = self._clock()
