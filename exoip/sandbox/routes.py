"""The calls of API v2 that a simulated zone supports. Pure.

Only those that exoip and its users need; all others get 404. Operations have the names of the
official OpenAPI description, as in roles.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from exoip.sandbox import json_views
from exoip.sandbox.faults import Fault
from exoip.sandbox.model import Call, Invalid, NotFound, canonical_id
from exoip.sandbox.responses import Response, json_response
from exoip.sandbox.zone import Plan, Zone

ROUTES = {
    "list-zones": ("GET", r"/zone"),
    "list-elastic-ips": ("GET", r"/elastic-ip"),
    "get-elastic-ip": ("GET", r"/elastic-ip/([^/:]+)"),
    "attach-instance-to-elastic-ip": ("PUT", r"/elastic-ip/([^/:]+):attach"),
    "detach-instance-from-elastic-ip": ("PUT", r"/elastic-ip/([^/:]+):detach"),
    "list-instances": ("GET", r"/instance"),
    "get-instance": ("GET", r"/instance/([^/:]+)"),
    "get-operation": ("GET", r"/operation/([^/:]+)"),
    "list-security-groups": ("GET", r"/security-group"),
    "get-security-group": ("GET", r"/security-group/([^/:]+)"),
}
_COMPILED = {name: (method, re.compile(pattern)) for name, (method, pattern) in ROUTES.items()}


def route(call: Call) -> tuple[str, tuple[str, ...]]:
    """Return the OpenAPI operation of the call and the ids in its path, or ("", ())."""
    for operation, (method, pattern) in _COMPILED.items():
        found = pattern.fullmatch(call.path)
        if found and call.method == method:
            return operation, found.groups()
    return "", ()


def named_instance(call: Call) -> str:
    """Return the instance in the call's body or path, for the record; "" if there is none."""
    operation, ids = route(call)
    if operation == "get-instance":
        return ids[0]
    try:
        return _instance_in(call.body)
    except Invalid:
        return ""


def respond(zone: Zone, call: Call, now: float, fault: Fault | None = None) -> Response:
    """Return the API's response to the call at `now`. Raises ZoneError if it rejects the call."""
    operation, ids = route(call)
    if not operation:
        raise NotFound(f"no such route: {call.method} {call.path}")
    zone.permit(call.key, operation)
    if call.mutates:
        return json_response(_mutate(zone, call, now, operation, ids[0], fault))
    return json_response(_read(zone, call, now, operation, ids))


def _read(zone: Zone, call: Call, now: float, operation: str, ids: tuple[str, ...]) -> Any:
    """Return what a call that reads returns, as JSON data."""
    match operation:
        case "list-zones":
            return {"zones": [json_views.zone(zone)]}
        case "list-elastic-ips":
            return {"elastic-ips": [json_views.elastic_ip(eip) for eip in zone.elastic_ips()]}
        case "get-elastic-ip":
            return json_views.elastic_ip(zone.elastic_ip(canonical_id(ids[0], "Elastic IP")))
        case "list-instances":
            return {"instances": _instances(zone, call, now)}
        case "get-instance":
            return json_views.instance(zone, zone.instance(canonical_id(ids[0], "instance"), now))
        case "get-operation":
            return json_views.operation(zone.operation(canonical_id(ids[0], "operation"), now))
        case "list-security-groups":
            return {"security-groups": [json_views.security_group(group) for group in zone.security_groups()]}
        case _:
            return json_views.security_group(zone.security_group(canonical_id(ids[0], "security group")))


def _instances(zone: Zone, call: Call, now: float) -> list[Any]:
    query = dict(call.query)
    unknown = sorted(set(query) - {"ip-address", "manager-id", "manager-type"})
    if unknown:
        raise Invalid(f"this sandbox does not support the query parameter {', '.join(unknown)}")
    if ("manager-id" in query) != ("manager-type" in query):
        raise Invalid("manager-id and manager-type go together")
    found = zone.instances(now, query.get("ip-address"), query.get("manager-id"))
    left_out = "" if zone.groups_listed else "security-groups"
    views = (json_views.instance_in_list(zone, instance) for instance in found)
    return [{name: value for name, value in view.items() if name != left_out} for view in views]


def _mutate(zone: Zone, call: Call, now: float, operation: str, eip_id: str, fault: Fault | None) -> Any:
    """Attach or detach, with an operation as the fault demands."""
    eip_id = canonical_id(eip_id, "Elastic IP")
    instance_id = canonical_id(_instance_in(call.body), "instance")
    plan: Plan = {"key": call.key}
    if fault is not None and fault.kind.startswith("operation-"):
        plan["seconds"] = math.inf if fault.kind == "operation-never" else fault.seconds
        plan["reason"] = fault.reason if fault.kind in ("operation-failure", "operation-timeout") else ""
        plan["expires"] = fault.kind == "operation-timeout"
    start = zone.attach if operation == "attach-instance-to-elastic-ip" else zone.detach
    return json_views.operation(start(eip_id, instance_id, now, **plan))


def _instance_in(body: bytes) -> str:
    """Return the instance id in the body of an attach or a detach. Raises Invalid."""
    try:
        data = json.loads(body)
    except ValueError as error:
        raise Invalid(f"the body is not JSON: {error}") from None
    instance = data.get("instance") if isinstance(data, dict) else None
    instance_id = instance.get("id") if isinstance(instance, dict) else None
    if not isinstance(instance_id, str):
        raise Invalid('the body must be {"instance": {"id": "…"}}')
    return instance_id
