"""What the daemon loads, and that garbage collection skips what exists after the start."""

from __future__ import annotations

import gc
import os
import subprocess
import sys

from exoip.daemon import memory


def test_the_daemon_loads_only_what_it_uses():
    environ = {name: text for name, text in os.environ.items() if not name.startswith("COVERAGE_")}  # loads its own
    command = [sys.executable, "-c", "import exoip.daemon.command, sys; print(*sys.modules)"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=True)
    loaded = set(done.stdout.split())
    assert {"requests", "exoip.daemon.daemon"} <= loaded
    assert not loaded & {
        *("exoip.sandbox", "subprocess", "prometheus_client"),
        *("asyncio", "ctypes", "unittest", "xml", "multiprocessing", "pkg_resources"),
    }


def test_what_is_there_when_it_settles_is_never_looked_at_again():
    before = sys.getswitchinterval()
    try:
        memory.settle()
        assert gc.get_freeze_count() > 10_000
        assert sys.getswitchinterval() == memory.SWITCH_INTERVAL
    finally:
        gc.unfreeze()
        sys.setswitchinterval(before)
