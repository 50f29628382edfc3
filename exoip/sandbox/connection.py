"""One HTTP connection to a simulated zone: requests in, responses out, and the waits in between."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl, unquote

from exoip.sandbox import call_lifecycle, control
from exoip.sandbox.call_lifecycle import Handler, is_metadata, metadata_for
from exoip.sandbox.faults import Fault
from exoip.sandbox.model import Call, Invalid, NotFound
from exoip.sandbox.responses import Response, error_response
from exoip.sandbox.routes import respond
from exoip.sandbox.signature import claimed_key, verify
from exoip.sandbox.zone import Zone

PREFIX = "/v2"
MAX_BODY = 1 << 20


class Shared:
    """What all connections to one zone share. `lock` guards the zone; `stopping` ends every wait.

    `clock` is the zone's clock; `wall` is the Unix time for signatures. Both return seconds.
    """

    def __init__(self, zone: Zone, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        self.zone = zone
        self.now = clock
        self.wall = wall
        self.lock = threading.RLock()
        self.stopping = threading.Event()


class Connection(BaseHTTPRequestHandler):
    """Handle the requests of one connection, one after the other."""

    protocol_version = "HTTP/1.1"
    server_version = "exoip-sandbox"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body leave in one segment
    arrived: float

    def __init__(self, sandbox: Shared, *arguments: Any) -> None:
        self.sandbox = sandbox
        super().__init__(*arguments)  # handles the connection until it ends

    def parse_request(self) -> bool:
        """Note the time of arrival, when the first line has been read."""
        self.arrived = self.sandbox.now()
        return super().parse_request()

    def _serve(self) -> None:
        path, _, query = self.path.partition("?")
        try:
            body = self._read_body()
            pairs = tuple(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), errors="strict"))
        except (Invalid, ValueError) as error:
            self.close_connection = True  # the rest of the body might be taken for a request
            return self._send(error_response(Invalid(str(error))))
        if path.startswith("/sandbox/"):
            return self._send(self._control(path, dict(pairs), body))
        if is_metadata(path):
            call = Call(self.command, unquote(path), service="metadata")
            return self._answer(call, metadata_for(str(self.client_address[0])))
        if not path.startswith(f"{PREFIX}/"):
            return self._send(error_response(NotFound(f"nothing at {path}: the API is under {PREFIX}")))
        key = claimed_key(self.headers["Authorization"])
        call = Call(self.command, unquote(path.removeprefix(PREFIX)), key, pairs, body)
        return self._answer(call, self._signed(path))

    do_GET = do_PUT = do_POST = do_DELETE = do_PATCH = _serve  # the names that the base class looks for

    def _answer(self, call: Call, handler: Handler) -> None:
        """Take the call through its lifecycle. Closing the sandbox ends it where it waits."""
        sandbox = self.sandbox
        with sandbox.lock:
            ticket = call_lifecycle.begin(sandbox.zone, call, self.arrived)
        stopped = sandbox.stopping.wait(ticket.before)
        answer = Response(0)
        if not stopped:
            with sandbox.lock:
                answer = call_lifecycle.perform(sandbox.zone, ticket, sandbox.now(), handler)
            if sandbox.stopping.wait(ticket.after):
                answer = Response(0)
        with sandbox.lock:
            call_lifecycle.end(sandbox.zone, ticket, answer, sandbox.now())
        self._send(answer)

    def _signed(self, path: str) -> Handler:
        """Return the API with its signature check.

        The list of zones is public; a signature is checked even there.
        """
        header = self.headers["Authorization"]
        wall = self.sandbox.wall

        def handle(zone: Zone, call: Call, now: float, fault: Fault | None) -> Response:
            if header is not None or call.path != "/zone":
                verify(header, call.method, path, call.query, call.body, zone.keys, wall())
            return respond(zone, call, now, fault)

        return handle

    def _control(self, path: str, query: dict[str, str], body: bytes) -> Response:
        sandbox = self.sandbox
        with sandbox.lock:
            return control.handle(sandbox.zone, self.command, path, query, body, sandbox.now())

    def _read_body(self) -> bytes:
        """Return the request's body.

        Raises Invalid if its length is missing, not a number or too large.
        """
        if self.headers["Transfer-Encoding"] is not None:
            raise Invalid("Transfer-Encoding is not simulated: send Content-Length")
        length = self.headers["Content-Length"] or "0"
        if not length.isdecimal() or int(length) > MAX_BODY:
            raise Invalid(f"Content-Length {length!r} is not a number up to {MAX_BODY}")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise ConnectionResetError("the client left in the middle of its request")
        return body

    def _send(self, answer: Response) -> None:
        if answer.status == 0 or answer.cut:
            self.close_connection = True
        if answer.status == 0:
            return
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        if answer.retry_after is not None:
            self.send_header("Retry-After", f"{answer.retry_after:g}")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(answer.sent)
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: the zone's record has every call."""
