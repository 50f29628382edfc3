"""Cuts the network in two with nftables: what one side sends to the other on the heartbeats' port is dropped on its way in.

The rules are in a table of their own that belongs to the `nft` process which made it (`flags owner`): the kernel removes it when that
process ends, whatever it ends of, and with it the demo.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

PROBE_SECONDS = 0.2  # a datagram over loopback that took longer is lost
SETTLE_SECONDS = 2.0


class PartitionError(Exception):
    """The network can not be cut here; the message says why."""


class Partition:
    """A cut between the addresses of `one` side and of the `other`, for UDP to `port`, as long as the context lasts.

    Raises PartitionError where that can not be had: not root, no nftables, or rules that have no effect.
    """

    def __init__(self, one: Sequence[str], other: Sequence[str], port: int) -> None:
        self._sides = (one, other)
        self._port = port
        self._nft: subprocess.Popen[str] | None = None

    def rules(self, table: str, probe: int) -> str:
        """The table in nft's language, on one line; `probe` is a further port that the cut holds for."""
        one, other = ("{ " + ", ".join(side) + " }" for side in self._sides)
        ports = f"udp dport {{ {self._port}, {probe} }}"
        drops = "; ".join(f"ip saddr {a} ip daddr {b} {ports} drop" for a, b in ((one, other), (other, one)))
        chain = f"chain input {{ type filter hook input priority filter; {drops}; }}"
        return f"table ip {table} {{ flags owner; {chain}; }}"

    def __enter__(self) -> Self:
        if os.geteuid() != 0:
            raise PartitionError("only root may")
        command = shutil.which("nft", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        if command is None:
            raise PartitionError("nftables is not installed")
        self._nft = subprocess.Popen(
            [command, "-i"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
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
        """Heal the network. A second time is no error."""
        if self._nft is not None:
            self._nft.kill()
            self._nft.communicate()
            self._nft = None

    def _apply(self, nft: subprocess.Popen[str]) -> None:
        """Put the rules in force, and see that they are."""
        with _bound(self._sides[0][0]) as sender, _bound(self._sides[1][0]) as receiver:
            if nft.stdin is not None:
                with contextlib.suppress(BrokenPipeError):  # it has ended, and tells below of what
                    nft.stdin.write(self.rules(f"exoip_demo_{os.getpid()}", receiver.getsockname()[1]) + "\n")
                    nft.stdin.flush()
            deadline = time.monotonic() + SETTLE_SECONDS
            while _passes(sender, receiver):
                if nft.poll() is not None or time.monotonic() > deadline:
                    nft.kill()
                    told = nft.communicate()[1].strip().split("\n")[0]
                    raise PartitionError(told or "nftables takes the rules, but they have no effect here")


def _bound(address: str) -> socket.socket:
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.bind((address, 0))
    return one


def _passes(sender: socket.socket, receiver: socket.socket) -> bool:
    """Whether a datagram gets from one to the other."""
    receiver.settimeout(PROBE_SECONDS)
    sender.sendto(b"exoip demo", receiver.getsockname())
    try:
        receiver.recv(64)
    except TimeoutError:
        return False
    return True
