"""The watching daemon: wiring, signals, systemd's notifications, and the supervision of the threads.

The main thread never does the work. It starts the threads when every part is ready, then waits for events and signals, tells them to
the journal and to systemd, and watches over the threads: one that died ends the process at once, one that hangs stops the
watchdog's pings, and systemd restarts the daemon either way.

The clock is CLOCK_BOOTTIME: steady, never set, and it counts the time that a machine was suspended, in which nothing was heard.
"""

from __future__ import annotations

import faulthandler
import logging
import queue
import random
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Literal, Protocol

import sdnotify

from exoip import discovery
from exoip.api import Client
from exoip.calls import Lane
from exoip.config import Config
from exoip.discovery import Topology
from exoip.election import Terms
from exoip.errors import ApiError, ApiRefused
from exoip.events import Event
from exoip.fitness import LONGEST_RETRY, Backoff
from exoip.heartbeats import Channel, Receiver, Sender
from exoip.journal import Journal, say
from exoip.node import Node
from exoip.snapshot import status
from exoip.starts import Starts
from exoip.transition import Clients, Executor, Worker

ROUND = 2.0  # seconds: every thread goes round at least that often …
HANGS = 30.0  # … and hangs when it did not for that long; a call to the API may take 10 s
LEAVE_LOOK = 0.02

_Signal = Literal["stop"]
_Inbox = queue.SimpleQueue[Event | _Signal | BaseException]


