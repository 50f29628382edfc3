"""Real nodes on one Ethernet segment: hosts in network namespaces of their own, on a veth pair, with
ARP, their own addresses, routes and nftables; and the simulated zone, which each of them reaches.

Other members of the group may have addresses of the segment that nobody has: whoever sends to them
waits for an answer to ARP. A namespace goes with the process that holds it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from exoip.sandbox.model import Instance
from exoip.sandbox.server import SandboxServer
from exoip.sandbox.zone import Zone
from tests.support.process import Process, environment
from tests.support.waiting import PATIENCE, until

NET = "10.77.0"
EIP = "198.51.100.50"
PORT = 12345
API_PORT = 8099  # of the loopback of each host
_CLONE_NEWNET = 0x40000000


class Host:
    """A network namespace with the interface eth0 and its address."""

    def __init__(self, name: str, number: int) -> None:
        self.name, self.address = name, f"{NET}.{number}"
        self.holder = subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE)
        mine = os.stat("/proc/self/ns/net").st_ino
        until(lambda: os.stat(f"/proc/{self.holder.pid}/ns/net").st_ino != mine, "the namespace")

    @property
    def enter(self) -> list[str]:
        """The words before a command that is to run in it."""
        return ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net", "--"]

    def run(self, *words: str, stdin: str | None = None) -> str:
        """Run a command in it and return what it prints."""
        done = subprocess.run([*self.enter, *words], input=stdin, capture_output=True, text=True)
        assert done.returncode == 0, f"{self.name}: {' '.join(words)}: {done.stderr}"
        return done.stdout

    def nft(self, rules: str) -> None:
        """Put rules of nftables in force."""
        self.run("nft", "-f", "-", stdin=rules)

    def count(self, hook: str, match: str, verdict: str = "") -> None:
        """Count the packets that match, from now on, and decide their fate; see `counted`."""
        self.nft(
            f"table ip {hook} {{ counter found {{}}; chain one {{ type filter hook {hook} priority 0;"
            f"{match} counter name found {verdict}; }}; }}"
        )

    def counted(self, hook: str) -> int:
        """Return how many were counted there."""
        (found,) = re.findall(r"packets (\d+)", self.run("nft", "list", "counter", "ip", hook, "found"))
        return int(found)

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Have this thread in the namespace."""
        libc = ctypes.CDLL(None, use_errno=True)
        with open("/proc/thread-self/ns/net") as home, open(f"/proc/{self.holder.pid}/ns/net") as there:
            assert libc.setns(there.fileno(), _CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
            try:
                yield
            finally:
                libc.setns(home.fileno(), _CLONE_NEWNET)

    def close(self) -> None:
        self.holder.kill()
        self.holder.communicate()


class Relay:
    """Passes TCP connections to a port of a host's loopback on to one of ours."""

    def __init__(self, host: Host, port: int, target: int) -> None:
        self._target = target
        with host.inside():
            self._listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self._listener.accept()[0],), daemon=True).start()

    def _serve(self, one: socket.socket) -> None:
        with one, contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._target)) as other:
            back = threading.Thread(target=self._pump, args=(other, one), daemon=True)
            back.start()
            self._pump(one, other)
            back.join()

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(1 << 16):
                sink.sendall(piece)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


