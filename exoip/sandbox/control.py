"""The control interface of a simulated zone: unsigned JSON, for tests in other processes and for
people.

    GET    /sandbox/state                 instances, holders, faults, latencies, counts
    GET    /sandbox/record?since=INDEX    {"entries": […], "next": INDEX, "now", "wall"}
    POST   /sandbox/fault                 the fields of `faults.Fault`, its `match` an object;
                                          `for` seconds instead of `until`;
                                          returns {"fault": NUMBER}
    DELETE /sandbox/fault[?fault=NUMBER]  remove one fault, or all (also: /sandbox/faults)
    POST   /sandbox/latency               {"seconds": 0.1, "key": "EXO…"}; no key: all others
    POST   /sandbox/instance              {"do": "add", "name": "d", "public_ip": "127.0.0.14",
                                           "groups": ["web"]}
                                          {"do": "remove" | "attach" | "detach", "instance": NAME}
                                          {"do": "state", "instance": …, "state": "stopped"}
                                          {"do": "join" | "leave", "instance": …, "group": "web"}
    POST   /sandbox/key                   {"name": "EXO…", "secret": "…", "refused": [OPERATION, …]}
    POST   /sandbox/settings              {"operation_seconds": 0.2, "ip_filter": false,
                                           "bare_groups": true, "groups_listed": false,
                                           "detach_unattached":
                                           "404" | "409" | "operation" | "success"}

`attach` and `detach` here act at once, without a call to the API. Wrong input gets 400 and a
message that names it. Pure, as the zone is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from exoip.sandbox.faults import Fault, Match
from exoip.sandbox.model import Invalid, NotFound, Operation, ZoneError
from exoip.sandbox.responses import Response, error_response, json_response
from exoip.sandbox.zone import Zone

UNATTACHED = ("404", "409", "operation", "success")


def handle(zone: Zone, method: str, path: str, query: dict[str, str], body: bytes, now: float) -> Response:
    """Answer one control request at `now`."""
    try:
        zone.advance(now)
        if method == "GET" and path == "/sandbox/state":
            return json_response(state(zone, now))
        if method == "GET" and path == "/sandbox/record":
            return json_response(record(zone, _whole(query.get("since", "0")), now))
        if method == "DELETE" and path in ("/sandbox/fault", "/sandbox/faults"):
            zone.clear_faults(now, _whole(query["fault"]) if "fault" in query else None)
            return json_response({})
        if method == "POST" and path in _POSTS:
            return json_response(_POSTS[path](zone, _object(body), now))
        raise NotFound(f"no such control: {method} {path}")
    except ZoneError as error:
        return error_response(error)
    except (TypeError, ValueError, KeyError) as error:
        return error_response(Invalid(f"{method} {path}: {type(error).__name__}: {error}"))


def state(zone: Zone, now: float) -> dict[str, Any]:
    """Return the state at `now` as JSON data."""
    names = {group.id: group.name for group in zone.security_groups()}
    counts = zone.record.count()
    return {
        "name": zone.name,
        "now": now,
        "wall": _wall(zone, now),
        "endpoint": zone.endpoint,
        "elastic_ips": [
            {"id": eip.id, "ip": eip.ip, "cidr": eip.cidr, "holders": sorted(zone.holders(now, eip.id))}
            for eip in zone.elastic_ips()
        ],
        "instances": [
            {
                "id": one.id,
                "name": one.name,
                "state": one.state,
                "public_ip": one.public_ip,
                "ipv6": one.ipv6,
                "groups": sorted(names[group] for group in one.security_groups),
                "elastic_ips": sorted(one.elastic_ips),
            }
            for one in zone.instances(now)
        ],
        "pending": [_pending(one) for one in zone.operations(now) if one.state == "pending"],
        "faults": {number: fault.as_dict() for number, fault in zone.faults.active(now).items()},
        "latencies": zone.latencies(),
        "keys": sorted(zone.keys),
        "operation_seconds": zone.operation_seconds,
        "counts": asdict(counts),
        "next": len(zone.record),
    }


def _pending(operation: Operation) -> dict[str, Any]:
    """Return a pending operation as JSON data, which has no infinity: `completes` is None if it
    never ends.
    """
    return asdict(operation) | {"completes": operation.completes if operation.completes < math.inf else None}


def record(zone: Zone, since: int, now: float) -> dict[str, Any]:
    """Return the record from an index on as JSON data."""
    entries = [entry.as_dict() for entry in zone.record.since(since)]
    return {"entries": entries, "next": len(zone.record), "now": now, "wall": _wall(zone, now)}


def _fault(zone: Zone, data: dict[str, Any], now: float) -> dict[str, Any]:
    lasts = data.pop("for", None)
    match = Match(**data.pop("match", {}))
    if lasts is not None:
        data["until"] = now + float(lasts)
    return {"fault": zone.add_fault(Fault(match=match, **data), now)}


def _latency(zone: Zone, data: dict[str, Any], _now: float) -> dict[str, Any]:
    zone.set_latency(float(data["seconds"]), str(data.get("key", "")))
    return {}


def _key(zone: Zone, data: dict[str, Any], _now: float) -> dict[str, Any]:
    zone.add_key(str(data["name"]), str(data["secret"]), tuple(data.get("refused", ())))
    return {}


def _settings(zone: Zone, data: dict[str, Any], _now: float) -> dict[str, Any]:
    kinds: dict[str, Callable[[Any], bool]] = {
        "operation_seconds": lambda value: isinstance(value, int | float) and 0 <= value < math.inf,
        "ip_filter": lambda value: isinstance(value, bool),
        "bare_groups": lambda value: isinstance(value, bool),
        "groups_listed": lambda value: isinstance(value, bool),
        "detach_unattached": lambda value: value in UNATTACHED,
    }
    for name, value in data.items():
        if name not in kinds or not kinds[name](value):
            raise Invalid(f"setting {name} = {value!r} is not allowed")
    for name, value in data.items():
        setattr(zone, name, value)
    return {}


def _instance(zone: Zone, data: dict[str, Any], now: float) -> dict[str, Any]:
    do = data.pop("do")
    if do == "add":
        groups = tuple(data.pop("groups", ()))
        return {"instance": zone.add_instance(data.pop("name"), now, groups=groups, **data).id}
    one = zone.instance_named(data["instance"], now).id
    if do == "remove":
        zone.remove_instance(one, now)
    elif do == "state":
        zone.set_state(one, data["state"], now)
    elif do == "join":
        zone.join_group(one, data["group"], now)
    elif do == "leave":
        zone.leave_group(one, data["group"], now)
    elif do in ("attach", "detach"):
        zone.force(one, do == "attach", now)
    else:
        raise Invalid(f"do = {do!r} is none of add, remove, state, join, leave, attach, detach")
    return {"instance": one}


_POSTS: dict[str, Callable[[Zone, dict[str, Any], float], dict[str, Any]]] = {
    "/sandbox/fault": _fault,
    "/sandbox/latency": _latency,
    "/sandbox/instance": _instance,
    "/sandbox/key": _key,
    "/sandbox/settings": _settings,
}


def _wall(zone: Zone, now: float) -> float | None:
    return None if zone.record.wall_offset is None else now + zone.record.wall_offset


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise Invalid(f"{text!r} is not a whole number")
    return int(text)


def _object(body: bytes) -> dict[str, Any]:
    data = json.loads(body)
    if not isinstance(data, dict):
        raise Invalid(f"the body must be a JSON object, not {type(data).__name__}")
    return data
