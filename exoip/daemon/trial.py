"""Try what would end the start of a daemon on this host, without starting one.

Each socket is bound for a moment. What the running daemon has is no obstacle, because a restart
gives it back. Shown by tests/unit/ctl/test_check.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from exoip.config.options import Config
from exoip.daemon import addons
from exoip.errors import AddressInUse, ConfigError
from exoip.heartbeat.udp import HeartbeatSocket
from exoip.operator.control_server import is_stale
from exoip.telemetry.exporter import listen


def obstacles(config: Config, own: Mapping[str, str]) -> Iterator[tuple[ConfigError, str]]:
    """Yield each error, and what the running daemon has if that may be why, or "".

    `own`: by field the address or path that it has.
    """
    bound = config.bind_address
    trials: list[tuple[str, str, Callable[[], object]]] = [
        ("", "", partial(addons.require, config)),
        ("bind_address", str(bound), lambda: HeartbeatSocket(*bound).close()),
    ]
    if (page := config.metrics_listen) is not None:
        trials.append(("metrics_listen", str(page), lambda: listen(*page).close()))
    if (path := config.control_socket) is not None:
        trials.append(("control_socket", path, lambda: is_stale(path)))
    for field, place, trial in trials:
        try:
            trial()
        except AddressInUse as error:
            had = own.get(field, "")
            (host, _, port), (had_host, _, had_port) = place.rpartition(":"), had.rpartition(":")
            if (had_host, had_port) not in (("", port), (host, port)):
                every = any(not each.strip("[0.:]") for each in (host, had_host))  # such as 0.0.0.0
                yield error, had if every and had_port == port else ""
        except ConfigError as error:
            yield error, ""
