"""At rest: what a node takes while nothing happens, in memory, processor time, packets and calls,
and whether it buries the living.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from exoip.core.peers import SPACING
from exoip.heartbeat.wire import SIZE, Heartbeat, encode
from tests.benchmarks.cluster import LATENCY, RATIO, BenchCluster, as_unit
from tests.benchmarks.figures import Figure, at_most, exactly
from tests.benchmarks.noise import Busy, Noise
from tests.support.process import Process
from tests.support.process_probe import Usage
from tests.support.segment import Host, Segment
from tests.support.waiting import PATIENCE

HEADERS = 28  # bytes of IPv4 and UDP
ETH_P_IP = 0x0800
HOUR = 3600.0
BETTER, WORSE = 5, 200
COMES_TO_REST = 15.0  # seconds: the first verifications are over
TARGETS = {2: 0.2, 999: 8.0}  # % of a core at most, by the number of peers
THREADS = 7  # the main one, sender, receiver, two workers, the journal's, and the control socket's
MEMORY_TARGET = 36.0  # MiB
USUAL = 100  # peers up to which MEMORY_TARGET holds


def at_rest(label: str, peers: int, cluster: BenchCluster, seconds: float) -> list[Figure]:
    """What each node takes in that time; all are up."""
    time.sleep(COMES_TO_REST)
    nodes = list(cluster.nodes.values())
    dead = sum(len(node.events("peer-dead")) for node in nodes)
    before, began, mark = {node.name: Usage.of(node.pid) for node in nodes}, time.monotonic(), cluster.mark
    heard = {node.name: len(cluster.observer.of(node)) for node in nodes}
    time.sleep(seconds)
    lasted = time.monotonic() - began
    processor = at_most(f"{label}: processor, % of a core", "%", p99=TARGETS.get(peers))
    hourly = Figure(f"{label}: processor an hour", "s")
    wakes = Figure(f"{label}: wake-ups a second", "count")
    memory = at_most(f"{label}: resident memory", "MiB", p99=MEMORY_TARGET if peers <= USUAL else None)
    threads = exactly(f"{label}: threads", "count", THREADS)
    packets, size = Figure(f"{label}: packets sent an hour", "count"), Figure(f"{label}: MB sent an hour", "MB")
    calls = Figure(f"{label}: API calls a minute", "count")
    for node in nodes:
        taken, was = Usage.of(node.pid), before[node.name]
        processor.samples.append(100 * (taken.processor - was.processor) / lasted)
        hourly.samples.append(HOUR * (taken.processor - was.processor) / lasted)
        wakes.samples.append((taken.sleeps - was.sleeps) / lasted)
        memory.samples.append(taken.memory)
        threads.samples.append(taken.threads)
        beats = (len(cluster.observer.of(node)) - heard[node.name]) / lasted
        packets.samples.append(HOUR * beats * peers)
        size.samples.append(HOUR * beats * peers * (SIZE + HEADERS) / 1e6)
        calls.samples.append(60 * len(cluster.calls(mark, node)) / lasted)
    buried = exactly(f"{label}: false deaths", "count")
    buried.samples.append(sum(len(node.events("peer-dead")) for node in nodes) - dead)
    return [processor, hourly, wakes, memory, threads, packets, size, calls, buried]


def three(seconds: float) -> list[Figure]:
    """Three nodes at 1 s."""
    with (
        tempfile.TemporaryDirectory() as folder,
        BenchCluster(3, 1.0, options=(), folder=Path(folder)) as cluster,
        Noise("at rest", 0.5) as noise,
    ):
        cluster.start()
        cluster.until(lambda: cluster.holders() == {"n1"}, "n1 holds")
        figures = at_rest("3 nodes at 1 s", 2, cluster, seconds)
    return [*figures, noise.figure]


def many(peers: int, seconds: float) -> list[Figure]:
    """One node beside so many peers at 1 s, once as a backup and once as the master, who reads them
    all.
    """
    return _beside_a_crowd("BACKUP", BETTER, peers, seconds) + _beside_a_crowd("MASTER", WORSE, peers, seconds)


def _beside_a_crowd(role: str, priority: int, peers: int, seconds: float) -> list[Figure]:
    with (
        tempfile.TemporaryDirectory() as folder,
        BenchCluster(
            1, 1.0, options=(), members="ids", latency=0.0, folder=Path(folder)
        ) as cluster,  # it reads each member
        crowd(cluster, peers, priority),
    ):
        node = cluster["n1"]
        cluster.start()
        cluster.until(lambda: len(node.state.alive) >= peers and node.role == role, "all are heard")
        cluster.zone.set_latency(LATENCY)
        return at_rest(f"{role} of {peers + 1} nodes at 1 s", peers, cluster, seconds)


@contextlib.contextmanager
def crowd(cluster: BenchCluster, peers: int, priority: int) -> Iterator[None]:
    """That many peers of the one node of `cluster` beat, as the context lasts; the node is told of
    them.
    """
    node, net = cluster["n1"], f"127.{random.randint(251, 254)}"  # where no cluster is
    members, lines = [], []
    for number in range(peers):
        address = f"{net}.{number // 250}.{number % 250 + 1}"
        one = cluster.zone.add_instance(f"crowd-{number}", public_ip=address)
        members.append(f"{address}={one.id}")
        lines.append(f"{address} {encode(Heartbeat(priority, cluster.eip, one.id)).hex()}")
    at = node.words.index("-p") + 1
    node.words[at] = ",".join([node.words[at], *members])
    command = [sys.executable, "-m", "tests.benchmarks.crowd", node.address, str(cluster.port), f"{cluster.interval:g}"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True)
    try:
        assert process.stdin is not None
        with process.stdin:
            process.stdin.write("\n".join(lines) + "\n")
        yield
        assert process.poll() is None, "the crowd ended by itself"
    finally:
        process.kill()
        process.wait()


def deaths(seconds: float, *, busy: bool) -> list[Figure]:
    """Three nodes at 0.05 s as the unit runs them, and beside them where all processors are busy
    three as any other process.
    """
    figures = []
    load = "busy" if busy else "idle"
    with contextlib.ExitStack() as stack:
        groups = {"": stack.enter_context(BenchCluster(3, 0.05))}
        if busy:
            groups[", not as the unit"] = stack.enter_context(BenchCluster(3, 0.05, plain=True))
        for cluster in groups.values():
            cluster.start()
            cluster.settle("n1")
        stack.enter_context(Busy(os.cpu_count() or 1 if busy else 0))
        noise = stack.enter_context(Noise(f"processors {load}", 0.05))
        began = time.monotonic()
        time.sleep(seconds)
        ended = time.monotonic()
        for words, cluster in groups.items():
            label = f"0.05 s x 3 for {seconds:g} s, processors {load}{words}"
            buried = exactly(f"{label}: false deaths", "count")
            buried.must = False
            late = Figure(f"{label}: heartbeats late by", "ms")
            for node in cluster.nodes.values():
                buried.samples.append(len(node.events("peer-dead")))
                moments = [heard.at for heard in cluster.observer.of(node) if began <= heard.at <= ended]
                late.samples += [later - one - SPACING * cluster.interval for one, later in pairwise(moments)]
            figures += [buried, late]
    return [*figures, noise.figure]


def unreachable(seconds: float, dead: int = 100) -> list[Figure]:
    """Two nodes at 0.05 s on a segment where so many members answer no ARP."""
    label = f"{dead} dead peers on the segment at 0.05 s"
    with Segment(dead=dead, interval=0.05, ratio=RATIO) as segment, Noise(label, 0.05) as noise:
        for node in segment.nodes.values():
            node.program = [*segment.hosts[node.name].enter, *as_unit(node).program]
        segment.start()
        segment.settle("a")
        a, b = segment.hosts.values()
        arrivals = Arrivals(b, a.address)
        time.sleep(seconds)
        moments = arrivals.stop()
        buried = exactly(f"{label}: false deaths", "count")
        buried.samples = [float(len(node.events("peer-dead"))) for node in segment.nodes.values()]
        buried.must = False
        late = Figure(f"{label}: heartbeats late by", "ms")
        late.samples = [later - one - SPACING * segment.interval for one, later in pairwise(moments)]
    return [buried, late, noise.figure]


class Arrivals:
    """When packets of UDP from `source` arrive at a host."""

    def __init__(self, host: Host, source: str) -> None:
        with host.inside():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP))
        self._source, self._moments = socket.inet_aton(source), list[float]()
        self._stopped = False
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        self._socket.settimeout(0.2)
        while not self._stopped:
            try:
                packet, (_, _, kind, *_) = self._socket.recvfrom(64)
            except TimeoutError:
                continue
            if kind != socket.PACKET_OUTGOING and packet[9] == socket.IPPROTO_UDP and packet[12:16] == self._source:
                self._moments.append(time.monotonic())

    def stop(self) -> list[float]:
        """Return the moments so far."""
        self._stopped = True
        self._thread.join()
        self._socket.close()
        return self._moments


def starts(runs: int) -> list[Figure]:
    """From the process's start until it says READY=1: all calls of the discovery at 0 ms each."""
    ready = Figure("start to READY", "ms")
    memory = at_most("resident memory when READY", "MiB", p99=MEMORY_TARGET)
    with (
        tempfile.TemporaryDirectory() as folder,
        BenchCluster(1, 1.0, latency=0.0) as cluster,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told,
    ):
        told.bind(str(Path(folder) / "notify"))
        told.settimeout(PATIENCE)
        node = cluster["n1"]
        node.env["NOTIFY_SOCKET"] = told.getsockname()
        for _ in range(runs):
            ready.samples.append(_until_ready(node, told))
            memory.samples.append(Usage.of(node.pid).memory)
            cluster.until(lambda: node.entries, "it has logged something")
            node.kill()
    return [ready, memory]


def _until_ready(node: Process, told: socket.socket) -> float:
    began = time.monotonic()
    node.start()
    while "READY=1" not in told.recv(4096).decode().splitlines():
        pass
    return time.monotonic() - began
