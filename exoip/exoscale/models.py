"""What the API answers, as frozen dataclasses that can not be made from nonsense.

`from_answer` takes any JSON value. No field of the API's description is required, so an absent one (or null) is "" or
None here; but one of the wrong type, or an id that is no UUID, raises ValueError. Texts are one line and printable.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any, Self
from urllib.parse import urlsplit

from exoip.heartbeat.wire import UUID_PATTERN

TEXT_LIMIT = 300  # characters


def uuid(text: object) -> str:
    """Return `text` in lower case; raise ValueError when it is no UUID."""
    if isinstance(text, str) and UUID_PATTERN.fullmatch(text.lower()):
        return text.lower()
    raise ValueError(f"{_shown(text)} is no UUID")


def one_line(text: str, limit: int = TEXT_LIMIT) -> str:
    """Return `text` as one printable line of at most `limit` characters, whatever was in it."""
    line = " ".join(text[: 4 * limit].split())
    line = "".join(character if character.isprintable() else "?" for character in line)
    return line if len(line) <= limit else line[: limit - 1] + "…"


@dataclass(frozen=True, slots=True)
class ElasticIp:
    """An Elastic IP. The API does not name its holders. `ip`: an address in canonical form, or "" when not said."""

    id: str
    ip: str = ""

    def __post_init__(self) -> None:
        _same(self.id, uuid(self.id))

    @classmethod
    def from_answer(cls, answer: object) -> Self:
        fields = _object(answer)
        return cls(uuid(fields.get("id")), _address(fields, "ip") or "")


@dataclass(frozen=True, slots=True)
class InstanceRecord:
    """An instance. `state`: "running", "stopped", … or "". Addresses are in canonical form; private ones the API hides.

    `elastic_ip_ids`: what it holds; None when not said, as in every list. `security_group_ids`: None when not said.
    """

    id: str
    name: str = ""
    state: str = ""
    public_ip: str | None = None
    ipv6_address: str | None = None
    elastic_ip_ids: frozenset[str] | None = None
    security_group_ids: frozenset[str] | None = None

    def __post_init__(self) -> None:
        _same(self.id, uuid(self.id))

    @property
    def running(self) -> bool:
        return self.state == "running"

    @property
    def addresses(self) -> tuple[str, ...]:
        """The public addresses, IPv4 first."""
        return tuple(address for address in (self.public_ip, self.ipv6_address) if address)

    def __str__(self) -> str:
        return f"{self.name} ({self.id})" if self.name else self.id

    @classmethod
    def from_answer(cls, answer: object) -> Self:
        fields = _object(answer)
        return cls(
            id=uuid(fields.get("id")),
            name=_text(fields, "name"),
            state=_text(fields, "state"),
            public_ip=_address(fields, "public-ip"),
            ipv6_address=_address(fields, "ipv6-address"),
            elastic_ip_ids=_ids(fields, "elastic-ips"),
            security_group_ids=_ids(fields, "security-groups"),
        )


@dataclass(frozen=True, slots=True)
class OperationRecord:
    """What became of an attach or a detach. `state`: "pending", "success", "failure" or "timeout".

    A state that is not known counts as pending. `reason` and `message`: why it failed, in the API's words.
    """

    id: str
    state: str = "pending"
    reason: str = ""
    message: str = ""

    def __post_init__(self) -> None:
        _same(self.id, uuid(self.id))

    @property
    def succeeded(self) -> bool:
        return self.state == "success"

    @property
    def failed(self) -> bool:
        return self.state in ("failure", "timeout")

    @classmethod
    def from_answer(cls, answer: object) -> Self:
        fields = _object(answer)
        texts = (_text(fields, name) for name in ("state", "reason", "message"))
        return cls(uuid(fields.get("id")), *texts)


@dataclass(frozen=True, slots=True)
class IngressRule:
    """What a security group lets in: `protocol` ("udp", "all", …) to the ports from `first` to `last`, both included.

    From the members of the group with the id `group`, or from `network`, in CIDR notation; "" where it is the other.
    """

    protocol: str
    first: int
    last: int
    group: str = ""
    network: str = ""

    @classmethod
    def from_answer(cls, answer: object) -> Self:
        fields = _object(answer)
        source = _object(fields.get("security-group") or {}).get("id")
        ports = [fields.get(name, default) for name, default in (("start-port", 1), ("end-port", 65535))]
        if not all(isinstance(port, int) for port in ports):
            raise ValueError("a port is a whole number")
        network = _text(fields, "network")
        if network:
            ip_network(network, strict=False)
        return cls(_text(fields, "protocol"), ports[0], ports[1], uuid(source) if source else "", network)


@dataclass(frozen=True, slots=True)
class SecurityGroup:
    """A security group. `rules`: what it lets in; None when that is not said, or not understood, for only exoipctl asks."""

    id: str
    name: str = ""
    rules: tuple[IngressRule, ...] | None = None

    def __post_init__(self) -> None:
        _same(self.id, uuid(self.id))

    @classmethod
    def from_answer(cls, answer: object) -> Self:
        fields = _object(answer)
        return cls(uuid(fields.get("id")), _text(fields, "name"), _rules(fields))


def _rules(fields: dict[str, Any]) -> tuple[IngressRule, ...] | None:
    try:
        found = items(fields, "rules")
        inward = [item for item in found or () if _object(item).get("flow-direction") == "ingress"]
        return None if found is None else tuple(IngressRule.from_answer(item) for item in inward)
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Zone:
    """A zone; `api_endpoint`: its URL with `/v2`, or ""."""

    name: str
    api_endpoint: str = ""

    def same_operator_as(self, endpoint: str) -> bool:
        """Whether its API may be sent what is signed: by as safe a way as `endpoint`, on a host of the same operator."""
        try:
            own, other = urlsplit(self.api_endpoint), urlsplit(endpoint)
        except ValueError:
            return False
        operators = all((url.hostname or "").endswith(".exoscale.com") for url in (own, other))
        return own.scheme == other.scheme and (operators or own.hostname == other.hostname)

    @classmethod
    def from_answer(cls, answer: object) -> Self:
        fields = _object(answer)
        return cls(_text(fields, "name"), _text(fields, "api-endpoint"))


def _shown(value: object) -> str:
    """Return how a message shows `value`: never all of it, for its repr can be large beyond measure, or too deep."""
    return repr(one_line(value, 60)) if isinstance(value, str) else f"a value of type {type(value).__name__}"


def _same(given: str, canonical: str) -> None:
    if given != canonical:
        raise ValueError(f"an id is a lower-case UUID, not {given!r}")


def _object(answer: object) -> dict[str, Any]:
    if not isinstance(answer, dict):
        raise ValueError(f"an object was expected, not {_shown(answer)}")
    return answer


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{name!r} is {_shown(value)}, not a text")
    return one_line(value)


def _address(fields: dict[str, Any], name: str) -> str | None:
    text = _text(fields, name)
    if not text:
        return None
    address = ip_address(text)
    return None if address.is_unspecified else str(address)


def items(fields: dict[str, Any], name: str) -> list[Any] | None:
    """Return the list `fields[name]`, None when it is absent or null."""
    value = fields.get(name)
    if value is not None and not isinstance(value, list):
        raise ValueError(f"{name!r} is {_shown(value)}, not a list")
    return value


def _ids(fields: dict[str, Any], name: str) -> frozenset[str] | None:
    found = items(fields, name)
    return None if found is None else frozenset(uuid(_object(item).get("id")) for item in found)
