"""Cut the network in two with nftables: drop what one side sends to the other's heartbeat port.

The rules are in a table that belongs to the `nft` process that made it (`flags owner`). The kernel
removes it when that process ends, for whatever reason.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

PROBE_SECONDS = 0.2  # a datagram over loopback that takes longer is lost
SETTLE_SECONDS = 2.0  # until the rules must have an effect
_numbers = itertools.count(1)


class PartitionError(Exception):
    """The network cannot be cut here; the message says why."""


class Partition:
    """A cut between the addresses of `one` side and of the `other`, for UDP to `port`, while the
    context lasts.

    With `oneway` only the other side hears nothing. With `told` the kernel tells the sender
    (EPERM). Raises PartitionError without root, without nftables, or if the rules have no effect.
    """

    def __init__(
        self, one: Sequence[str], other: Sequence[str], port: int, *, oneway: bool = False, told: bool = False
    ) -> None:
        self._sides = (one, other)
        self._port = port
        self._oneway, self._told = oneway, told
        self._number = next(_numbers)
        self._nft: subprocess.Popen[str] | None = None

    def rules(self, table: str, probe: int) -> str:
        """Return a table of nftables on one line. `probe` is another port that is cut."""
        one, other = ("{ " + ", ".join(side) + " }" for side in self._sides)
        ways = [(one, other)] if self._oneway else [(one, other), (other, one)]

        def chain(hook: str, ports: str) -> str:
            drops = "; ".join(f"ip saddr {a} ip daddr {b} udp dport {ports} drop" for a, b in ways)
            return f"chain {hook} {{ type filter hook {hook} priority filter; {drops}; }};"

        port = str(self._port)
        chains = [chain("input", f"{{ {port}, {probe} }}")] + ([chain("output", port)] if self._told else [])
        return f"table ip {table}_{self._number} {{ flags owner; {' '.join(chains)} }}"

    def __enter__(self) -> Self:
        if os.geteuid() != 0:
            raise PartitionError("only root may cut it")
        command = shutil.which("nft", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        if command is None:
            raise PartitionError("nftables is not installed")
        pipe = subprocess.PIPE
        self._nft = subprocess.Popen([command, "-i"], stdin=pipe, stdout=subprocess.DEVNULL, stderr=pipe,
                                     text=True, start_new_session=True)  # fmt: skip
        try:
            self._apply(self._nft)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Heal the network. Closing it again does nothing."""
        if self._nft is not None:
            self._nft.kill()
            self._nft.communicate()
            self._nft = None

    def _apply(self, nft: subprocess.Popen[str]) -> None:
        """Put the rules in force and wait until they have an effect."""
        with _bound(self._sides[0][0]) as sender, _bound(self._sides[1][0]) as receiver:
            if nft.stdin is not None:
                with contextlib.suppress(BrokenPipeError):  # it ended; why is read below
                    nft.stdin.write(self.rules(f"exoip_{os.getpid()}", receiver.getsockname()[1]) + "\n")
                    nft.stdin.flush()
            deadline = time.monotonic() + SETTLE_SECONDS
            while _passes(sender, receiver):
                if nft.poll() is not None or time.monotonic() > deadline:
                    nft.kill()
                    said = nft.communicate()[1].strip().split("\n")[0]
                    raise PartitionError(said or "nftables accepts the rules, but they have no effect here")


def _bound(address: str) -> socket.socket:
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.bind((address, 0))
    return one


def _passes(sender: socket.socket, receiver: socket.socket) -> bool:
    """Return whether a datagram gets from one to the other."""
    receiver.settimeout(PROBE_SECONDS)
    sender.sendto(b"exoip probe", receiver.getsockname())
    try:
        receiver.recv(64)
    except TimeoutError:
        return False
    return True
