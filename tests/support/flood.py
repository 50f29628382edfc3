"""Floods one real node and says what that costs it: `unshare -n sh -c 'ip link set lo up && .venv/bin/python -m tests.support.flood'`

    strangers  heartbeats for the right Elastic IP, of an id that no member has, from 200 addresses
    junk       single bytes, from these
    blind      from a member's address, but its instance id is only guessed
    forged     from a member's address and with its id, unsigned (the nodes have a key): whoever listens on the network can make these

Everything stays on loopback. `Flood` is the attacker, a process of its own. `tests/process/test_flood.py`
holds the daemon to the shape of the figures, without their absolute values.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import cycle, pairwise
from types import TracebackType
from typing import Self

from exoip.heartbeat.wire import Heartbeat, encode
from tests.support.cluster import Cluster
from tests.support.process import Process
from tests.support.process_probe import Usage
from tests.support.waiting import PATIENCE

KINDS = ("strangers", "junk", "blind", "forged")
STRANGER = "01234567-89ab-4def-8123-456789abcdef"
SENDERS = 200
BURST = 0.001  # seconds between two bursts
KEY = "a-key-of-all-the-nodes"


class Flood:
    """That many datagrams a second to one node, while the context lasts. `sent`: how many it were, once it is over."""

    def __init__(self, cluster: Cluster, target: Process, kind: str, rate: int) -> None:
        peer = next(node for node in cluster.nodes.values() if node is not target)
        beat = {
            "strangers": encode(Heartbeat(0, cluster.eip, STRANGER)),
            "junk": b"?",
            "blind": encode(Heartbeat(0, cluster.eip, STRANGER)),
            "forged": encode(Heartbeat(255, cluster.eip, peer.id)) + bytes(24),
        }[kind]
        sources = f"127.254.7.1+{SENDERS}" if kind in ("strangers", "junk") else f"{peer.address}+1"
        self._words = [target.address, str(cluster.port), beat.hex(), sources, str(rate)]
        self.sent = 0

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.support.flood", "--attack", *self._words]
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
    """Send until the standard input ends, then print how many it were."""
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
        for _ in range(min(due - sent, rate // 10)):  # a machine that can not keep up does not catch up for ever
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


def late(cluster: Cluster, node: Process, since: float) -> list[float]:
    """By how many seconds each heartbeat of the node came later than an interval after the one before."""
    beats = cluster.observer.of(node, since)
    return [max(0.0, other.at - one.at - cluster.interval) for one, other in pairwise(beats)]


def measure(kind: str, rate: int, seconds: float, interval: float) -> Iterator[str]:
    """Lines of figures: of the same node before the flood, and during it."""
    with Cluster(2, interval=interval, ratio=3, options=()) as cluster:
        for node in cluster.nodes.values():
            node.env["IF_AUTH_KEY"] = KEY
        cluster.start()
        cluster.settle("n1")
        node = cluster["n2"]
        for label, flood in (("calm", None), ("flood", Flood(cluster, node, kind, rate))):
            if flood:
                flood.__enter__()
            since, before, logged = time.monotonic(), Usage.of(node.pid), len(node.entries)
            time.sleep(seconds)
            passed, usage = time.monotonic() - since, Usage.of(node.pid)
            if flood:
                flood.__exit__(None, None, None)
            latest = sorted(late(cluster, node, since)) or [float("nan")]
            deaths = sum(len(one.events("peer-dead")) for one in cluster.nodes.values())
            yield (
                f"{kind:<10}{label:<6} {(flood.sent if flood else 0) / passed:9.0f}/s  late p50 {1e3 * latest[len(latest) // 2]:7.1f}"
                f"  worst {1e3 * latest[-1]:7.1f} ms  deaths {deaths}  cpu {100 * (usage.processor - before.processor) / passed:5.1f} %"
                f"  rss {usage.memory / 1024:5.1f} MiB  entries {len(node.entries) - logged}"
            )


def main() -> None:
    """The attacker itself, or the measurement."""
    if sys.argv[1:2] == ["--attack"]:
        address, port, data, sources, rate = sys.argv[2:]
        attack(address, int(port), bytes.fromhex(data), sources, int(rate))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", default=KINDS, choices=[*KINDS, KINDS])
    parser.add_argument("--rate", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--interval", type=float, default=1)
    options = parser.parse_args()
    for kind in options.kinds:
        for line in measure(kind, options.rate, options.seconds, options.interval):
            print(line, flush=True)


if __name__ == "__main__":
    main()
