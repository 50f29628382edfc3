"""What the configuration asks for that has to be on this host: the operator's program, an optional package. Looked at before a start."""

from __future__ import annotations

from exoip.config.options import Config
from exoip.operator import hooks
from exoip.telemetry import metrics


def check(config: Config) -> None:
    """Raise ConfigError, which names what is missing and the cure."""
    hooks.check(config.hook)
    if config.metrics_listen is not None:
        metrics.require_prometheus_client()
