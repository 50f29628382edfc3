"""SIGHUP: read the configuration again, check it whole, then let the running node go by it.

What needs the API (the members) is asked in a thread of its own, so nothing waits meanwhile. If anything is wrong, nothing changes.
Priority, interval, dead ratio, preemption delay, verify interval, leave time-out, health checks, hook, peers, group, the API key, the keys
of the heartbeats and the log level can be changed; the Elastic IP, the own instance, the bound address, the zone, the control socket
and the log's destination need a restart.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from exoip.config.options import OPTIONS, Config
from exoip.daemon import addons
from exoip.errors import ConfigError, ExoipError
from exoip.exoscale import discovery
from exoip.exoscale.topology import Topology


@dataclass(frozen=True, slots=True)
class Reloaded:
    """A configuration that was read again and found good, with what was discovered for it."""

    config: Config
    topology: Topology


@dataclass(frozen=True, slots=True)
class NotReloaded:
    """Why the configuration stays as it is."""

    why: str


def check(old: Config, new: Config) -> None:
    """Raise ConfigError when `new` differs from `old` in what can not be changed while the daemon runs."""
    fixed = [
        option.name
        for option in OPTIONS
        if not option.reload and getattr(old, option.field) != getattr(new, option.field)
    ]
    if fixed:
        raise ConfigError(f"{', '.join(fixed)} can not be changed by a reload: restart instead")


def start(
    reread: Callable[[], Config], old: Config, ids: tuple[str, str], answer: Callable[[Reloaded | NotReloaded], None]
) -> None:
    """Read and check in a thread of its own; `answer` is called with what came of it. `ids`: of this instance and the EIP."""

    def work() -> None:
        try:
            new = reread()
            check(old, new)
            addons.require(new)
            found = discovery.discover(new)
            if (found.instance_id, found.eip_id) != ids:
                raise ConfigError("this instance or the Elastic IP has another id than before: restart instead")
            answer(Reloaded(new, found))
        except ExoipError as error:
            answer(NotReloaded(str(error)))
        except Exception as error:  # our bug, but no reason to end a daemon that works
            answer(NotReloaded(f"{type(error).__name__}: {error}"))

    threading.Thread(target=work, name="exoip-reload", daemon=True).start()
