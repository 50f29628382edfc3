"""What exoip was told, checked and frozen: the result of `config.parse`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from exoip.addresses import Peer
from exoip.errors import ConfigError
from exoip.values import Secret

LOWEST_PRIORITY, HIGHEST_PRIORITY = 1, 252  # 0 and 253 to 255 mean something else on the wire


class Mode(StrEnum):
    """What this process is to do."""

    ATTACH = "attach"
    DETACH = "detach"
    WATCH = "watch"


@dataclass(frozen=True, slots=True)
class Config:
    """Everything exoip was told. Made by `config.parse`; `dataclasses.replace` is for tests.

    `address`: the Elastic IP. `bind_host`: "" for every address. `advertisement_interval`, `preempt_delay` (inf: never
    preempt), `verify_interval`, `leave_timeout`: seconds. `dead_ratio`: advertisement intervals. `sources`: by option
    name "command line", "environment IF_X", "credential api-key", "file /etc/…, line 3" or "default".
    """

    mode: Mode
    address: str
    bind_host: str
    bind_port: int
    instance_id: str | None
    peers: tuple[Peer, ...]
    peer_group: str | None
    host_priority: int
    dead_ratio: float
    advertisement_interval: float
    api_key: str
    api_secret: Secret
    api_endpoint: str | None
    zone: str | None
    metadata_url: str
    preempt_delay: float
    flap_damping: bool
    verify_interval: float
    leave_timeout: float
    verbose: bool
    log_stdout: bool
    check_config: bool
    config_file: str | None
    warnings: tuple[str, ...]
    sources: Mapping[str, str]

    def __post_init__(self) -> None:
        """The bounds that the rest of the program relies on; `parse` has said it better before."""
        if not LOWEST_PRIORITY <= self.host_priority <= HIGHEST_PRIORITY:
            raise ConfigError(f"host-priority {self.host_priority}: must be {LOWEST_PRIORITY} to {HIGHEST_PRIORITY}")
        if not (1 <= self.dead_ratio < math.inf and 0 < self.advertisement_interval < math.inf):
            raise ConfigError(f"dead-ratio {self.dead_ratio} of advertisement-interval {self.advertisement_interval}")
        if not (self.preempt_delay >= 0 and self.verify_interval > 0 and self.leave_timeout >= 0):
            raise ConfigError("preempt-delay, verify-interval and leave-timeout must not be negative")
        if self.peers and self.peer_group is not None:
            raise ConfigError("exoscale-peers and exoscale-peer-group exclude each other")
