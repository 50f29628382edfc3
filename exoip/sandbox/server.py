"""A simulated zone behind HTTP: API v2 with its signatures checked, the metadata service, and a
control interface.

    with SandboxServer(Zone("ch-gva-2", eip="127.0.0.100")) as server:
        server.endpoint                          # http://127.0.0.1:PORT/v2
        with server.lock:
            server.zone.add_fault(Fault("status", status=500, count=1), server.now())

    /v2/…                                        the API, signed (`/v2/zone` also unsigned)
    /latest/meta-data/…                          metadata, by the client's address
    /metadata/INSTANCE/latest/meta-data/…        metadata of that instance, for any client
    /sandbox/…                                   control, unsigned JSON: see `control.py`

Each connection has its own thread and is kept alive. `server.lock` guards the zone and is never
held while a call waits. Leaving the context ends every connection, even those of hanging calls, and
joins every thread.
"""

from __future__ import annotations

import contextlib
import functools
import socket
import socketserver
import ssl
import sys
import threading
import time
from collections.abc import Callable
from http.server import ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from exoip.sandbox.connection import Connection, Shared
from exoip.sandbox.zone import Zone

HANDSHAKE_SECONDS = 10.0


class Listener(ThreadingHTTPServer):
    """The listening socket.

    It keeps track of open connections, so that closing it ends them and their threads.
    """

    daemon_threads = False
    block_on_close = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], sandbox: Shared, tls: ssl.SSLContext | None) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._tls = tls
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        super().__init__(address, functools.partial(Connection, sandbox))

    def server_bind(self) -> None:
        """Bind without HTTPServer's lookup of the host name, which may take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def get_request(self) -> tuple[Any, Any]:
        """Accept a connection; its own thread does the TLS handshake, so that a slow one blocks
        nothing.
        """
        connection, address = super().get_request()
        if self._tls is not None:
            connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        with self._open_lock:
            self._open.add(connection)
        return connection, address

    def finish_request(self, request: Any, client_address: Any) -> None:
        if self._tls is not None:
            request.settimeout(HANDSHAKE_SECONDS)
            request.do_handshake()
            request.settimeout(None)
        super().finish_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._open_lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Stop listening, end every connection, join every thread."""
        with self._open_lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    # Not SSLSocket's own method, which would break the thread that reads
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)
        super().server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that went away; show anything else, which is a bug."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class SandboxServer(Shared):
    """Serve one zone. `port` 0 takes a free port; `tls` serves HTTPS.

    Raises OSError if the address cannot be bound.
    """

    def __init__(
        self,
        zone: Zone,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        tls: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(zone, clock, wall)
        self._address = (host, port)
        self._tls = tls
        self._listener: Listener | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen, and serve from a thread."""
        self._listener = Listener(self._address, self, self._tls)
        self.stopping.clear()
        with self.lock:
            self.zone.endpoint = self.endpoint
            self.zone.record.wall_offset = self.wall() - self.now()
        self._thread = threading.Thread(target=self._listener.serve_forever, name="sandbox-accept")
        self._thread.start()

    def close(self) -> None:
        """End every call and connection and join every thread. Closing it again does nothing."""
        self.stopping.set()
        if self._listener is not None and self._thread is not None:
            with contextlib.suppress(OSError):
                self._listener.socket.shutdown(socket.SHUT_RDWR)  # wakes the accepting thread, which polls slowly
            self._listener.shutdown()
            self._thread.join()
            self._listener.server_close()
        self._thread = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def port(self) -> int:
        if self._listener is None:
            raise RuntimeError("the sandbox is not listening: start it, or use it as a context")
        return self._listener.server_port

    @property
    def url(self) -> str:
        """Its URL, such as `http://127.0.0.1:8080`, without a slash at the end."""
        host = self._address[0]
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def endpoint(self) -> str:
        """The API's URL, with `/v2`."""
        return f"{self.url}/v2"

    def metadata_url(self, instance: str) -> str:
        """Return the URL of the metadata service for an instance (name or id), for `-xm`."""
        return f"{self.url}/metadata/{instance}"

    def holders(self) -> frozenset[str]:
        """Return the ids of the instances that hold the first Elastic IP now."""
        with self.lock:
            return self.zone.holders(self.now())
