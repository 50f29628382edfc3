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


def obstacles(config: Config, own: Mapping[str, str]) -> Iterator[ConfigError]:
    """Yield the errors. `own`: by field the port or path that the running daemon has."""
    host, port = config.bind_address
    trials: list[tuple[str, str, Callable[[], object]]] = [
        ("", "", partial(addons.require, config)),
        ("bind_address", str(port), lambda: HeartbeatSocket(host, port).close()),
    ]
    if (page := config.metrics_listen) is not None:
        trials.append(("metrics_listen", str(page.port), lambda: listen(*page).close()))
    if (path := config.control_socket) is not None:
        trials.append(("control_socket", path, lambda: is_stale(path)))
    for field, place, trial in trials:
        try:
            trial()
        except AddressInUse as error:
            if own.get(field) != place:
                yield error
        except ConfigError as error:
            yield error
