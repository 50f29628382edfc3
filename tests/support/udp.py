"""Plain UDP sockets of loopback, for whoever talks to a node's socket."""

from __future__ import annotations

import select
import socket

from exoip.heartbeat.udp import HeartbeatSocket
from tests.support.waiting import PATIENCE


def plain_socket(host: str = "127.0.0.1") -> socket.socket:
    """Return a socket bound to any port of `host`."""
    one = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    one.bind((host, 0))
    one.settimeout(PATIENCE)
    return one


def wait_readable(channel: HeartbeatSocket) -> None:
    """Wait until a datagram waits in the socket."""
    assert select.select([channel.socket], (), (), PATIENCE)[0], "nothing arrived"
