"""A network namespace of the run's own, and cuts between addresses of its loopback with nftables.

The namespace goes with its last process. So do the processes with their namespace: the first one in it is its init, and the kernel
kills the others when that ends, whatever it ends of.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import shutil
import socket
import struct
import subprocess
from collections.abc import Sequence

from tests.demo.partition import Partition, PartitionError

_NEW = ("--net", "--pid", "--fork", "--kill-child", "--mount-proc")
_WAYS = (
    ("unshare", *_NEW),
    ("unshare", "--user", "--map-root-user", *_NEW),
)  # as root; as anybody, where that may be had
_INSIDE = "EXOIP_FAULTS_NAMESPACE"  # set in a process that runs in the namespace
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_numbers = itertools.count(1)


def inside() -> bool:
    """Whether this process runs in a namespace that `enter` made."""
    return _INSIDE in os.environ


def enter(command: Sequence[str]) -> None:
    """Run `command` in a new namespace in this process's place; return only, with why in a PartitionError, where that can not be."""
    if shutil.which("unshare") is None:
        raise PartitionError("there is no command unshare (util-linux)")
    why = ""
    for way in _WAYS:
        tried = subprocess.run([*way, "true"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if tried.returncode == 0:
            os.execvpe(way[0], [*way, *command], {**os.environ, _INSIDE: "1"})  # noqa: S606
        why = why or tried.stderr.strip().split("\n")[0]
    raise PartitionError(f"no network namespace can be made: {why or 'unshare fails'}")


def loopback_up() -> None:
    """Bring up the loopback, which is down in a new namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh14x", b"lo", 0)
        (flags,) = struct.unpack("16xh14x", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request))
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))


class Cut(Partition):
    """As Partition; any number of them at a time, and in one direction only if `oneway`.

    `told`: the kernel refuses the sender at once (EPERM) instead of losing what was sent.
    """

    def __init__(
        self, one: Sequence[str], other: Sequence[str], port: int, *, oneway: bool = False, told: bool = False
    ) -> None:
        super().__init__(one, other, port)
        self._oneway, self._told = oneway, told
        self._number = next(_numbers)

    def rules(self, table: str, probe: int) -> str:
        """The table, under a name of its own."""
        one, other = ("{ " + ", ".join(side) + " }" for side in self._sides)
        ways = [(one, other)] if self._oneway else [(one, other), (other, one)]

        def chain(hook: str, ports: str) -> str:
            drops = "; ".join(f"ip saddr {a} ip daddr {b} udp dport {ports} drop" for a, b in ways)
            return f"chain {hook} {{ type filter hook {hook} priority filter; {drops}; }};"

        port = str(self._port)
        chains = [chain("input", f"{{ {port}, {probe} }}")] + ([chain("output", port)] if self._told else [])
        return f"table ip {table}_{self._number} {{ flags owner; {' '.join(chains)} }}"


def possible() -> None:
    """Raise PartitionError where this process can not cut."""
    with Cut(["127.0.0.2"], ["127.0.0.3"], 9):
        pass
