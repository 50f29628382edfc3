"""A transport adapter for requests: one exchange at a time, within a total time and a total size.

The adapter that comes with requests bounds the time of each single `recv` only, decompresses without a limit, keeps
cookies and looks at redirects. This one does none of it. Nothing but `requests.RequestException` leaves it, for any
bytes that come back:

    requests.Timeout          no complete answer before the deadline
    requests.ConnectionError  no answer at all: refused, dropped, name not resolved, TLS failed
    MalformedResponse         bytes came, but they are no (whole) HTTP answer, or too many

A server may close an idle connection at any moment. When a connection that has served before dies before the first byte
of the answer, the request is sent once more, on a new one: what is sent through here must be idempotent. A time-out
is never retried. Not thread-safe: each thread has a session of its own.
"""

from __future__ import annotations

import http.client
import io
import os
import ssl
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import BaseAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from exoip.exoscale.connection import BoundedResponse, Budget, Connection, ResponseTooLong

LIMIT = 16 * 2**20  # bytes of an answer as received
CA_FOLDER = "/etc/ssl/certs"
CA_FOLDERS_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"  # the same certificates in one file
_TLS_PORT = 443


class MalformedResponse(requests.RequestException):
    """What came back is no whole HTTP answer, or larger than the limit."""


class Transport(BaseAdapter):
    """The adapter. `limit`: bytes of an answer's body; `ca_file`: instead of the system's. TLS is always verified."""

    def __init__(self, *, limit: int = LIMIT, ca_file: str | None = None) -> None:
        super().__init__()
        self._limit = limit
        self._ca_file = ca_file or DEFAULT_CA_BUNDLE_PATH
        self._origin: tuple[str, str] = ("", "")
        self._connection: Connection | None = None

    def send(
        self,
        request: requests.PreparedRequest,
        *_stream: Any,
        timeout: Any = None,
        **_rest: Any,
    ) -> requests.Response:
        """Return the answer with its body read; `timeout` is in seconds, for all of it. Nothing else is looked at."""
        connection = self._connection_for(request.url or "")
        method, wire = request.method or "", _serialized(request)
        budget = Budget(float(timeout))
        while True:
            reused = connection.reusable()
            try:
                return _answer(request, *connection.exchange(method, wire, self._limit, budget))
            except (OSError, http.client.HTTPException, ValueError) as error:
                connection.close()
                if reused and not budget.received and not isinstance(error, TimeoutError):
                    continue  # the server closed the idle connection; the next try opens one, so this happens once
                raise _failure(error, budget, float(timeout), request) from error
            except BaseException:
                connection.close()  # half an answer may be under way: never reuse it
                raise

    def _connection_for(self, url: str) -> Connection:
        parts = urlsplit(url)
        if self._connection is None or self._origin != (parts.scheme, parts.netloc):
            self.close()
            tls = None
            if parts.scheme == "https":
                tls = _tls(self._ca_file, os.stat(self._ca_file).st_mtime_ns)
            port = parts.port or (_TLS_PORT if tls else http.client.HTTP_PORT)
            self._origin = (parts.scheme, parts.netloc)
            self._connection = Connection(parts.hostname or "", port, tls)
        return self._connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


class _Session(requests.Session):
    """A session that looks at no redirect: requests would parse the target even when told not to follow it."""

    def get_redirect_target(self, resp: requests.Response) -> None:  # noqa: ARG002
        return None


def new_session(*, limit: int = LIMIT) -> requests.Session:
    """Return a session on a transport of its own, which ignores the environment.

    No proxy: it would be one more thing that can be dead in a failover. No .netrc: it would replace our signature.
    """
    made = _Session()
    made.trust_env = False
    made.mount("https://", Transport(limit=limit))
    made.mount("http://", Transport(limit=limit))
    return made


@lru_cache(1)
def _tls(ca_file: str, _changed: int) -> ssl.SSLContext:
    """Return the context of all connections: a system's certificates take a MiB each time that they are loaded.

    Debian has them in a folder too, from which OpenSSL loads the one that it needs, once.
    """
    folder = CA_FOLDER if ca_file == CA_FOLDERS_BUNDLE else None
    tls = ssl.create_default_context(cafile=None if folder else ca_file, capath=folder)
    tls.set_alpn_protocols(["http/1.1"])
    return tls


def _serialized(request: requests.PreparedRequest) -> bytes:
    head = [f"{request.method} {request.path_url} HTTP/1.1", f"Host: {urlsplit(request.url or '').netloc}"]
    head += [f"{name}: {value}" for name, value in request.headers.items()]
    body = request.body or b""
    return "\r\n".join([*head, "", ""]).encode("latin-1") + (body if isinstance(body, bytes) else body.encode())


def _answer(request: requests.PreparedRequest, response: BoundedResponse, body: bytes) -> requests.Response:
    answer = requests.Response()
    answer.status_code = response.status
    answer.reason = response.reason
    answer.url = request.url or ""
    answer.request = request
    answer.headers.update(response.headers.items())
    answer.raw = io.BytesIO(body)
    return answer


def _failure(
    error: Exception, budget: Budget, seconds: float, request: requests.PreparedRequest
) -> requests.RequestException:
    if isinstance(error, TimeoutError):
        return requests.Timeout(f"no complete answer within {seconds:g} s", request=request)
    what = f"{type(error).__name__}: {error}" if isinstance(error, http.client.HTTPException) else str(error)
    if isinstance(error, ResponseTooLong):
        return MalformedResponse(f"the answer is too long: {what}", request=request)
    if budget.received:
        return MalformedResponse(f"the answer is broken off or no HTTP: {what}", request=request)
    return requests.ConnectionError(what, request=request)
