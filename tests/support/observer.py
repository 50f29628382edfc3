"""A member of the group that only listens: each heartbeat with its time of arrival by the kernel."""

from __future__ import annotations

import socket
import struct
import threading
import time
from dataclasses import dataclass

from exoip.errors import WireError
from exoip.heartbeat.wire import Heartbeat, decode, split
from tests.support.process import Process

_SO_TIMESTAMPNS = 35  # Linux; the module `socket` has no name for it


@dataclass(frozen=True, slots=True)
class Heard:
    """One heartbeat: when it arrived (time.monotonic), the sender's address, and its bytes."""

    at: float
    address: str
    heartbeat: Heartbeat
    data: bytes


class Observer:
    """Listens on a free port of `host`. `heard` and `bad` only ever grow."""

    def __init__(self, host: str) -> None:
        self.heard: list[Heard] = []
        self.bad: list[tuple[str, bytes]] = []
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self.socket.bind((host, 0))
        self.host, self.port = self.socket.getsockname()
        self._thread = threading.Thread(target=self._listen, name="observer", daemon=True)
        self._stopping = False
        self._thread.start()

    def _listen(self) -> None:
        while True:
            data, ancillary, _, (address, _) = self.socket.recvmsg(2048, 128)
            if self._stopping:
                return
            # From the kernel's wall clock to the monotonic one that the zone's record has
            seconds, nanoseconds = struct.unpack("ll", ancillary[0][2])
            at = time.monotonic() - (time.time() - (seconds + nanoseconds / 1e9))
            try:
                self.heard.append(Heard(at, address, decode(split(data)[0]), data))
            except WireError:
                self.bad.append((address, data))

    def of(self, process: Process, since: float = 0.0) -> list[Heard]:
        """Return what it heard of the process from that moment on."""
        return [heard for heard in list(self.heard) if heard.address == process.address and heard.at >= since]

    def close(self) -> None:
        """Stop listening."""
        self._stopping = True
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as poke:
            poke.sendto(b"", (self.host, self.port))
        self._thread.join()
        self.socket.close()
