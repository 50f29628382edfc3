"""Responses to calls: data, errors, and what faults make of them. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any

from exoip.sandbox.faults import Fault
from exoip.sandbox.model import Conflict, Forbidden, Invalid, NotFound, Unauthenticated, ZoneError

STATUS: dict[type[ZoneError], int] = {
    Invalid: 400,
    Unauthenticated: 401,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
}
GARBAGE = b"<html><head><title>502 Bad Gateway</title></head><body>\x00\xff{{{"


@dataclass(frozen=True, slots=True)
class Response:
    """A response.

    Status 0: none, the connection closes. `cut`: it closes half-way through the body.
    """

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    retry_after: float | None = None
    cut: bool = False

    @property
    def sent(self) -> bytes:
        """The part of the body that is sent."""
        return self.body[: len(self.body) // 2] if self.cut else self.body

    def json(self) -> Any:
        """Return the body as data. Raises ValueError if it is not JSON, or cut off."""
        return json.loads(self.sent)


def json_response(data: Any, status: int = 200) -> Response:
    """Return the data as JSON."""
    return Response(status, json.dumps(data).encode())


def error_response(error: ZoneError) -> Response:
    """Return the response to a call that the zone rejects, in the form that the real API uses for
    its status.
    """
    status = STATUS.get(type(error), 500)
    data: dict[str, Any] = {"message": str(error)}
    if status == HTTPStatus.BAD_REQUEST:
        data["errors"] = [{"message": str(error)}]
    return json_response(data, status)


def damage(fault: Fault, response: Response) -> Response:
    """Return the response as it is after the fault."""
    if fault.kind == "status":
        return _error_of(fault)
    if fault.kind == "drop" or (fault.kind == "hang" and fault.when == "instead"):
        return Response(0)
    if fault.kind == "garbage":
        return Response(200, GARBAGE, "text/html")
    if fault.kind == "half":
        return replace(response, cut=True)
    return response


def _error_of(fault: Fault) -> Response:
    title = HTTPStatus(fault.status).phrase if fault.status in set(HTTPStatus) else f"status {fault.status}"
    message = fault.message or f"{title} (injected by the sandbox)"
    if fault.form == "text":
        response = Response(fault.status, message.encode(), "text/plain; charset=utf-8")
    elif fault.form == "problem":
        problem = {"type": "about:blank", "title": title, "status": fault.status, "detail": message}
        response = Response(fault.status, json.dumps(problem).encode(), "application/problem+json")
    else:
        response = json_response({"message": message}, fault.status)
    return replace(response, retry_after=fault.retry_after)
