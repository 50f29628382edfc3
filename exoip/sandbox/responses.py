"""What a call to a simulated zone is answered with, errors and the damage done by faults included. Pure."""

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
    """What goes back. Status 0: nothing, the connection just closes. `cut`: it closes half-way through the body."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    retry_after: float | None = None
    cut: bool = False

    @property
    def sent(self) -> bytes:
        """The part of the body that is really sent."""
        return self.body[: len(self.body) // 2] if self.cut else self.body

    def json(self) -> Any:
        """The body as data. Raises ValueError when it is no JSON, or cut off."""
        return json.loads(self.sent)


def json_response(data: Any, status: int = 200) -> Response:
    return Response(status, json.dumps(data).encode())


def error_response(error: ZoneError) -> Response:
    """The zone's refusal, in the form that the real API gives to each status."""
    status = STATUS.get(type(error), 500)
    data: dict[str, Any] = {"message": str(error)}
    if status == HTTPStatus.BAD_REQUEST:
        data["errors"] = [{"message": str(error)}]
    return json_response(data, status)


def damage(fault: Fault, answer: Response) -> Response:
    """The answer as the caller gets it once the fault has hit it."""
    if fault.kind == "status":
        return _refusal(fault)
    if fault.kind == "drop" or (fault.kind == "hang" and fault.when == "instead"):
        return Response(0)
    if fault.kind == "garbage":
        return Response(200, GARBAGE, "text/html")
    if fault.kind == "half":
        return replace(answer, cut=True)
    return answer


def _refusal(fault: Fault) -> Response:
    title = HTTPStatus(fault.status).phrase if fault.status in set(HTTPStatus) else f"status {fault.status}"
    message = fault.message or f"{title} (ordered by the sandbox)"
    if fault.form == "text":
        answer = Response(fault.status, message.encode(), "text/plain; charset=utf-8")
    elif fault.form == "problem":
        problem = {"type": "about:blank", "title": title, "status": fault.status, "detail": message}
        answer = Response(fault.status, json.dumps(problem).encode(), "application/problem+json")
    else:
        answer = json_response({"message": message}, fault.status)
    return replace(answer, retry_after=fault.retry_after)
