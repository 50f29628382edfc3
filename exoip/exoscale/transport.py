"""Send requests over one kept connection, each exchange within a total time and a total size.

The types are those of requests. Its sessions are not used, because they bound only the time of each
single `recv`, decompress without a limit, keep cookies, parse redirects, and take proxies and
.netrc from the environment: a proxy is one more thing that can fail in a failover, and .netrc would
replace our signature. Whatever bytes come back, only `requests.RequestException` is raised:

    requests.Timeout          no complete response before the deadline
    requests.ConnectionError  the request was not sent: connection, name lookup or TLS failed
    MalformedResponse         it was sent, but no (whole) HTTP response came, or too many bytes

A server may close an idle connection at any time. If a connection that has served before dies
before the first byte of a response, or its request stays unacknowledged (`connection.SILENCE`), the
request is sent once more on a new one, so requests must be idempotent. A time-out is never retried.

Shown by tests/unit/exoscale/test_transport.py, TestReuse and TestTls.
"""

from __future__ import annotations

import errno
import http.client
import io
import os
import ssl
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import urlsplit

import requests
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from exoip.errors import ConfigError
from exoip.exoscale.connection import Budget, Connection, NameTimeout, ResponseTooLong

LIMIT = 16 * 2**20  # bytes of a response's body
CA_FOLDER = "/etc/ssl/certs"
CA_FOLDERS = {"/etc/ssl/certs/ca-certificates.crt": CA_FOLDER}  # by bundle, a folder with the same certificates


class MalformedResponse(requests.RequestException):
    """Report that a request was sent, but no whole HTTP response came, or more than the limit."""


class Transport:
    """A connection to one server at a time, with TLS always verified. Not thread-safe.

    `limit`: bytes of a response's body; `ca_file`: certificates to use instead of the system's.
    """

    def __init__(
        self,
        *,
        limit: int = LIMIT,
        ca_file: str = DEFAULT_CA_BUNDLE_PATH,
        ca_folders: Mapping[str, str] = CA_FOLDERS,
    ) -> None:
        self._limit, self._ca_file, self._ca_folder = limit, ca_file, ca_folders.get(ca_file)
        self._origin: tuple[str, str] = ("", "")
        self._connection: Connection | None = None

    def send(self, request: requests.PreparedRequest, timeout: float) -> requests.Response:
        """Return the response with its body read, within `timeout` seconds. Follows no redirect."""
        connection = self._connection_for(request.url or "")
        method, wire = request.method or "", _serialized(request)
        budget = Budget(timeout)
        while True:
            reused = connection.reusable()
            try:
                return _to_requests(request, *connection.exchange(method, wire, self._limit, budget))
            except (OSError, http.client.HTTPException, ValueError) as error:
                if reused and not budget.received and not _out_of_time(error):
                    connection.close()
                    continue  # the idle connection was dead; the next try opens one, so this happens once
                connection.fail()
                raise _failure(error, budget, timeout) from error
            except BaseException:
                connection.close()  # never reuse it: half a response may be under way
                raise

    def _connection_for(self, url: str) -> Connection:
        parts = urlsplit(url)
        if self._connection is None or self._origin != (parts.scheme, parts.netloc):
            self.close()
            tls = self._tls if parts.scheme == "https" else None
            port = parts.port or (http.client.HTTPS_PORT if tls else http.client.HTTP_PORT)
            self._origin = (parts.scheme, parts.netloc)
            self._connection = Connection(parts.hostname or "", port, tls)
        return self._connection

    def _tls(self) -> ssl.SSLContext:
        try:
            return _tls(self._ca_file, self._ca_folder, os.stat(self._ca_file).st_mtime_ns)
        except OSError as error:
            text = f"certificates {self._ca_file}: {error.strerror or error}; install the package ca-certificates"
            raise requests.ConnectionError(text) from error

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._connection is not None:
            self._connection.close()


def require_certificates() -> None:
    """Raise ConfigError, with the cure, if this host has no certificates of authorities."""
    try:
        Transport()._tls()
    except requests.ConnectionError as error:
        raise ConfigError(f"no TLS connection can be verified: {error}") from error


@lru_cache(1)
def _tls(ca_file: str, folder: str | None, _changed: int) -> ssl.SSLContext:
    """Return the context that all connections share: loading certificates takes a MiB each time.

    The system's updates change the certificates while a daemon runs for years.
    Debian has them in a folder too, from which OpenSSL loads only those that it needs.
    """
    tls = ssl.create_default_context(cafile=None if folder else ca_file, capath=folder)
    tls.set_alpn_protocols(["http/1.1"])
    return tls


def _serialized(request: requests.PreparedRequest) -> bytes:
    head = [f"{request.method} {request.path_url} HTTP/1.1", f"Host: {urlsplit(request.url or '').netloc}"]
    head += [f"{name}: {value}" for name, value in request.headers.items()]
    body = request.body or b""
    return "\r\n".join([*head, "", ""]).encode("latin-1") + (body if isinstance(body, bytes) else body.encode())


def _to_requests(
    request: requests.PreparedRequest, received: http.client.HTTPResponse, body: bytes
) -> requests.Response:
    response = requests.Response()
    response.status_code = received.status
    response.reason = received.reason
    response.url = request.url or ""
    response.request = request
    response.headers.update(received.headers.items())
    response.raw = io.BytesIO(body)
    return response


def _out_of_time(error: Exception) -> bool:
    """Return whether the budget is used up; ETIMEDOUT is the kernel's word for a dead path."""
    return isinstance(error, TimeoutError) and error.errno != errno.ETIMEDOUT


def _failure(error: Exception, budget: Budget, seconds: float) -> requests.RequestException:
    if isinstance(error, NameTimeout):
        return requests.Timeout(f"{error}: {seconds:g} s; check the name server (/etc/resolv.conf)")
    if isinstance(error, TimeoutError):
        return requests.Timeout(f"no complete response within {seconds:g} s")
    text = f"{type(error).__name__}: {error}" if isinstance(error, http.client.HTTPException) else str(error)
    if isinstance(error, ResponseTooLong):
        return MalformedResponse(f"the response is too long: {text}")
    if budget.sent:
        return MalformedResponse(f"the response is missing, cut off or not HTTP: {text}")
    return requests.ConnectionError(text)
