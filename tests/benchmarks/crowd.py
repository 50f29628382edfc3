"""Many peers in one process: each beats from an address of its own, once an interval, evenly spread
over it.

python -m tests.benchmarks.crowd TARGET PORT INTERVAL     the heartbeats on stdin, a line each:
ADDRESS HEX
"""

from __future__ import annotations

import resource
import socket
import sys
import time
from collections.abc import Sequence

SPARE_FILES = 64


def beat(target: tuple[str, int], interval: float, peers: Sequence[tuple[str, bytes]]) -> None:
    """Beat until killed."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, len(peers) + SPARE_FILES), hard))
    sockets = []
    for address, _ in peers:
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.bind(
            (address, target[1])
        )  # it is beaten to there; nobody reads that, and the kernel drops what is too much
        sockets.append(one)
    due = time.monotonic()
    while True:
        for one, (_, datagram) in zip(sockets, peers, strict=True):
            one.sendto(datagram, target)
            due += interval / len(peers)
            time.sleep(max(0.0, due - time.monotonic()))


if __name__ == "__main__":
    beat(
        (sys.argv[1], int(sys.argv[2])),
        float(sys.argv[3]),
        [(address, bytes.fromhex(data)) for address, data in map(str.split, sys.stdin)],
    )
