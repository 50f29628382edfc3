"""Serve whatever bytes a test wants, when it wants: responses that no honest server sends."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

PATIENCE = 30.0  # seconds after which a server's side gives up, whatever happens


class Peer:
    """The server's end of one connection."""

    def __init__(self, sock: socket.socket, stopping: threading.Event) -> None:
        self.sock = sock
        self.stopping = stopping
        self.requests: list[bytes] = []

    def request(self) -> bytes:
        """Return the next request, head and body; b"" if the client has gone."""
        data = b""
        while b"\r\n\r\n" not in data:
            piece = self.sock.recv(65536)
            if not piece:
                return b""
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        while len(body) < length:
            body += self.sock.recv(65536)
        self.requests.append(head + b"\r\n\r\n" + body)
        return self.requests[-1]

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def drip(self, data: bytes, pause: float) -> None:
        """Send `data` again and again, a byte at a time, until the client hangs up."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and not self.stopping.is_set():
            for index in range(len(data)):
                self.send(data[index : index + 1])
                if self.stopping.wait(pause):
                    return

    def hold(self) -> None:
        """Send nothing until the client hangs up."""
        with contextlib.suppress(OSError):
            while self.sock.recv(65536):
                pass

    def reset(self) -> None:
        """End with RST instead of FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


Handler = Callable[[Peer], object]


def each_with(*responses: bytes) -> Handler:
    """Return a handler that sends a response to each request, the last one again; b"" hangs up."""
    left = list(responses)

    def handler(peer: Peer) -> None:
        while peer.request() and (response := left.pop(0) if len(left) > 1 else left[0]):
            peer.send(response)

    return handler


class RawServer:
    """Listen on loopback; each connection runs `handler(peer)` in a thread and is closed after it.

    Bytes in place of the handler are the response to each request.
    """

    def __init__(self, handler: Handler | bytes, tls: ssl.SSLContext | None = None) -> None:
        self.handler = each_with(handler) if isinstance(handler, bytes) else handler
        self.peers: list[Peer] = []
        self._tls = tls
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._accepting = threading.Thread(target=self._accept)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._accepting.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join(PATIENCE)
        self._listener.close()
        for peer in self.peers:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(peer.sock, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
        assert not any(thread.is_alive() for thread in [self._accepting, *self._threads])

    @property
    def requests(self) -> list[bytes]:
        return [request for peer in self.peers for request in peer.requests]

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.settimeout(PATIENCE)
            peer = Peer(sock, self._stopping)
            self.peers.append(peer)
            thread = threading.Thread(target=self._serve, args=(peer,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, peer: Peer) -> None:
        try:
            with contextlib.suppress(OSError):  # the client hung up: often what the test is about
                if self._tls is not None:
                    peer.sock = self._tls.wrap_socket(peer.sock, server_side=True)
                self.handler(peer)
        finally:
            peer.sock.close()


def answer(body: bytes, status: int = 200, **headers: str) -> bytes:
    """Return a whole HTTP response; underscores in the headers' names become dashes."""
    lines = [f"HTTP/1.1 {status} Because", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
