"""What exoip was told, checked and frozen: the result of `config.parse`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from exoip.config.addresses import Peer
from exoip.config.values import Secret
from exoip.errors import ConfigError
from exoip.heartbeat.authentication import AuthMode, AuthPolicy
from exoip.heartbeat.socket_address import SocketAddress

LOWEST_PRIORITY, HIGHEST_PRIORITY = 1, 252  # 0 and 253 to 255 mean something else on the wire


class Mode(StrEnum):
    """What this process is to do."""

    ATTACH = "attach"
    DETACH = "detach"
    WATCH = "watch"


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """One health check. `kind`: command, tcp or http; `target`: the shell line, host:port or URL; `host` and `port` for tcp only.

    `interval` and `timeout` in seconds; `rise` and `fall` in results in a row.
    """

    kind: str
    target: str
    interval: float
    timeout: float
    rise: int
    fall: int
    host: str = ""
    port: int = 0

    @property
    def name(self) -> str:
        """What tells it from the others: its kind and, but for a command, its target without a URL's query."""
        return self.kind if self.kind == "command" else f"{self.kind} {self.target.partition('?')[0]}"


@dataclass(frozen=True, slots=True)
class HealthChecks:
    """What the options that begin with check- say; none of `command`, `tcp` and `http`: no check."""

    command: str | None = None
    tcp: tuple[tuple[str, int], ...] = ()
    http: tuple[str, ...] = ()
    interval: float = 2.0
    timeout: float = 2.0
    rise: int = 2
    fall: int = 3

    def __post_init__(self) -> None:
        """The bounds that the rest of the program relies on."""
        if not (self.interval > 0 and self.timeout > 0 and self.rise >= 1 and self.fall >= 1):
            raise ConfigError("check-interval and check-timeout must be positive, check-rise and check-fall 1 or more")

    def each(self) -> tuple[HealthCheck, ...]:
        """Every check that is to run."""
        common = (self.interval, self.timeout, self.rise, self.fall)
        lines = [HealthCheck("command", self.command, *common)] if self.command is not None else []
        places = [HealthCheck("tcp", str(SocketAddress(*each)), *common, *each) for each in self.tcp]
        return (*lines, *places, *(HealthCheck("http", url, *common) for url in self.http))


@dataclass(frozen=True, slots=True)
class Hook:
    """The program that is told of changes, by its absolute path (None: none), and for how many seconds a call may last."""

    program: str | None = None
    timeout: float = 30.0

    def __post_init__(self) -> None:
        """The bound that the rest of the program relies on."""
        if not self.timeout > 0:
            raise ConfigError("notify-timeout must be positive")


@dataclass(frozen=True, slots=True)
class Config:
    """Everything exoip was told. Made by `config.parse`; `dataclasses.replace` is for tests.

    `address`: the Elastic IP. `bind_host`: "" for every address. `advertisement_interval`, `preempt_delay` (inf: never
    preempt), `verify_interval`, `leave_timeout`: seconds. `dead_ratio`: advertisement intervals. `auth_mode`: None without a key.
    `sources`: by option name "command line", "environment IF_X", "credential api-key", "file /etc/…, line 3" or "default".
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
    health: HealthChecks
    auth_keys: tuple[Secret, ...]
    auth_mode: AuthMode | None
    hook: Hook
    metrics: tuple[str, int] | None
    verbose: bool
    log_stdout: bool
    check_config: bool
    config_file: str | None
    control_socket: str | None
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
        if bool(self.auth_keys) is (self.auth_mode is None):
            raise ConfigError("auth-key and auth-mode go together")

    def auth_policy(self) -> AuthPolicy:
        """How heartbeats are signed and verified."""
        keys = tuple(key.reveal().encode("ascii") for key in self.auth_keys)
        return AuthPolicy(keys, self.auth_mode or AuthMode.REQUIRE)
