"""The objects of a simulated zone as JSON, as API v2 returns them. Pure.

Each conforms to the official OpenAPI description, see `tests/unit/sandbox/test_sdk.py`. As in the
real API an Elastic IP does not name its holders, and only a single instance, not a list, names its
Elastic IPs.
"""

from __future__ import annotations

import hashlib
from typing import Any

from exoip.sandbox import model
from exoip.sandbox.model import make_id
from exoip.sandbox.zone import COMMANDS, Zone

_TYPE_ID = make_id("instance-type", "standard.tiny")
_TEMPLATE_ID = make_id("template", "debian-12")


def zone(one: Zone) -> dict[str, Any]:
    return {"name": one.name, "api-endpoint": one.endpoint}


def elastic_ip(eip: model.ElasticIp) -> dict[str, Any]:
    return {
        "id": eip.id,
        "ip": eip.ip,
        "addressfamily": f"inet{eip.version}",
        "cidr": eip.cidr,
        "description": eip.description,
        "labels": {},
    }


def security_group(group: model.SecurityGroup) -> dict[str, Any]:
    rules = [_rule(group, number, rule) for number, rule in enumerate(group.rules)]
    return {
        "id": group.id,
        "name": group.name,
        "description": "",
        "external-sources": [*group.external_sources],
        "rules": rules,
    }


def _rule(group: model.SecurityGroup, number: int, rule: model.Rule) -> dict[str, Any]:
    data = {
        "id": make_id(group.id, "rule", number),
        "flow-direction": "ingress",
        "protocol": rule.protocol,
        "start-port": rule.first,
        "end-port": rule.last,
    }
    source = {"security-group": {"id": rule.group}} if rule.group else {"network": rule.network}
    return data | source


def instance_in_list(one: Zone, instance: model.Instance) -> dict[str, Any]:
    """Return an instance as in `GET /instance`: its security groups by id and name, and no Elastic
    IPs.
    """
    groups = [one.security_group(group_id) for group_id in sorted(instance.security_groups)]
    data: dict[str, Any] = {
        "id": instance.id,
        "name": instance.name,
        "state": instance.state,
        "created-at": "2024-01-01T00:00:00Z",
        "public-ip-assignment": _assignment(instance),
        "mac-address": _mac(instance.id),
        "labels": dict(instance.labels),
        "instance-type": {"id": _TYPE_ID},
        "template": {"id": _TEMPLATE_ID},
        "security-groups": [{"id": group.id, "name": group.name} for group in groups],
        "private-networks": [
            {"id": network, "mac-address": _mac(instance.id + network)} for network in sorted(instance.private_networks)
        ],
    }
    if instance.public_ip is not None:
        data["public-ip"] = instance.public_ip
    if instance.ipv6 is not None:
        data["ipv6-address"] = instance.ipv6
    if instance.pool:
        data["manager"] = {"id": instance.pool, "type": "instance-pool"}
    return data


def instance(one: Zone, instance: model.Instance) -> dict[str, Any]:
    """Return an instance as in `GET /instance/{id}`: with its Elastic IPs."""
    data = instance_in_list(one, instance)
    if one.bare_groups:
        data["security-groups"] = [{"id": group["id"]} for group in data["security-groups"]]
    data["elastic-ips"] = [{"id": eip_id} for eip_id in sorted(instance.elastic_ips)]
    data["disk-size"] = 10
    return data


def operation(operation: model.Operation) -> dict[str, Any]:
    data: dict[str, Any] = {
        "id": operation.id,
        "state": operation.state,
        "reference": {"id": operation.eip, "link": f"/v2/elastic-ip/{operation.eip}", "command": "get-elastic-ip"},
    }
    if operation.state in ("failure", "timeout"):
        data["reason"] = operation.reason or "unknown"
        data["message"] = f"{COMMANDS[operation.action]} ended in {operation.state}: {data['reason']}"
    return data


def _assignment(instance: model.Instance) -> str:
    if instance.public_ip is None:
        return "none"
    return "inet4" if instance.ipv6 is None else "dual"


def _mac(seed: str) -> str:
    """Return a locally administered MAC address that depends only on the seed."""
    digest = hashlib.sha256(seed.encode()).digest()
    return ":".join(f"{octet:02x}" for octet in (0x0A, *digest[:5]))
