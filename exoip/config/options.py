"""The option table: the one place that knows the names, variables, defaults, units and meanings.

`--help`, the command line, the environment, the configuration file, and the tests of the manual pages and of the
shell completion all read it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from exoip.config import addresses, values


class Kind(Enum):
    """How an option is written."""

    MODE = "short only, on the command line only"
    FLAG = "yes or no; bare on the command line means yes"
    VALUE = "takes a value"
    PRINT = "prints something and exits"


@dataclass(frozen=True, slots=True)
class Option:
    """One row.

    `name`: the long name without dashes, the same in the file. `short`: without its dash. `read`: from text to value.
    `default`: as it would be typed, or None; `otherwise`: what an absent value means. `also`: environment variables
    that are looked at after IF_NAME; `credential`: the systemd credential that is looked at after those.
    """

    name: str
    short: str | None
    kind: Kind
    meaning: str
    read: Callable[[str], object] = values.flag
    metavar: str = ""
    default: str | None = None
    otherwise: str = ""
    unit: str = ""
    also: tuple[str, ...] = ()
    credential: str | None = None
    secret: bool = False
    repeats: bool = False
    command_line_only: bool = False

    @property
    def spellings(self) -> tuple[str, ...]:
        """Every way to write it on the command line: as with Go's flags, one dash is as good as two."""
        names = [name for name in (self.short, None if self.kind is Kind.MODE else self.name) if name]
        return tuple(dashes + name for name in names for dashes in ("-", "--"))

    @property
    def variables(self) -> tuple[str, ...]:
        """Environment variables, the first that is set wins; none for what only the command line can say."""
        if self.command_line_only or self.kind in (Kind.MODE, Kind.PRINT):
            return ()
        return ("IF_" + self.name.upper().replace("-", "_"), *self.also)

    @property
    def label(self) -> str:
        """Both names, for messages about its value: `-P/--host-priority`."""
        if self.kind is Kind.MODE or not self.short:
            return self.usual
        return f"-{self.short}/--{self.name}"

    @property
    def usual(self) -> str:
        """How to write it, for messages that propose it."""
        return f"-{self.short}" if self.kind is Kind.MODE else f"--{self.name}"

    @property
    def in_file(self) -> bool:
        return bool(self.variables)


MODE, FLAG, VALUE, PRINT = Kind.MODE, Kind.FLAG, Kind.VALUE, Kind.PRINT
S = "seconds"

