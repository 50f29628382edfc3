"""What the daemon takes of the machine: memory for nothing that it does not use, and no long pauses.

`__main__` imports this before anything else: who imports requests first decides what comes with it.
"""

from __future__ import annotations

import contextlib
import gc
import resource
import sys
import warnings
from types import ModuleType

HAND_OVER = (
    0.001  # seconds: a thread that wakes takes the interpreter from a busy one after that, 5 times sooner than usual
)


class _Guesser(ModuleType):
    """What requests takes for charset_normalizer: text is UTF-8, unless its sender says otherwise."""

    __version__ = "2.1.0"  # which every requests accepts

    @staticmethod
    def detect(_: bytes) -> dict[str, str]:
        """The encoding of these bytes."""
        return {"encoding": "utf-8"}


def _load_requests() -> None:
    """Load requests without what it is never asked to do here.

    Guessing encodings: 2.4 MiB of tables in chardet, which it takes where that is installed, and 0.4 MiB in charset_normalizer, which it
    takes in its place. Names of hosts that are not ASCII: 0.4 MiB in idna, which it loads to have it under a second name, and again when
    there is such a host. It warns where Debian's version of a library is newer than it knows.
    """
    spare: dict[str, ModuleType | None] = {
        "chardet": None,
        "charset_normalizer": _Guesser("charset_normalizer"),
        "idna": ModuleType("idna"),
    }
    spare = {name: module for name, module in spare.items() if name not in sys.modules}
    sys.modules.update(spare)  # type: ignore[arg-type]  # importing None fails, as if it were not there
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"urllib3 .* doesn't match a supported version")
            import requests  # noqa: F401
    finally:
        for name in spare:
            del sys.modules[name]  # so that whoever else wants one gets it


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