def clock() -> float:
    """Return the seconds of CLOCK_BOOTTIME."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class _Thread(Protocol):
    name: str
    progress: float

    def is_alive(self) -> bool: ...


class Stopped(Exception):
    """SIGTERM or SIGINT came before there was anything to hand over."""


class Daemon:
    """One watching node. `run` returns the exit code; ConfigError, ApiRefused come out of it."""

    def __init__(self, config: Config, environ: Mapping[str, str]) -> None:
        self._config = config
        self._inbox: _Inbox = queue.SimpleQueue()
        self._systemd = sdnotify.SystemdNotifier()
        self._watchdog = int(environ.get("WATCHDOG_USEC", "0")) / 2e6
        self._starts = Starts(environ)
        self._status = ""
        self._topology: Topology | None = None

    def run(self) -> int:
        """Watch until told to stop."""
        faulthandler.enable()
        self._catch_signals()
        quarantined_until = self._starts.count(clock())
        channel = Channel(self._config.bind_host, self._config.bind_port)
        try:
            topology = self._topology = self._discover()
            for warning in topology.warnings:
                say(logging.WARNING, "%s", warning)
            journal = Journal(topology.eip, topology.instance_id, self._label)
            node = self._node(topology, quarantined_until)
            threads = self._start(node, channel, topology)
            self._notify("READY=1")
            return self._watch(node, threads, journal)
        except Stopped:
            return 0
        finally:
            channel.close()

    # -- set-up -------------------------------------------------------------------------------------------------------

    def _catch_signals(self) -> None:
        def stop(_number: int, _frame: FrameType | None) -> None:
            self._inbox.put("stop")

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)

        def died(args: threading.ExceptHookArgs) -> None:
            self._inbox.put(args.exc_value or RuntimeError("no reason given"))

        threading.excepthook = died

    def _discover(self) -> Topology:
        """Find out who and where we are; wait as long as the API does not answer, saying so."""
        backoff = Backoff(random.Random())
        last = ""
        while True:
            try:
                return discovery.discover(self._config)
            except ApiRefused:
                raise
            except ApiError as error:
                if str(error) != last:
                    last = str(error)
                    say(logging.WARNING, "waiting for the API: %s", error)
                self._set_status(f"waiting for the API: {error}")
                backoff.wait_longer(clock())
                self._wait_for_stop(min(backoff.at - clock(), LONGEST_RETRY))

    def _wait_for_stop(self, seconds: float) -> None:
        try:
            self._inbox.get(timeout=max(0.0, seconds))
        except queue.Empty:
            return
        raise Stopped

    def _node(self, topology: Topology, quarantined_until: float) -> Node:
        config = self._config
        terms = Terms(
            topology.instance_id,
            config.host_priority,
            config.advertisement_interval,
            config.dead_ratio,
            config.preempt_delay,
        )
        return Node(
            terms,
            topology.eip,
            places(topology),
            clock(),
            emit=self._inbox.put,
            verify_interval=config.verify_interval,
            refresh=config.peer_group is not None,
            quarantined_until=quarantined_until,
        )

    def _start(self, node: Node, channel: Channel, topology: Topology) -> Sequence[_Thread]:
        def refresh(client: Client) -> None:
            self._topology = discovery.refresh(self._config, client, self._topology or topology)
            node.set_members(places(self._topology), clock())

        clients = Clients(*(discovery.client_for(self._config, topology.endpoint) for _ in Lane))
        executor = Executor(topology.eip, topology.eip_id, clients, refresh, clock)
        threads: list[Sender | Receiver | Worker] = [
            Sender(channel, node, clock, ROUND, self._inbox.put),
            Receiver(channel, node, clock, ROUND),
            Worker(Lane.MUTATIONS, node, executor, clock, ROUND),
            Worker(Lane.READS, node, executor, clock, ROUND),
        ]
        for thread in threads:
            thread.start()
        return threads

    # -- the main loop ------------------------------------------------------------------------------------------------

    def _watch(self, node: Node, threads: Sequence[_Thread], journal: Journal) -> int:
        leave_by = None
        ping_at = clock()
        while True:
            now = clock()
            if now >= ping_at:
                ping_at = now + (self._watchdog or ROUND)
                if not self._ping(threads, now):
                    return 1
            if leave_by is not None and (now >= leave_by or node.finished()):
                return self._left(node, journal)
            try:
                item = self._inbox.get(timeout=LEAVE_LOOK if leave_by is not None else max(0.0, ping_at - now))
            except queue.Empty:
                continue
            if isinstance(item, Event):
                journal.tell(item)
                if self._inbox.empty():
                    self._set_status(status(node.snapshot(clock()), self._config.address))
            elif isinstance(item, BaseException):
                say(logging.CRITICAL, "a thread died of %r: ending", item)
                logging.getLogger("exoip").critical("traceback", exc_info=item)
                return 1
            elif leave_by is None:
                node.leave(clock())
                leave_by = clock() + self._config.leave_timeout
                extend = int((self._config.leave_timeout + ROUND) * 1e6)
                self._notify(f"STOPPING=1\nEXTEND_TIMEOUT_USEC={extend}")

    def _left(self, node: Node, journal: Journal) -> int:
        while not self._inbox.empty():
            item = self._inbox.get()
            if isinstance(item, Event):
                journal.tell(item)
        if node.finished():
            say(logging.INFO, "gone: %s is in other hands, or was not in ours", self._config.address)
            self._starts.forget()
        else:
            text = "gone after %g s, still holding %s perhaps: a peer takes it and clears this instance"
            say(logging.WARNING, text, self._config.leave_timeout, self._config.address)
        return 0

    def _ping(self, threads: Sequence[_Thread], now: float) -> bool:
        """Tell the watchdog that all is well; False when a thread is dead."""
        dead = [thread.name for thread in threads if not thread.is_alive()]
        if dead:
            say(logging.CRITICAL, "thread %s is dead: ending", ", ".join(dead))
            return False
        if all(now - thread.progress < HANGS for thread in threads):
            self._notify("WATCHDOG=1")
        return True

    def _set_status(self, text: str) -> None:
        if text != self._status:
            self._status = text
            self._notify("STATUS=" + text.encode("ascii", "replace").decode().replace("\n", " "))

    def _notify(self, state: str) -> None:
        self._systemd.notify(state)

    def _label(self, instance_id: str) -> str:
        """Return a person's words for an instance id."""
        for member in self._topology.members if self._topology else ():
            if member.instance_id == instance_id:
                return f"{member.name or instance_id} ({member.address})"
        return instance_id


def places(topology: Topology) -> dict[str, tuple[str, int]]:
    """Return where each other member beats from and is beaten to, by instance id."""
    return {member.instance_id: (member.address, member.port) for member in topology.members}