OPTIONS: tuple[Option, ...] = (
    Option("attach", "A", MODE, "attach the Elastic IP to this instance, wait until that is done, exit"),
    Option("detach", "D", MODE, "detach the Elastic IP from this instance, wait until that is done, exit"),
    Option("watch", "W", MODE, "watch: exchange heartbeats with the peers and keep the Elastic IP on a live node"),
    Option("address", "xi", VALUE, "the Elastic IP (IPv4; a trailing /32 is accepted)", addresses.elastic_ip, "ADDRESS",
           otherwise="required"),
    Option("host-priority", "P", VALUE, "0 to 255, the lowest wins; 0 runs as 1, and 253 to 255 as 252",
           values.priority, "NUMBER", "10"),
    Option("bind-address", "l", VALUE, "where heartbeats are received: host:port, [v6]:port, or :port for every "
           "address", addresses.bind_address, "ADDRESS", f":{addresses.DEFAULT_PORT}", also=("IF_BIND_TO",)),
    Option("exoscale-peers", "p", VALUE, "the peers, address[:port][=instance-id]; repeated or with commas between; "
           "-W needs this or -G, never both", addresses.peers, "PEER,...", otherwise="none", repeats=True),
    Option("exoscale-peer-group", "G", VALUE, "the security group whose running instances are the peers; refreshed "
           "every 5 minutes", values.peer_group, "NAME", otherwise="none"),
    Option("dead-ratio", "r", VALUE, "a peer is dead when nothing was heard of it for this many advertisement "
           "intervals; 1 to 255", values.Number(1, 255), "NUMBER", "3", unit="intervals"),
    Option("advertisement-interval", "t", VALUE, "time between two heartbeats; 0.05 to 255",
           values.Number(0.05, 255, S), "SECONDS", "1", unit=S),
    Option("exoscale-instance-id", "i", VALUE, "this instance's UUID", values.instance_id, "UUID",
           otherwise="asked of the metadata service"),
    Option("exoscale-api-key", "xk", VALUE, "the API key", values.api_key, "KEY", otherwise="required",
           also=("EXOSCALE_API_KEY",), credential="api-key"),
    Option("exoscale-api-secret", "xs", VALUE, "the API secret; better not on the command line, where every user of "
           "the machine can read it", values.api_secret, "SECRET", otherwise="required",
           also=("EXOSCALE_API_SECRET",), credential="api-secret", secret=True),
    Option("exoscale-api-endpoint", "xe", VALUE, "the API's URL; https, plain http on loopback only",
           addresses.api_endpoint, "URL", otherwise="from the zone: https://api-ZONE.exoscale.com/v2",
           also=("EXOSCALE_API_ENDPOINT",)),
    Option("exoscale-zone", "xz", VALUE, "the zone of the Elastic IP and of its instances", values.zone, "ZONE",
           otherwise="asked of the metadata service", also=("EXOSCALE_ZONE",)),
    Option("exoscale-metadata-url", "xm", VALUE, "the metadata service", addresses.metadata_url, "URL",
           "http://metadata.exoscale.com"),
    Option("preempt-delay", None, VALUE, "how long a better node must have been back before it takes the Elastic IP "
           "from a live holder; 0 to 86400", values.Number(0, 86400, S), "SECONDS", "0", unit=S),
    Option("no-preempt", None, FLAG, "never take the Elastic IP from a live holder: an endless --preempt-delay, so "
           "not both", default="no"),
    Option("flap-damping", None, FLAG, "a node whose role changed six times within ten minutes makes a better one wait 1 to "
           "10 minutes before it takes the Elastic IP from it", default="yes"),
    Option("verify-interval", None, VALUE, "time between two looks of the holder at who holds the Elastic IP; "
           "0.5 to 3600", values.Number(0.5, 3600, S), "SECONDS", "30", unit=S),
    Option("leave-timeout", None, VALUE, "how long a stopping holder waits for a peer to take over; 0 to 600",
           values.Number(0, 600, S), "SECONDS", "10", unit=S),
    Option("check-command", None, VALUE, "a health check: a line for /bin/sh that ends with status 0 while this node can serve; "
           "one that can not steps aside", values.shell_line, "LINE", otherwise="none"),
    Option("check-tcp", None, VALUE, "a health check: a TCP connection to host:port, [v6]:port, or :port on this host; repeated "
           "or with commas between", addresses.places, "ADDRESS,...", otherwise="none", repeats=True),
    Option("check-http", None, VALUE, "a health check: a URL that answers 2xx or 3xx; repeated or with commas between",
           addresses.check_urls, "URL,...", otherwise="none", repeats=True),
    Option("check-interval", None, VALUE, "time between the beginnings of two results of a health check; 0.1 to 3600",
           values.Number(0.1, 3600, S), "SECONDS", "2", unit=S),
    Option("check-timeout", None, VALUE, "a health check without a result after that is a bad one; 0.1 to 30",
           values.Number(0.1, 30, S), "SECONDS", "2", unit=S),
    Option("check-rise", None, VALUE, "good results in a row after which a node no longer steps aside; 1 to 100",
           values.Whole(1, 100), "NUMBER", "2"),
    Option("check-fall", None, VALUE, "bad results in a row after which a node steps aside; 1 to 100",
           values.Whole(1, 100), "NUMBER", "3"),
    Option("auth-key", None, VALUE, "signs the heartbeats, and verifies those of the peers; the same on all nodes, at least 16 "
           "characters; a second key is only believed, while the first takes its place", values.auth_keys, "KEY[,OLDKEY]",
           otherwise="none: heartbeats are not signed", credential="auth-key", secret=True),
    Option("auth-mode", None, VALUE, "which heartbeats a node with a key takes in: all (send), signed ones and unsigned ones but none "
           "of another key (accept), or only signed ones (require)", values.Choice(("send", "accept", "require")),
           "MODE", otherwise="require, where there is a key"),
    Option("notify", None, VALUE, "a program that is called with ROLE EIP REASON at each change of the own role or holding",
           values.program, "PROGRAM", otherwise="none"),
    Option("notify-timeout", None, VALUE, "how long a call of that program may last before it is killed; 0.1 to 600",
           values.Number(0.1, 600, S), "SECONDS", "30", unit=S),
    Option("metrics-listen", None, VALUE, "where Prometheus reads metrics, by HTTP: host:port, [v6]:port, or :port for every address; "
           "needs the package python3-prometheus-client", addresses.listen, "ADDRESS", otherwise="nowhere"),
    Option("control-socket", None, VALUE, "the Unix socket at which exoipctl asks and gives orders", values.socket_path, "PATH",
           otherwise="control in the runtime directory, none without one"),
    Option("config", "c", VALUE, "a file of 'name = value' lines; the names are the long options without dashes",
           str, "FILE", otherwise="no file", command_line_only=True),
    Option("check-config", "n", FLAG, "say what would run and where each value comes from, and exit",
           default="no", command_line_only=True),
    Option("verbose", "v", FLAG, "log more", default="no"),
    Option("log-stdout", "O", FLAG, "log to the standard output", default="no"),
    Option("version", None, PRINT, "print the version and exit"),
    Option("help", "h", PRINT, "print this and exit"),
)  # fmt: skip

