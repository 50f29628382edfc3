"""Define the parts of `Config`: the mode, a health check, the hook."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum

from exoip.errors import ConfigError

LOWEST_PRIORITY = 1  # 0 on the wire means: holds, and is protected
HIGHEST_PRIORITY = 252  # 253 to 255 on the wire mean: unfit, or leaving


class Mode(StrEnum):
    """What this process does."""

    ATTACH = "attach"
    DETACH = "detach"
    WATCH = "watch"


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """One health check.

    `kind`: command, tcp or http; `target`: the shell line, host:port or URL; `host` and `port`: for
    tcp only. `interval`, `timeout`: seconds; `rise`, `fall`: results in a row. `number`: which one
    it is of those whose names would be the same.
    """

    kind: str
    target: str
    interval: float
    timeout: float
    rise: int
    fall: int
    host: str = ""
    port: int = 0
    number: int = 1

    def __post_init__(self) -> None:
        """Check the bounds that the rest of the program relies on."""
        if not (self.interval > 0 and self.timeout > 0 and self.rise >= 1 and self.fall >= 1):
            raise ConfigError("check-interval and check-timeout must be positive, check-rise and check-fall 1 or more")

    @property
    def name(self) -> str:
        """Return its kind and its target without a URL's query, which may be a secret.

        No two checks share a name.
        """
        name = self.kind if self.kind == "command" else f"{self.kind} {self.target.partition('?')[0]}"
        return name if self.number == 1 else f"{name} ({self.number})"

    @property
    def identity(self) -> str:
        """Return what tells it from any other, in hexadecimal: its kind and whole target."""
        return hashlib.sha256(f"{self.kind} {self.target} {self.number}".encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Hook:
    """The program to call on changes, an absolute path, or None. `timeout` of a call: seconds."""

    program: str | None = None
    timeout: float = 30.0

    def __post_init__(self) -> None:
        """Check the bound that the rest of the program relies on."""
        if not self.timeout > 0:
            raise ConfigError("notify-timeout must be positive")
