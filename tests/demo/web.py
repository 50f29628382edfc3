"""A tiny web server that says its name: `python -m tests.demo.web NAME ADDRESS` prints its port and serves until killed."""

from __future__ import annotations

import socketserver
import sys
from http.server import BaseHTTPRequestHandler


class Server(socketserver.ThreadingTCPServer):
    """Listens on a free port of `address`; every path answers `name`."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, name: str, address: str) -> None:
        self.body = f"{name}\n".encode()
        super().__init__((address, 0), Handler)


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server

    def do_GET(self) -> None:
        """Answer the name."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: object) -> None:
        """Say nothing: the client counts."""


def main(name: str, address: str) -> None:
    """Serve until killed."""
    with Server(name, address) as server:
        sys.stdout.write(f"{server.server_address[1]}\n")
        sys.stdout.flush()
        server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:3])
