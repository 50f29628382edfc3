# ruff: noqa: RUF009 -- rows are declared by calls
"""The option table: each field of `Config` that an option fills is declared as that option's row.

A new option is a row here and the code that reads the field. The command line, the environment, the
file, credentials, `--help`, `exoip -n`, reloads, the remembered topology and the status follow from
it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from typing import Any, TypeVar

from exoip.config import addresses, values
from exoip.config.addresses import Peer
from exoip.config.model import HIGHEST_PRIORITY, LOWEST_PRIORITY, HealthCheck, Hook, Mode
from exoip.config.values import Number, Secret, Whole
from exoip.errors import ConfigError
from exoip.heartbeat.authentication import AuthMode, AuthPolicy
from exoip.heartbeat.socket_address import SocketAddress

T = TypeVar("T")


class Kind(Enum):
    """How an option is written."""

    MODE = "short only, on the command line only"
    FLAG = "yes or no; bare on the command line means yes"
    VALUE = "takes a value"
    PRINT = "prints something and exits"


@dataclass(frozen=True, slots=True)
class Option:
    """One row of the table.

    `name`: the long name without dashes, the same in the file. `short`: without its dash. `read`:
    turns text into a value. `help`: the line in --help. `default`: as a user would write it, or
    None; `otherwise`: what happens without a value, in words; `absent`: the value of the field
    then. `also`: environment variables to try after IF_NAME; `credential`: the systemd credential
    to try after those. `repeats`: may be given more than once. `reload`: whether a reload may
    change it. `discovery`: whether a remembered topology is void if it changes. `status`: whether
    the status shows it. `field`: the name of the field of `Config`, if any.
    """

    name: str
    short: str | None
    kind: Kind
    help: str
    read: Callable[[str], object] = values.flag
    metavar: str = ""
    default: str | None = None
    otherwise: str = "none"
    absent: object = None
    unit: str = ""
    also: tuple[str, ...] = ()
    credential: str | None = None
    secret: bool = False
    repeats: bool = False
    command_line_only: bool = False
    reload: bool = True
    discovery: bool = False
    status: bool = False
    field: str = ""

    @property
    def spellings(self) -> tuple[str, ...]:
        """Return every way to write it on the command line: as in Go, one dash or two."""
        names = [name for name in (self.short, None if self.kind is Kind.MODE else self.name) if name]
        return tuple(dashes + name for name in names for dashes in ("-", "--"))

    @property
    def variables(self) -> tuple[str, ...]:
        """Return its environment variables: the first that is set wins."""
        if self.command_line_only or self.kind in (Kind.MODE, Kind.PRINT):
            return ()
        return ("IF_" + self.name.upper().replace("-", "_"), *self.also)

    @property
    def label(self) -> str:
        """Name it in a message about its value: `-P/--host-priority`."""
        return self.usual if self.kind is Kind.MODE or not self.short else f"-{self.short}/--{self.name}"

    @property
    def usual(self) -> str:
        """Name it in a message that proposes it: `--host-priority`."""
        return f"-{self.short}" if self.kind is Kind.MODE else f"--{self.name}"

    @property
    def in_file(self) -> bool:
        """Return whether the file may set it."""
        return bool(self.variables)

    @property
    def required(self) -> bool:
        """Return whether nothing runs without it."""
        return self.otherwise == "required"


def option(name: str, short: str | None, read: Callable[[str], T], metavar: str, help: str, **rest: Any) -> T:
    """Declare an option that takes a value. The field's type is what `read` returns."""
    row = Option(name, short, Kind.VALUE, help, read, metavar, **rest)
    return field(metadata={"option": row})  # type: ignore[no-any-return]


def seconds(name: str, short: str | None, low: float, high: float, help: str, default: str, **rest: Any) -> float:
    """Declare an option whose value is a time."""
    bounds = f"; {low:g} to {high:g}"
    read = Number(low, high, "seconds")
    return option(name, short, read, "SECONDS", help + bounds, default=default, unit="seconds", **rest)


