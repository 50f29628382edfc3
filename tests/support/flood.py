"""Flood a real node from another process.

    python -m tests.support.flood ADDRESS PORT HEX SOURCES RATE

strangers  heartbeats for the right Elastic IP, with an id that no member has, from 200 addresses
forged     from a member's address and with its id, unsigned (the nodes have a key): whoever listens on the
           network can make these
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from itertools import cycle
from types import TracebackType
from typing import Self

from exoip.heartbeat.wire import Heartbeat, encode
from tests.support.cluster import Cluster
from tests.support.process import Process
from tests.support.waiting import PATIENCE

STRANGER = "01234567-89ab-4def-8123-456789abcdef"
SENDERS = 200
BURST = 0.001  # seconds between two bursts
KEY = "a-key-of-all-the-nodes"


class Flood:
    """Send `rate` datagrams a second to a node while the context lasts; `sent` counts them after
    it.
    """

    def __init__(self, cluster: Cluster, target: Process, kind: str, rate: int) -> None:
        peer = next(node for node in cluster.nodes.values() if node is not target)
        beat = {
            "strangers": encode(Heartbeat(0, cluster.eip, STRANGER)),
            "forged": encode(Heartbeat(255, cluster.eip, peer.id)) + bytes(24),
        }[kind]
        sources = f"127.254.7.1+{SENDERS}" if kind == "strangers" else f"{peer.address}+1"
        self._words = [target.address, str(cluster.port), beat.hex(), sources, str(rate)]
        self.sent = 0

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.support.flood", *self._words]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "begun\n"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        out, _ = self._process.communicate(timeout=PATIENCE)  # it ends when its input does
        self.sent = int(out)


def attack(address: str, port: int, data: bytes, sources: str, rate: int) -> None:
    """Send until the standard input ends, then print how many they were."""
    first, _, count = sources.partition("+")
    net, _, last = first.rpartition(".")
    sockets = []
    for number in range(int(count)):
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.bind((f"{net}.{int(last) + number}", 0))
        one.connect((address, port))
        sockets.append(one)
    os.set_blocking(0, False)
    print("begun", flush=True)
    sent, began, turn = 0, time.monotonic(), cycle(sockets)
    while not _ended():
        due = int((time.monotonic() - began) * rate)
        for _ in range(min(due - sent, rate // 10)):  # a slow machine need not catch up
            with contextlib.suppress(OSError):  # ECONNREFUSED, ENOBUFS
                next(turn).send(data)
            sent += 1
        time.sleep(BURST)
    print(sent, flush=True)


def _ended() -> bool:
    try:
        return os.read(0, 1) == b""
    except BlockingIOError:
        return False


if __name__ == "__main__":
    address, port, data, sources, rate = sys.argv[1:]
    attack(address, int(port), bytes.fromhex(data), sources, int(rate))
