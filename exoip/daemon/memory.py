"""Reduce memory use and GC pauses.

`settle` keeps the garbage collector off everything that is there after the start. The unit adds two
environment variables (MALLOC_ARENA_MAX, PYTHONNODEBUGRANGES), and what only the metrics need
(http.server, prometheus_client) is imported with their option. The goal is 36 MiB resident.
`script/bench` measures it. Shown by tests/unit/daemon/test_memory.py.
"""

from __future__ import annotations

import contextlib
import gc
import resource
import sys

SWITCH_INTERVAL = 0.001  # seconds after which a waking thread gets the interpreter from a busy one; Python's is 0.005


def forbid_core_dumps() -> None:
    """Keep the memory of this process, which has secrets in it, off the disk, however it ends.

    The unit does the same.
    """
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def settle() -> None:
    """Exclude all present objects from garbage collection, and let threads wake soon.

    Each collection would take 10 ms.
    """
    sys.setswitchinterval(SWITCH_INTERVAL)
    gc.collect()
    gc.freeze()
