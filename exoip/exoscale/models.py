"""Define the API's answers as frozen dataclasses that cannot be made from nonsense.

Each field names its key in the JSON object and the function that parses its value. The API's
description requires no field, so one that is absent or null has its default. A value of the wrong
type, or an id that is not a UUID, raises ValueError. Texts are cut and made one printable line.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from ipaddress import ip_interface, ip_network
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from exoip.config.addresses import elastic_network
from exoip.heartbeat.wire import UUID_PATTERN

TEXT_LIMIT = 300  # characters
_Kind = TypeVar("_Kind")


def uuid(text: object) -> str:
    """Return `text` in lower case. Raises ValueError if it is not a UUID."""
    if isinstance(text, str) and UUID_PATTERN.fullmatch(text.lower()):
        return text.lower()
    raise ValueError(f"{_shown(text)} is not a UUID")


def check_uuid(text: str) -> None:
    """Raise ValueError unless `text` is a UUID in lower case."""
    if uuid(text) != text:
        raise ValueError(f"an id is a lower-case UUID, not {text!r}")


def printable(text: str) -> str:
    """Return `text` with a "?" for each character that could steer a terminal or break a line."""
    return "".join(character if character.isprintable() else "?" for character in text)


def one_line(text: str, limit: int = TEXT_LIMIT) -> str:
    """Return any text as one printable line of at most `limit` characters."""
    line = printable(" ".join(text[: 4 * limit].split()))
    return line if len(line) <= limit else line[: limit - 1] + "…"


def json_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object in `body`. Raises ValueError."""
    try:
        return _object(json.loads(body))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{error} in {one_line(body[:400].decode('utf-8', 'replace'), 100)!r}") from None


def items(value: object) -> list[Any]:
    """Return `value`, which must be a list. Raises ValueError."""
    return _checked(value, list, "a list")


def _checked(value: object, kind: type[_Kind], name: str) -> _Kind:
    if not isinstance(value, kind):
        raise ValueError(f"{_shown(value)} is not {name}")
    return value


def _object(value: object) -> dict[str, Any]:
    return _checked(value, dict, "an object")


def _text(value: object) -> str:
    return one_line(_checked(value, str, "a text"))


def _port(value: object) -> int:
    return _checked(value, int, "a port")


def _address(value: object) -> str:
    text = _text(value)
    address = ip_interface(text).ip if text else None  # a prefix length may follow it
    return str(address) if address and not address.is_unspecified else ""


def _network(value: object) -> str:
    text = _text(value)
    return text if not text or ip_network(text, strict=False) else ""


def _networks(value: object) -> tuple[str, ...]:
    """Return the networks; only `exoipctl check` and hints need them, so odd ones are left out."""
    found = []
    for each in value if isinstance(value, list) else ():
        with contextlib.suppress(ValueError):
            found.append(_network(each))
    return tuple(filter(None, found))


def _prefix(value: object) -> str:
    """Return a network in canonical form, or "" if it is odd: the Elastic IP has its `ip` too."""
    try:
        return str(ip_network(_text(value), strict=False))
    except ValueError:
        return ""


def _id(value: object) -> str:
    return uuid(_object(value).get("id"))


def _ids(value: object) -> frozenset[str]:
    return frozenset(map(_id, items(value)))


def _ingress(value: object) -> tuple[IngressRule, ...] | None:
    """Return the rules that allow traffic in, or None if they are odd.

    Only `exoipctl check` reads them: odd rules must not keep the daemon from its peers.
    """
    try:
        rules = [rule for rule in items(value) if _object(rule).get("flow-direction") == "ingress"]
        return tuple(map(IngressRule.from_json, rules))
    except ValueError:
        return None


def _shown(value: object) -> str:
    """Return `value` as a message shows it: short, because its repr can be huge or too deep."""
    return repr(one_line(value, 60)) if isinstance(value, str) else f"a value of type {type(value).__name__}"


def _key(key: str, parse: Callable[[object], object], default: object = "") -> Any:
    """Return a field that `from_json` parses from the value of `key`, if that is not null."""
    return field(default=default, metadata={"key": key, "parse": parse})


@dataclass(frozen=True, slots=True)
class _JsonObject:
    @classmethod
    def from_json(cls, value: object) -> Self:
        """Return what the JSON `value` describes. Raises ValueError."""
        given = _object(value)
        parsed = {}
        for each in fields(cls):
            key, parse = each.metadata["key"], each.metadata["parse"]
            if given.get(key) is None and each.default is not MISSING:
                continue
            try:
                parsed[each.name] = parse(given.get(key))
            except ValueError as error:
                raise ValueError(f"{key}: {error}") from None
        return cls(**parsed)


@dataclass(frozen=True, slots=True)
class _Record(_JsonObject):
    id: str = field(metadata={"key": "id", "parse": uuid})

    def __post_init__(self) -> None:
        check_uuid(self.id)