class Segment:
    """The hosts a (priority 10) and b (20), each with a node that is not started yet.

    `dead`: members that do not exist. `options`: further words of both nodes. Skips the test
    without root or the commands that it takes.
    """

    def __init__(
        self, *, dead: int = 0, interval: float = 0.05, ratio: float = 5, options: Sequence[str] = ("-v",)
    ) -> None:
        commands = [name for name in ("unshare", "nsenter", "ip", "nft") if shutil.which(name) is None]
        if os.geteuid() != 0 or commands:
            pytest.skip(f"namespaces take root and the commands {', '.join(commands) or 'of iproute2'}")
        self.interval, self.ratio = interval, ratio
        self._stack = contextlib.ExitStack()
        self.zone = Zone(eip=EIP, operation_seconds=0.05)
        self.server = self._stack.enter_context(SandboxServer(self.zone))
        self.dead = [f"{NET}.{number}" for number in range(11, 11 + dead)]
        self.hosts: dict[str, Host] = {}
        self.instances: dict[str, Instance] = {}
        self.nodes: dict[str, Process] = {}
        try:
            self._build(options)
        except BaseException:
            self._stack.close()
            raise

    def _build(self, options: Sequence[str]) -> None:
        for number, name in enumerate("ab", start=1):
            host = self.hosts[name] = Host(name, number)
            self._stack.callback(host.close)
        a, b = self.hosts.values()
        a.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", str(b.holder.pid))
        everybody = [f"{address}={self._instance(f'd{n}', address)}" for n, address in enumerate(self.dead)]
        everybody += [f"{host.address}={self._instance(host.name, host.address)}" for host in self.hosts.values()]
        for host, priority in zip(self.hosts.values(), (10, 20), strict=True):
            host.run("ip", "link", "set", "lo", "up")
            host.run("ip", "link", "set", "eth0", "up")
            host.run("ip", "address", "add", f"{host.address}/24", "dev", "eth0")
            self._stack.callback(Relay(host, API_PORT, self.server.port).close)
            self._add_node(host, priority, everybody, options)

    def _instance(self, name: str, address: str) -> str:
        self.zone.add_key(f"EXO{name}", f"secret-of-{name}-{random.getrandbits(128):032x}")
        instance = self.instances[name] = self.zone.add_instance(name, public_ip=address)
        return instance.id

    def _add_node(self, host: Host, priority: int, everybody: Sequence[str], options: Sequence[str]) -> None:
        instance = self.instances[host.name]
        words = ["-W", "-xi", EIP, "-P", str(priority), "-t", f"{self.interval:g}", "-r", f"{self.ratio:g}"]
        words += ["-l", f"{host.address}:{PORT}", "-i", instance.id, "-xz", self.zone.name, "-xk", f"EXO{host.name}"]
        words += ["-xe", f"http://127.0.0.1:{API_PORT}/v2", *options]
        words += ["-p", ",".join(one for one in everybody if not one.startswith(f"{host.address}="))]
        env = environment(IF_EXOSCALE_API_SECRET=self.zone.keys[f"EXO{host.name}"].secret)
        node = self.nodes[host.name] = Process(host.name, instance, words, env)
        node.program = [*host.enter, *node.program]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for node in self.nodes.values():
                node.close(gently=False)
        finally:
            self._stack.close()
        if kind is not None:
            for node in self.nodes.values():
                print(f"== {node.name}", *node.lines, sep="\n", file=sys.stderr)

    def start(self, *names: str) -> None:
        """Start the named nodes, or all."""
        for name in names or self.nodes:
            self.nodes[name].start()

    def state_folders(self, folder: Path) -> None:
        """Give each node a runtime and a state directory in `folder`, as its unit does."""
        for name, node in self.nodes.items():
            for variable in ("RUNTIME_DIRECTORY", "STATE_DIRECTORY"):
                place = folder / name / variable
                place.mkdir(parents=True)
                node.env[variable] = str(place)

    def holders(self) -> set[str]:
        """The names of the instances that hold the Elastic IP now."""
        with self.server.lock:
            holders = self.zone.holders(self.server.now())
        return {name for name, instance in self.instances.items() if instance.id in holders}

    def until(self, condition: Callable[[], object], what: str, patience: float = PATIENCE) -> None:
        """Wait for the condition; a node that ended unasked is reported at once."""

        def looked() -> object:
            ended = [node.name for node in self.nodes.values() if node.failed is not None]
            assert not ended, f"{ended} ended while waiting for: {what}"
            return condition()

        until(looked, what, patience)

    def settle(self, holder: str) -> None:
        """Wait until all running nodes hear each other and `holder` alone holds."""
        running = [node for node in self.nodes.values() if node.running]
        self.until(
            lambda: (
                all(one.hears(other) for one in running for other in running if one is not other)
                and self.holders() == {holder}
                and self.nodes[holder].holds
                and self.nodes[holder].role == "MASTER"
            ),
            f"{holder} holds, and all hear each other",
        )
