"""Catch the signals that the daemon obeys, from the first moment of the process on.

    SIGABRT           the watchdog's: write the stacks of all threads to stderr, and end
    SIGTERM, SIGINT   hand over and stop
    SIGQUIT           stop at once, without handing over: the daemon is about to be started again
    SIGHUP            read the configuration again
    SIGUSR1, SIGUSR2  improve or worsen the priority by one, until the next reload or restart

Most of a start is loading modules, and the default action of the last three ends the process. So
`__main__` catches these before it loads anything else. They wait in the mailbox until the main loop
reads it.

Until the daemon catches them, SIGTERM, SIGINT and SIGQUIT end the process, as they do in -A and
-D. Process 1 has no default action, so there `__main__` does it. It does what SIGABRT asks for,
too. Shown by tests/process/test_start.py.
"""

from __future__ import annotations

import queue
import signal
from collections.abc import Callable, Iterable
from typing import Any

STOP = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
CAUGHT_EARLY = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)

Mailbox = queue.SimpleQueue[Any]  # what signals and all threads send to the main thread, see `supervisor`
OnStop = signal.Handlers | Callable[[int, Any], None]


def catch_early(on_stop: OnStop = signal.SIG_DFL) -> Mailbox:
    """Catch the signals that would end a process that starts, into a new mailbox.

    `on_stop`: what STOP does until the daemon catches it.
    """
    mailbox: Mailbox = queue.SimpleQueue()
    catch(mailbox, CAUGHT_EARLY)
    for number in STOP:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup and a shell's & leave it
            signal.signal(number, on_stop)
    return mailbox


def disinherit() -> None:
    """Undo what a parent may have set: blocked signals, which would never be obeyed, and ignored
    children, whose exit status the kernel would throw away, so that every check passed.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def catch(mailbox: Mailbox, numbers: Iterable[signal.Signals] = STOP + CAUGHT_EARLY) -> None:
    """Put each of these signals into the mailbox."""
    for number in numbers:
        signal.signal(number, lambda caught, _frame: mailbox.put(signal.Signals(caught)))
