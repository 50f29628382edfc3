"""Reload on SIGHUP: read and check the whole configuration, then let the running node apply it.

A thread of its own reads it and calls the API for the members, so nothing waits meanwhile. If
anything is wrong, nothing changes. An API that does not answer keeps back only a change that
concerns it: during an outage an operator may need another priority or health check. Which options
need a restart is in the option table (`config/options.py`). Shown by
tests/unit/daemon/test_reload.py and tests/process/test_daemon.py.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from exoip.config.options import OPTIONS, Config
from exoip.daemon import addons
from exoip.errors import ApiUnavailable, ApiUnreachable, ConfigError, ExoipError, MetadataUnavailable, OutOfThreads
from exoip.exoscale import discovery
from exoip.exoscale.topology import Topology
from exoip.telemetry.log import log
from exoip.thread import Thread


@dataclass(frozen=True, slots=True)
class Reloaded:
    """A configuration that passed all checks, and the topology that was discovered for it.

    None: the API does not answer, and the topology in force stays.
    """

    config: Config
    topology: Topology | None


@dataclass(frozen=True, slots=True)
class NotReloaded:
    """Why the old configuration stays in force."""

    why: str


def check(old: Config, new: Config) -> None:
    """Raise ConfigError if `new` differs from `old` in an option that needs a restart."""
    restart = [option for option in OPTIONS if not option.reload]
    if fixed := [option.name for option in restart if getattr(old, option.field) != getattr(new, option.field)]:
        raise ConfigError(f"{', '.join(fixed)} cannot be changed by a reload: restart instead")


def start(
    reread: Callable[[], Config], old: Config, topology: Topology, answer: Callable[[Reloaded | NotReloaded], None]
) -> None:
    """Read and check the configuration in a new thread, which then calls `answer`.

    The ids of this instance and of the Elastic IP must stay those of `topology`.
    """

    def work() -> None:
        try:
            new = reread()
            check(old, new)
            addons.require(new)
            found = _discover(old, new, topology)
            if found and (found.instance_id, found.eip_id) != (topology.instance_id, topology.eip_id):
                raise ConfigError("this instance or the Elastic IP has another id than before: restart instead")
            answer(Reloaded(new, found))
        except ExoipError as error:
            answer(NotReloaded(str(error)))
        except Exception as error:  # our bug, but no reason to end a daemon that works
            answer(NotReloaded(f"{type(error).__name__}: {error}"))

    try:
        Thread("reload", work).start()
    except OutOfThreads as error:  # the next reload may get one
        answer(NotReloaded(str(error)))


def _discover(old: Config, new: Config, before: Topology) -> Topology | None:
    try:
        try:
            return discovery.discover(new, known=before.members)
        except MetadataUnavailable:  # it is asked for what does not change while a daemon runs
            known = replace(new, instance_id=before.instance_id, zone=new.zone or before.zone)
            return discovery.discover(known, known=before.members)
    except (ApiUnreachable, ApiUnavailable) as error:
        fields = ["api_key", "api_secret", *(option.field for option in OPTIONS if option.discovery)]
        if any(getattr(old, field) != getattr(new, field) for field in fields):
            raise
        log(logging.WARNING, "the API does not answer, so the members stay as they are: %s", error)
        return None
