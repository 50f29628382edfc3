"""A call's life in a simulated zone, transport aside: it arrives, takes effect, is answered. Pure.

Whoever drives it (a thread in real time, a simulator in virtual time) waits in between, and may have any number of
calls under way:

    ticket = begin(zone, call, now)         it arrives and is recorded; its fault, if any, is chosen
    …wait ticket.before seconds…
    answer = perform(zone, ticket, now)     it takes effect (unless its fault stands in front of the zone)
    …wait ticket.after seconds…
    end(zone, ticket, answer, now)          it is answered, or its connection drops (answer.status is 0)
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
    """A call under way: `before` and `after` are the seconds to wait around `perform`."""

    call: Call
    index: int
    arrived: float
    operation: str
    instance: str
    fault: Fault | None
    before: float
    after: float


def begin(zone: Zone, call: Call, now: float) -> Ticket:
    """A call arrives: record it, choose its fault, say how long it takes."""
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
    """The call takes effect, unless its fault stands in front of the zone; returns its answer, damaged if so ordered.

    `handler` stands in for the API proper: the metadata service, or a signature that is refused.
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
    """The call is over: record how."""
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
    """Return a handler that answers the instance whose public address is `client`, unless the path names another.

    The real service knows an instance by the address it asks from. Nodes that share one address are
    told apart by a prefix: `/metadata/INSTANCE-ID/latest/meta-data/…`.
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