@dataclass(frozen=True, slots=True)
class ElasticIp(_Record):
    """An Elastic IP, without its holders, which the API does not list.

    `ip`: the address in canonical form, or "". An IPv6 one is a prefix, `cidr`, and `ip` is one of
    its addresses. `cidr`: a network in canonical form, or "". `managed`: Exoscale checks the health
    of its holders, and moves its traffic itself.
    """

    ip: str = _key("ip", _address)
    cidr: str = _key("cidr", _prefix)
    managed: bool = _key("healthcheck", bool, False)

    @property
    def label(self) -> str:
        """The Elastic IP as people read it: an IPv4 address, an IPv6 prefix, or ""."""
        return self.ip and ((self.cidr or str(elastic_network(self.ip))) if ":" in self.ip else self.ip)

    def is_meant_by(self, text: str) -> bool:
        """Return whether -xi means this one: its `ip`, or its prefix with the length or without."""
        address, _, length = text.partition("/")
        first, _, own_length = self.label.partition("/")
        return address in (self.ip, first) and length in ("", own_length)


@dataclass(frozen=True, slots=True)
class InstanceRecord(_Record):
    """An instance, as the API describes it. The API does not know its private addresses.

    `state`: "running", "stopped", ... or "". Addresses are in canonical form, or "".
    `elastic_ip_ids`: the Elastic IPs that it holds, None if not said: lists of instances never do.
    `security_group_ids`: None if not said.
    """

    name: str = _key("name", _text)
    state: str = _key("state", _text)
    public_ip: str = _key("public-ip", _address)
    ipv6_address: str = _key("ipv6-address", _address)
    elastic_ip_ids: frozenset[str] | None = _key("elastic-ips", _ids, None)
    security_group_ids: frozenset[str] | None = _key("security-groups", _ids, None)

    @property
    def running(self) -> bool:
        """Whether it runs. One that is migrating is a running machine that is being moved."""
        return self.state in ("running", "migrating")

    @property
    def addresses(self) -> tuple[str, ...]:
        """The public addresses, IPv4 first."""
        return tuple(filter(None, (self.public_ip, self.ipv6_address)))

    def holds(self, eip_id: str) -> bool:
        """Return whether it holds the Elastic IP; only for an answer of `Client.instance`."""
        return eip_id in (self.elastic_ip_ids or ())

    def __str__(self) -> str:
        return f"{self.name} ({self.id})" if self.name else self.id


@dataclass(frozen=True, slots=True)
class OperationRecord(_Record):
    """The state of an attach or a detach: "pending", "success", "failure" or "timeout".

    An unknown state counts as pending. `reason` and `message`: why it failed, in the API's words.
    """

    state: str = _key("state", _text, "pending")
    reason: str = _key("reason", _text)
    message: str = _key("message", _text)

    @property
    def succeeded(self) -> bool:
        """Whether it is done."""
        return self.state == "success"

    @property
    def failed(self) -> bool:
        """Whether it has ended without success."""
        return self.state in ("failure", "timeout")


@dataclass(frozen=True, slots=True)
class IngressRule(_JsonObject):
    """What a security group allows in: `protocol` ("udp", "all", ...) to ports `first` to `last`.

    Both ports are included. The source is either the members of the group with the id `group`, or
    `network` in CIDR notation; the other one is "".
    """

    protocol: str = _key("protocol", _text)
    first: int = _key("start-port", _port, 1)
    last: int = _key("end-port", _port, 65535)
    group: str = _key("security-group", _id)
    network: str = _key("network", _network)


@dataclass(frozen=True, slots=True)
class SecurityGroup(_Record):
    """A security group. `rules`: what it allows in; None if the API does not say it clearly.

    `external_sources`: networks in CIDR notation that count as members where a rule names the
    group.
    """

    name: str = _key("name", _text)
    rules: tuple[IngressRule, ...] | None = _key("rules", _ingress, None)
    external_sources: tuple[str, ...] = _key("external-sources", _networks, ())


@dataclass(frozen=True, slots=True)
class Zone(_JsonObject):
    """A zone. `api_endpoint`: the URL of its API with `/v2`, or ""."""

    name: str = _key("name", _text)
    api_endpoint: str = _key("api-endpoint", _text)

    def same_operator_as(self, endpoint: str) -> bool:
        """Return whether signed requests for `endpoint` may go to this zone too.

        Its API must use the same scheme, and a host of the same operator.
        Shown by tests/unit/exoscale/test_discovery.py, TestElasticIp.
        """
        try:
            own, other = urlsplit(self.api_endpoint), urlsplit(endpoint)
        except ValueError:
            return False
        exoscale = all((url.hostname or "").endswith(".exoscale.com") for url in (own, other))
        return own.scheme == other.scheme and (exoscale or own.hostname == other.hostname)