BY_NAME = {option.name: option for option in OPTIONS}
BY_SPELLING = {spelling: option for option in OPTIONS for spelling in option.spellings}

_USAGE = "usage: exoip (-A | -D | -W) [options]\n\nKeep an Exoscale Elastic IP on a live instance.\n"
_NOTES = """\
An option is written in four ways: --host-priority 10 (or -P 10, -P=10, --host-priority=10), the variable
IF_HOST_PRIORITY=10, the line host-priority = 10 in the file, and host-priority 10 below an ifupdown stanza, which
becomes the variable. The command line beats the environment and credentials, those beat the file, the file beats the
default. An empty variable counts as not set. A yes-or-no option takes yes, no, true, false, on, off, 1 or 0.

exit status: 0 done, 1 the operation failed, 2 wrong command line, 69 API out of reach (-A, -D), 77 the key is refused,
78 wrong configuration
"""


def help_text() -> str:
    """What --help prints: for every option its names, variables, default and unit."""
    blocks = ["\n".join(_row(option)) for option in OPTIONS]
    modes = sum(option.kind is Kind.MODE for option in OPTIONS)
    return "\n".join(
        [_USAGE, "mode, exactly one:", *blocks[:modes], "", "options:", *blocks[modes:], "", _NOTES],
    )


def _row(option: Option) -> list[str]:
    names = [f"-{option.short}"] if option.short else []
    names += [f"--{option.name}"] if option.kind is not Kind.MODE else []
    head = "  " + ", ".join(names) + (f" {option.metavar}" if option.metavar else "")
    if option.kind is Kind.MODE:
        return [f"{head:<6}{option.meaning}"]
    facts = []
    if option.variables or option.credential:
        credential = (f"the systemd credential {option.credential}",) if option.credential else ()
        facts.append(" or ".join((*option.variables, *credential)))
    if option.otherwise == "required":
        facts.append("required")
    elif option.kind is not Kind.PRINT:
        facts.append(f"default: {option.default or option.otherwise}")
    if option.unit:
        facts.append(f"unit: {option.unit}")
    body = [*textwrap.wrap(option.meaning, 108), *textwrap.wrap("; ".join(facts), 108, break_on_hyphens=False)]
    return [head, *("          " + line for line in body)]
