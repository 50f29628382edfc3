"""A web server that answers with its name.

`python -m tests.demo.web NAME ADDRESS` prints its port.
"""

from __future__ import annotations

import socketserver
import sys
from http.server import BaseHTTPRequestHandler


class Server(socketserver.ThreadingTCPServer):
    """Listens on a free port of `address` and answers every path with `name`."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, name: str, address: str) -> None:
        self.body = f"{name}\n".encode()
        super().__init__((address, 0), Handler)


class Handler(BaseHTTPRequestHandler):
    """Handles one request."""

    server: Server

    def do_GET(self) -> None:
        """Answer with the name."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def main(name: str, address: str) -> None:
    """Serve until killed."""
    with Server(name, address) as server:
        sys.stdout.write(f"{server.server_address[1]}\n")
        sys.stdout.flush()
        server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:3])
