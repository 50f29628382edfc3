"""The supervised thread: it goes round, shows its progress, and ends when it is asked to."""

from __future__ import annotations

import itertools

from exoip.thread import ROUND_TIME, SupervisedThread


class Counter(SupervisedThread):
    turns = 0

    def turn(self) -> None:
        self.turns += 1
        if self.turns == 3:
            self.stopping.set()


def test_it_goes_round_until_asked_to_stop_and_shows_progress_each_time() -> None:
    ticks = itertools.count(100.0)
    thread = Counter("counter", lambda: next(ticks))
    assert (thread.name, thread.daemon, thread.progress) == ("exoip-counter", True, 100.0)
    thread.start()
    thread.join(20.0)
    assert (thread.turns, thread.progress) == (3, 103.0)


def test_a_thread_that_was_stopped_before_its_start_does_nothing() -> None:
    thread = Counter("counter", lambda: 0.0)
    thread.stopping.set()
    thread.run()
    assert thread.turns == 0


def test_a_turn_waits_two_seconds_at_most_by_default() -> None:
    assert SupervisedThread("x", lambda: 0.0)._round_time == ROUND_TIME == 2.0
    assert SupervisedThread("x", lambda: 0.0, 0.5)._round_time == 0.5
