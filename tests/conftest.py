"""Options of the tests."""

from __future__ import annotations

import contextlib
import os
import signal

import pytest

with contextlib.suppress(ImportError):  # the tests of hosts do without it
    from hypothesis import settings

    # A loaded machine is slow, and no test judges times but the benchmarks.
    settings.register_profile("exoip", deadline=None)
    settings.load_profile("exoip")

# A shell without job control ignores SIGINT in what it starts in the background, and a program inherits that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The manager of the service or container that runs the tests must not hear from their daemons.
os.environ.pop("NOTIFY_SOCKET", None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--regenerate", action="store_true", help="write the generated texts and transcripts again")
