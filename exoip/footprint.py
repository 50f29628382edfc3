"""What the daemon takes of the machine: memory for nothing that it does not use, and no long pauses.

`__main__` imports this before anything else: who imports requests first decides what comes with it.
"""

from __future__ import annotations

import contextlib
import gc
import resource
import sys
import warnings

HAND_OVER = (
    0.001  # seconds: a thread that wakes takes the interpreter from a busy one after that, 5 times sooner than usual
)


def _load_requests() -> None:
    """Load requests without chardet, where that is installed: 2.4 MiB of tables for guessing encodings, which nobody asks it to do.

    requests takes charset_normalizer in its place, and warns where Debian's version is newer than it knows.
    """
    spare = "chardet" not in sys.modules
    if spare:
        sys.modules["chardet"] = None  # type: ignore[assignment]  # importing it fails, as if it were not there
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"urllib3 .* doesn't match a supported version")
            import requests  # noqa: F401
    finally:
        if spare:
            del sys.modules["chardet"]


_load_requests()


def leave_no_core() -> None:
    """Whatever kills this process: no image of its memory, where the secrets are, stays on a disk. The unit says the same."""
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def settle() -> None:
    """The daemon is whole: what is there now stays, so that no collection of garbage looks at it again (some 10 ms each time)."""
    sys.setswitchinterval(HAND_OVER)
    gc.collect()
    gc.freeze()
