"""A supervised thread: a loop that shows its `progress` and ends when `stopping` is set."""

from __future__ import annotations

import threading
from collections.abc import Callable

ROUND_TIME = 2.0  # seconds: the longest wait inside one turn of a loop


class SupervisedThread(threading.Thread):
    """Call `turn` again and again until `stopping` is set.

    `progress` is the time of `clock` at which the loop last went round; the supervisor compares it
    with the present. A turn that may take longer than `round_time` calls `show_progress` meanwhile.
    """

    def __init__(self, name: str, clock: Callable[[], float], round_time: float = ROUND_TIME) -> None:
        super().__init__(name=f"exoip-{name}", daemon=True)
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
