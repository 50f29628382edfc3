"""Write an address and a port for people, and say why a socket cannot be bound there.

Shown by tests/unit/heartbeat/test_socket_address.py.
"""

from __future__ import annotations

import errno
from typing import NamedTuple

from exoip.errors import AddressInUse, AddressMissing, ConfigError

_CURES = {
    errno.EADDRINUSE: "is in use: stop the other program, or give this instance a port of its own",
    errno.EADDRNOTAVAIL: "is not an address of this machine: name one that is, or none to listen on all",
    errno.EACCES: "may not be bound by this user: take a port above 1023",
}


class SocketAddress(NamedTuple):
    """An IP address and a UDP or TCP port. `host`: an IP literal, or "" for every address."""

    host: str
    port: int

    def __str__(self) -> str:
        """Write it the way options take it: `192.0.2.7:80`, `[2001:db8::7]:80` or `:80`."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def bind_error(option: str, address: SocketAddress, error: OSError) -> ConfigError:
    """Return the error to raise if a socket cannot be bound: option, address and cure."""
    cure = _CURES.get(error.errno or 0, f"cannot be bound: {error.strerror or error}")
    kinds = {errno.EADDRNOTAVAIL: AddressMissing, errno.EADDRINUSE: AddressInUse}
    return kinds.get(error.errno or 0, ConfigError)(f"--{option} {address} {cure}")
