"""The sandbox held to the real thing: the official SDK works against it unchanged, and every answer
it gives is one that the official OpenAPI description (it ships with the SDK) allows.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import jsonschema
import pytest
import requests
from exoscale.api.exceptions import (
    ExoscaleAPIAuthException,
    ExoscaleAPIClientException,
    ExoscaleAPIServerException,
)
from exoscale.api.v2 import Client
from exoscale_auth import ExoscaleV2Auth

from exoip.sandbox.faults import Fault
from exoip.sandbox.routes import ROUTES
from exoip.sandbox.server import SandboxServer
from exoip.sandbox.zone import Zone
from tests.support.waiting import until

EIP = "198.51.100.50"
IP_V6, PREFIX = "2001:db8:0:1::1", "2001:db8:0:1::/96"
POOL = "01234567-89ab-cdef-0123-456789abcdef"
NOWHERE = "00000000-0000-0000-0000-000000000000"


def closed(schema: Any) -> Any:
    """The schema with every object held to the properties it names, so that a misspelt field does
    not slip through.
    """
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {name: closed(part) for name, part in schema.items()}
    if isinstance(schema.get("properties"), dict) and "additionalProperties" not in schema:
        strict["additionalProperties"] = False
    return strict


SPEC = json.loads((files("exoscale") / "openapi.json").read_text())
COMPONENTS = closed(copy.deepcopy(SPEC["components"]))
OPERATIONS = {
    operation["operationId"]: (method.upper(), path, operation)
    for path, methods in SPEC["paths"].items()
    for method, operation in methods.items()
}


def check(operation: str, data: Any) -> None:
    """Raise if `data` is not what the description lets the operation answer."""
    content = OPERATIONS[operation][2]["responses"]["200"]["content"]["application/json"]["schema"]
    schema = {**closed(content), "components": COMPONENTS}
    jsonschema.Draft4Validator(schema, format_checker=jsonschema.FormatChecker()).validate(data)


def operation_of(method: str, path: str) -> str:
    """The operation that the description has for a request, found by its own paths."""
    for name, (its_method, template, _) in OPERATIONS.items():
        pattern = re.sub(r"\\\{[^}]+\\\}", "[^/:]+", re.escape(template))
        if its_method == method and re.fullmatch(f"/v2{pattern}", path):
            return name
    raise LookupError(f"{method} {path}")


@pytest.fixture
def server() -> Iterator[SandboxServer]:
    """A zone with every kind of instance: public, dual, private, pooled."""
    zone = Zone(eip=EIP, operation_seconds=0.05)
    zone.add_elastic_ip(PREFIX)
    zone.add_instance("a", public_ip="127.0.0.11", groups=("web", "db"), labels=(("role", "front"),))
    zone.add_instance("b", public_ip="127.0.0.12", ipv6="2001:db8::12", groups=("web",))
    zone.add_instance("c", private_networks=frozenset({NOWHERE}), state="stopped")
    zone.add_instance("d", public_ip="127.0.0.14", pool=POOL)
    zone.add_key("EXOa", "secret")
    with SandboxServer(zone) as running:
        yield running


@pytest.fixture
def checked() -> list[str]:
    """The operations whose answers were checked against the description."""
    return []


@pytest.fixture
def client(server: SandboxServer, checked: list[str]) -> Iterator[Client]:
    """The official client as it comes; each 200 it gets is checked on its way."""
    made = Client("EXOa", "secret", url=server.endpoint)

    def look(response: requests.Response, *_: Any, **__: Any) -> None:
        if response.status_code == 200:
            name = operation_of(str(response.request.method), response.request.path_url.partition("?")[0])
            check(name, response.json())
            checked.append(name)

    made.http_client.hooks["response"].append(look)
    yield made
    made.http_client.close()


def ident(server: SandboxServer, name: str) -> str:
    with server.lock:
        return server.zone.instance_named(name, server.now()).id


def test_the_check_catches_what_is_wrong() -> None:
    good = {"id": NOWHERE, "state": "pending", "reference": {"id": NOWHERE, "link": "/x", "command": "y"}}
    check("get-operation", good)
    for wrong in (
        {**good, "state": "done"},
        {**good, "id": "7"},
        {**good, "reason": "tired"},
        {**good, "colour": "red"},
        {**good, "reference": {"id": NOWHERE, "href": "/x"}},
        [],
    ):
        with pytest.raises(jsonschema.ValidationError):
            check("get-operation", wrong)
    with pytest.raises(jsonschema.ValidationError):
        check("list-instances", {"instances": [{"elastic-ips": []}]})


def test_every_route_of_the_sandbox_is_one_of_the_description() -> None:
    for name, (method, pattern) in ROUTES.items():
        its_method, template, _ = OPERATIONS[name]
        assert method == its_method
        assert re.fullmatch(pattern, template.replace("{id}", NOWHERE))


def test_lists_and_gets(server: SandboxServer, client: Client, checked: list[str]) -> None:
    zones = client.list_zones()  # the SDK asks this one without its session, so the hook does not see it
    check("list-zones", zones)
    assert zones["zones"] == [{"name": "ch-gva-2", "api-endpoint": server.endpoint}]
    eips = client.list_elastic_ips()["elastic-ips"]
    assert [(eip["ip"], eip["addressfamily"], eip["cidr"]) for eip in eips] == [
        (EIP, "inet4", f"{EIP}/32"),
        (IP_V6, "inet6", PREFIX),
    ]
    assert client.get_elastic_ip(id=eips[0]["id"]) == eips[0]
    instances = {one["name"]: one for one in client.list_instances()["instances"]}
    assert [instances[name]["public-ip-assignment"] for name in "abcd"] == ["inet4", "dual", "none", "inet4"]
    assert "public-ip" not in instances["c"]
    for name, listed in instances.items():
        alone = client.get_instance(id=listed["id"])
        assert alone["name"] == name
        assert alone["elastic-ips"] == []
        assert "elastic-ips" not in listed
    with server.lock:
        server.zone.let_in("web", "udp", 12345, 12345, source="db")
        server.zone.let_in("web", "tcp", 22, 22, network="192.0.2.0/24")
    groups = client.list_security_groups()["security-groups"]
    assert [rule.get("network") for rule in groups[0]["rules"]] == [None, "192.0.2.0/24"]
    assert [client.get_security_group(id=group["id"])["name"] for group in groups] == ["web", "db"]
    assert {group["name"] for group in instances["a"]["security-groups"]} == {"db", "web"}
    assert set(checked) == set(ROUTES) - {
        "list-zones",
        "get-operation",
        "attach-instance-to-elastic-ip",
        "detach-instance-from-elastic-ip",
    }


@pytest.mark.slow
def test_attach_wait_and_detach(server: SandboxServer, client: Client, checked: list[str]) -> None:
    eip, a = server.zone.eip.id, ident(server, "a")
    operation = client.attach_instance_to_elastic_ip(id=eip, instance={"id": a})
    assert operation["state"] == "pending"
    assert operation["reference"] == {"id": eip, "link": f"/v2/elastic-ip/{eip}", "command": "get-elastic-ip"}
    until(lambda: client.get_operation(id=operation["id"])["state"] == "success", "success")
    assert client.wait(operation["id"])["state"] == "success"
    assert client.get_instance(id=a)["elastic-ips"] == [{"id": eip}]
    assert [one["id"] for one in client.list_instances(ip_address=EIP)["instances"]] == [a]
    # The SDK looks, finds it pending, and looks again three seconds later
    again = client.detach_instance_from_elastic_ip(id=eip, instance={"id": a})
    assert client.wait(again["id"], max_wait_time=60)["state"] == "success"
    assert client.get_instance(id=a)["elastic-ips"] == []
    assert {"attach-instance-to-elastic-ip", "detach-instance-from-elastic-ip", "get-operation"} <= set(checked)


def test_a_prefix_goes_to_an_instance_with_ipv6(server: SandboxServer, client: Client, checked: list[str]) -> None:
    (prefix,) = [eip for eip in client.list_elastic_ips()["elastic-ips"] if eip["addressfamily"] == "inet6"]
    with pytest.raises(ExoscaleAPIClientException, match=r"409: .*no IPv6"):
        client.attach_instance_to_elastic_ip(id=prefix["id"], instance={"id": ident(server, "a")})
    b = ident(server, "b")
    client.attach_instance_to_elastic_ip(id=prefix["id"], instance={"id": b})
    until(lambda: client.get_instance(id=b)["elastic-ips"] == [{"id": prefix["id"]}], "b holds it")
    assert [one["id"] for one in client.list_instances(ip_address=IP_V6)["instances"]] == [b]
    assert {"list-elastic-ips", "attach-instance-to-elastic-ip", "get-instance", "list-instances"} <= set(checked)


@pytest.mark.parametrize(
    ("fault", "told"),
    [(Fault("operation-failure", reason="busy"), "failure, busy"), (Fault("operation-timeout"), "timeout, unknown")],
)
def test_the_sdk_reports_an_operation_that_fails(
    server: SandboxServer, client: Client, fault: Fault, told: str
) -> None:
    with server.lock:
        server.zone.add_fault(fault, server.now())
    operation = client.attach_instance_to_elastic_ip(id=server.zone.eip.id, instance={"id": ident(server, "a")})
    until(lambda: client.get_operation(id=operation["id"])["state"] != "pending", "an end")
    with pytest.raises(ExoscaleAPIServerException, match=told):
        client.wait(operation["id"])
    assert server.holders() == frozenset()


def test_the_sdk_reports_what_the_sandbox_refuses(server: SandboxServer, client: Client) -> None:
    eip, a = server.zone.eip.id, ident(server, "a")
    with pytest.raises(ExoscaleAPIClientException, match=r"404: .*not attached"):
        client.detach_instance_from_elastic_ip(id=eip, instance={"id": a})
    with pytest.raises(ExoscaleAPIClientException, match=r"404: .*not found"):
        client.attach_instance_to_elastic_ip(id=eip, instance={"id": NOWHERE})
    with pytest.raises(ExoscaleAPIClientException, match=r"400: .*not a UUID"):
        client.get_instance(id="7")
    with pytest.raises(ExoscaleAPIClientException, match="404"):
        client.list_templates()
    client.http_client.auth = ExoscaleV2Auth("EXOa", "wrong")
    with pytest.raises(ExoscaleAPIAuthException, match="Invalid signature"):
        client.list_instances()
