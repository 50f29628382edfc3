"""The lifecycle of a call, without its transport: it arrives, takes effect, gets its response.

Pure.

The driver (a thread in real time, a simulator in virtual time) waits in between, and may have any
number of pending calls:

    ticket = begin(zone, call, now)         it arrives and is recorded; its fault, if any, is chosen
    …wait ticket.before seconds…
    answer = perform(zone, ticket, now)     it takes effect (unless a fault replaces that)
    …wait ticket.after seconds…
    end(zone, ticket, answer, now)          its response is sent, or the connection closes
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from exoip.sandbox.faults import Fault
from exoip.sandbox.model import Call, NotFound, ZoneError
from exoip.sandbox.responses import Response, damage, error_response, json_response
from exoip.sandbox.routes import named_instance, respond, route
from exoip.sandbox.zone import Zone

Handler = Callable[[Zone, Call, float, Fault | None], Response]


@dataclass(frozen=True, slots=True)
class Ticket:
    """A pending call: `before` and `after` are the seconds to wait around `perform`."""

    call: Call
    index: int
    arrived: float
    operation: str
    instance: str
    fault: Fault | None
    before: float
    after: float


def begin(zone: Zone, call: Call, now: float) -> Ticket:
    """Record a call that arrives, choose its fault and how long it takes."""
    zone.advance(now)
    api = call.service == "api"
    operation, instance = (route(call)[0], named_instance(call)) if api else (call.service, "")
    entry = zone.record.add(
        "call" if api else "metadata",
        now,
        key=call.key,
        method=call.method,
        path=call.path,
        operation=operation,
        instance=instance,
    )
    fault = zone.faults.pick(call, now)
    before = after = zone.latency(call.key) / 2 if api else 0.0
    if fault is not None and fault.kind == "hang":
        held = fault.seconds or 0.0
        before, after = (before, after + held) if fault.when == "after" else (before + held, after)
    return Ticket(call, entry.index, now, operation, instance, fault, before, after)


def perform(zone: Zone, ticket: Ticket, now: float, handler: Handler = respond) -> Response:
    """Let the call take effect, unless its fault replaces that; return its response after the
    fault.

    `handler` replaces the API: the metadata service, or the API with its signature check.
    """
    fault = ticket.fault
    if fault is not None and fault.when == "instead":
        return damage(fault, json_response({}))
    try:
        answer = handler(zone, ticket.call, now, fault)
    except ZoneError as error:
        answer = error_response(error)
    return answer if fault is None else damage(fault, answer)


def end(zone: Zone, ticket: Ticket, answer: Response, now: float) -> None:
    """Record the end of the call."""
    zone.advance(now)
    fault = ticket.fault
    zone.record.add(
        "answer",
        now,
        key=ticket.call.key,
        method=ticket.call.method,
        path=ticket.call.path,
        operation=ticket.operation,
        instance=ticket.instance,
        status=answer.status,
        outcome=("ok" if answer.status == 200 else "refused") if fault is None else f"{fault.kind} {fault.when}",
        call=ticket.index,
        arrived=ticket.arrived,
    )


_METADATA = re.compile(r"(?:/metadata/([^/]+))?/latest/meta-data/([a-z0-9-]*)")


def is_metadata(path: str) -> bool:
    return path.startswith(("/latest/", "/metadata/"))


def metadata_for(client: str) -> Handler:
    """Return a handler for the instance with the public address `client`, unless the path names
    another.

    The real service knows an instance by its address. A prefix tells instances on one address
    apart: `/metadata/INSTANCE-ID/latest/meta-data/…`.
    """

    def handle(zone: Zone, call: Call, now: float, _fault: Fault | None) -> Response:
        found = _METADATA.fullmatch(call.path)
        if found is None or call.method != "GET":
            raise NotFound(f"no such metadata: {call.method} {call.path}")
        named, item = found.groups()
        instances = zone.instances(now)
        asking = [i for i in instances if (named in (i.id, i.name) if named else i.public_ip == client)]
        if not asking:
            raise NotFound(f"no instance is {named or client}")
        values = {
            "instance-id": asking[0].id,
            "availability-zone": zone.name,
            "local-hostname": asking[0].name,
            "public-ipv4": asking[0].public_ip or "",
        }
        values[""] = "\n".join(sorted(values))
        if item not in values:
            raise NotFound(f"no such metadata: {item}")
        return Response(200, values[item].encode(), "text/plain; charset=utf-8")

    return handle