def flag(name: str, short: str | None, help: str, default: str = "no", **rest: Any) -> bool:
    """Declare a yes-or-no option."""
    row = Option(name, short, Kind.FLAG, help, default=default, **rest)
    return field(metadata={"option": row})  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The configuration, checked and frozen. `parse.parse` makes it.

    Times are in seconds, `dead_ratio` in advertisement intervals. `preempt_delay`: inf if
    `no_preempt`. `auth_mode`: None without a key. `warnings`: one sentence each. `sources`: by
    option name "command line", "environment IF_X", "credential api-key", "file /etc/..., line 3" or
    "default".
    """

    # fmt: off
    mode: Mode
    address: str = option(
        "address", "xi", addresses.elastic_ip, "ADDRESS", "the Elastic IP: an IPv4 address, or an IPv6 prefix like 2001:db8:0:1::/96",
        otherwise="required", reload=False, discovery=True)
    host_priority: int = option(
        "host-priority", "P", values.priority, "NUMBER",
        "0 to 255, the lowest wins; 0 runs as 1, and 253 to 255 as 252", default="10", status=True)
    bind_address: SocketAddress = option(
        "bind-address", "l", addresses.bind_address, "ADDRESS",
        "where to receive heartbeats: host:port, [v6]:port, or :port for every address",
        default=f":{addresses.DEFAULT_PORT}", also=("IF_BIND_TO",), reload=False, discovery=True, status=True)
    peers: tuple[Peer, ...] = option(
        "exoscale-peers", "p", addresses.peers, "PEER,...",
        "the peers, as address[:port][=instance-id]; repeat the option or separate them with commas; -W needs this or "
        "-G, but not both", absent=(), repeats=True, discovery=True, status=True)
    peer_group: str | None = option(
        "exoscale-peer-group", "G", values.peer_group, "NAME",
        "the security group whose instances are the peers; read again every 7 minutes",
        discovery=True, status=True)
    dead_ratio: float = option(
        "dead-ratio", "r", Number(1, 255), "NUMBER",
        "a peer is dead after this many advertisement intervals without a heartbeat; 1 to 255",
        default="3", unit="intervals", status=True)
    advertisement_interval: float = seconds(
        "advertisement-interval", "t", 0.05, 255,
        "the unit of the dead time; the time between two heartbeats is a tenth less", "1", status=True)
    instance_id: str | None = option(
        "exoscale-instance-id", "i", values.instance_id, "UUID", "the UUID of this instance",
        otherwise="from the metadata service", reload=False, discovery=True)
    api_key: str = option(
        "exoscale-api-key", "xk", values.api_key, "KEY", "the API key", otherwise="required",
        also=("EXOSCALE_API_KEY",), credential="api-key")
    api_secret: Secret = option(
        "exoscale-api-secret", "xs", values.api_secret, "SECRET",
        "the API secret; keep it off the command line, where every user of the machine can read it",
        otherwise="required", also=("EXOSCALE_API_SECRET",), credential="api-secret", secret=True)
    api_endpoint: str | None = option(
        "exoscale-api-endpoint", "xe", addresses.api_endpoint, "URL",
        "the URL of the API; https, or http on loopback only", also=("EXOSCALE_API_ENDPOINT",),
        otherwise="from the zone: https://api-ZONE.exoscale.com/v2", reload=False, discovery=True)
    zone: str | None = option(
        "exoscale-zone", "xz", values.zone, "ZONE", "the zone of the Elastic IP and its instances",
        otherwise="from the metadata service", also=("EXOSCALE_ZONE",), reload=False, discovery=True)
    metadata_url: str = option(
        "exoscale-metadata-url", "xm", addresses.metadata_url, "URL", "the URL of the metadata service",
        default="http://metadata.exoscale.com", reload=False, discovery=True)
    preempt_delay: float = seconds(
        "preempt-delay", None, 0, 86400,
        "how long a better node must be back before it takes over from a working one", "0", status=True)
    no_preempt: bool = flag(
        "no-preempt", None, "never take the Elastic IP from a working node: an endless --preempt-delay, so not both")
    flap_damping: bool = flag(
        "flap-damping", None, "a better node waits 1 to 10 minutes before it takes over from a node whose role changed "
        "six times within ten minutes", default="yes", status=True)
    verify_interval: float = seconds(
        "verify-interval", None, 0.5, 3600,
        "how often the holder asks the API who holds the Elastic IP", "30", status=True)
    leave_timeout: float = seconds(
        "leave-timeout", None, 0, 600, "how long a stopping holder waits for a peer to take over", "10", status=True)
    check_command: str | None = option(
        "check-command", None, values.shell_line, "LINE",
        "a health check: a line for /bin/sh that exits with 0 while this node can serve; if it fails, the node stands "
        "aside")
    check_tcp: tuple[SocketAddress, ...] = option(
        "check-tcp", None, addresses.tcp_targets, "ADDRESS,...",
        "a health check: a TCP connection to host:port, [v6]:port, or :port on this host; repeat the option or "
        "separate several with commas", absent=(), repeats=True)
    check_http: tuple[str, ...] = option(
        "check-http", None, addresses.http_targets, "URL,...",
        "a health check: a URL that answers 2xx or 3xx; repeat the option or separate several with commas",
        absent=(), repeats=True)
    check_interval: float = seconds(
        "check-interval", None, 0.1, 3600, "time from the start of one run of a health check to the next", "2")
    check_timeout: float = seconds(
        "check-timeout", None, 0.1, 30, "how long a health check may run before it has failed", "2")
    check_rise: int = option(
        "check-rise", None, Whole(1, 100), "NUMBER",
        "successful runs in a row after which the node no longer stands aside; 1 to 100", default="2")
    check_fall: int = option(
        "check-fall", None, Whole(1, 100), "NUMBER",
        "failed runs in a row after which the node stands aside; 1 to 100", default="3")
    auth_keys: tuple[Secret, ...] = option(
        "auth-key", None, values.auth_keys, "KEY[,OLDKEY]",
        "signs the heartbeats and verifies those of the peers; the same on all nodes, at least 16 characters; a second "
        "key is accepted but not used for signing, during a key change",
        otherwise="none: heartbeats are not signed", absent=(), credential="auth-key", secret=True)
    auth_mode: AuthMode | None = option(
        "auth-mode", None, values.OneOf(AuthMode), "MODE",
        "which heartbeats a node with a key accepts: all (send), signed and unsigned ones but none signed with another "
        "key (accept), or only signed ones (require)", otherwise="require, if there is a key", status=True)
    notify: str | None = option(
        "notify", None, values.program, "PROGRAM",
        "a program to call with ROLE EIP REASON whenever this node's role changes, or it gains or loses the Elastic IP")
    notify_timeout: float = seconds(
        "notify-timeout", None, 0.1, 600, "how long a call of that program may last before it is killed", "30")
    metrics_listen: SocketAddress | None = option(
        "metrics-listen", None, addresses.listen_address, "ADDRESS",
        "where Prometheus reads metrics over HTTP: host:port, [v6]:port, or :port for every address; needs the package "
        "python3-prometheus-client", otherwise="nowhere", reload=False, status=True)
    control_socket: str | None = option(
        "control-socket", None, values.socket_path, "PATH", "the Unix socket on which exoipctl reaches this daemon",
        otherwise="control in the runtime directory; none without one", reload=False)
    config_file: str | None = option(
        "config", "c", str, "FILE", "a file of 'name = value' lines; the names are the long options without dashes",
        otherwise="no file", command_line_only=True)
    check_config: bool = flag(
        "check-config", "n", "print the configuration, where each value comes from and what is wrong, then exit", command_line_only=True)
    verbose: bool = flag("verbose", "v", "log more")
    log_stdout: bool = flag("log-stdout", "O", "log to standard output", reload=False)
    warnings: tuple[str, ...]
    sources: Mapping[str, str]
    # fmt: on

    def __post_init__(self) -> None:
        """Check the bounds that the rest of the program relies on; `parse` reports them better."""
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
        """Return how heartbeats are signed and verified."""
        keys = tuple(key.reveal().encode("ascii") for key in self.auth_keys)
        return AuthPolicy(keys, self.auth_mode or AuthMode.REQUIRE)

    @property
    def hook(self) -> Hook:
        """Return the program to call on changes."""
        return Hook(self.notify, self.notify_timeout)

    @property
    def health_checks(self) -> tuple[HealthCheck, ...]:
        """Return every health check to run."""
        common = (self.check_interval, self.check_timeout, self.check_rise, self.check_fall)
        commands = [HealthCheck("command", self.check_command, *common)] if self.check_command is not None else []
        connections = [HealthCheck("tcp", str(each), *common, *each) for each in self.check_tcp]
        pages = [HealthCheck("http", url, *common) for url in self.check_http]
        names = [page.name for page in pages]
        numbered = [replace(page, number=names[: at + 1].count(page.name)) for at, page in enumerate(pages)]
        return (*commands, *connections, *numbered)


OPTIONS: tuple[Option, ...] = (
    Option("attach", "A", Kind.MODE, "attach the Elastic IP to this instance, wait until that is done, and exit"),
    Option("detach", "D", Kind.MODE, "detach the Elastic IP from this instance, wait until that is done, and exit"),
    Option("watch", "W", Kind.MODE, "watch: exchange heartbeats with the peers and keep the Elastic IP on a live node"),
    *(replace(each.metadata["option"], field=each.name) for each in fields(Config) if "option" in each.metadata),
    Option("version", None, Kind.PRINT, "print the version and exit"),
    Option("help", "h", Kind.PRINT, "print this and exit"),
)
BY_NAME = {option.name: option for option in OPTIONS}
BY_SPELLING = {spelling: option for option in OPTIONS for spelling in option.spellings}
