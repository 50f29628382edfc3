"""What one heartbeat costs who receives it and who sends it: processor time of the thread, real
sockets, everything included.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from typing import Any

from exoip.core.node import Node
from exoip.core.peers import ElectionConfig
from exoip.daemon.clock import clock
from exoip.daemon.heartbeat_threads import HeartbeatLink, Receiver, Sender
from exoip.heartbeat.authentication import AuthPolicy
from exoip.heartbeat.udp import HeartbeatSocket
from exoip.heartbeat.wire import Heartbeat, encode
from tests.benchmarks.figures import Figure
from tests.simulation.world import EIP, instance_id

PRIORITY = 50


class Beats:
    """A node beside `peers` silent sockets, nothing of it in a thread."""

    def __init__(self, peers: int, stack: contextlib.ExitStack) -> None:
        self.channel = HeartbeatSocket("127.0.0.1", 0)
        stack.callback(self.channel.close)
        place = self.channel.socket.getsockname()
        members, self.peers = {}, []
        for number in range(peers):
            one = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            address = f"127.250.{number // 250}.{number % 250 + 1}"
            one.bind((address, 0))
            one.connect(place)
            name = instance_id(f"p{number}")
            members[name] = one.getsockname()
            self.peers.append((one, encode(Heartbeat(PRIORITY, EIP, name))))
        events: list[Any] = []
        self.node = Node(ElectionConfig(instance_id("m")), EIP, members, clock(), emit=events.append)
        link = HeartbeatLink(self.channel, self.node, events.append, AuthPolicy(), clock)
        self.receiver, self.sender = Receiver(link), Sender(link)

    def received(self, rounds: int) -> list[float]:
        """Seconds for each of one round of all, each heartbeat alone."""
        samples = []
        for _ in range(rounds):
            spent = 0.0
            for one, datagram in self.peers:
                one.send(datagram)
                spent += cost(self.receiver.turn)
            self.node.next_advert(clock())
            samples.append(spent / len(self.peers))
        return samples

    def sent(self, rounds: int) -> list[float]:
        """Seconds for each of one round to all."""
        samples = []
        for _ in range(rounds):
            self.node._advert_timer.next_at = clock()  # due now
            samples.append(cost(self.sender.turn) / len(self.peers))
        return samples


def cost(action: Callable[[], object]) -> float:
    """The processor time of this thread that it takes."""
    began = time.thread_time()
    action()
    return time.thread_time() - began


def beats(rounds: int) -> list[Figure]:
    """For a pair's node and for one of 1000."""
    figures = []
    for peers in (2, 999):
        with contextlib.ExitStack() as stack:
            bench = Beats(peers, stack)
            bench.received(1)
            each = max(3, rounds * 2 // peers)
            figures += [
                Figure(f"a heartbeat received, {peers + 1} nodes: processor", "us", bench.received(each)),
                Figure(f"a heartbeat sent, {peers + 1} nodes: processor", "us", bench.sent(each)),
            ]
    return figures
