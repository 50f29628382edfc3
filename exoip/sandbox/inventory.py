"""The Elastic IPs, security groups and instances of a simulated zone, and changes that bypass the
API.

This is the half of `zone.Zone` without operations: it keeps the objects, serves reads, and records
each change of an Elastic IP's holders. Pure.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

from exoip.sandbox.model import (
    Conflict,
    ElasticIp,
    Instance,
    NotFound,
    Rule,
    SecurityGroup,
    make_id,
    parse_address,
    parse_elastic_ip,
)
from exoip.sandbox.record import Record

Thing = TypeVar("Thing")


def lookup(things: dict[str, Thing], thing_id: str, what: str) -> Thing:
    """Return the object with this id. Raises NotFound with the API's message."""
    try:
        return things[thing_id]
    except KeyError:
        raise NotFound(f"{what} {thing_id} not found") from None


class Inventory:
    """The objects of one zone.

    With `ip_filter` off, `instances(ip_address=…)` returns all, as older services did.
    """

    def __init__(self, name: str, record: Record) -> None:
        self.name = name
        self.record = record
        self.ip_filter = True
        self._elastic_ips: dict[str, ElasticIp] = {}
        self._groups: dict[str, SecurityGroup] = {}
        self._instances: dict[str, Instance] = {}

    def advance(self, now: float) -> None:
        """Apply what is due by `now`: nothing here, operations in the subclass."""

    # Reads

    @property
    def eip(self) -> ElasticIp:
        """The first Elastic IP; most zones have only one."""
        if not self._elastic_ips:
            raise NotFound(f"zone {self.name} has no Elastic IP")
        return next(iter(self._elastic_ips.values()))

    def elastic_ips(self) -> list[ElasticIp]:
        return list(self._elastic_ips.values())

    def elastic_ip(self, eip_id: str) -> ElasticIp:
        return lookup(self._elastic_ips, eip_id, "Elastic IP")

    def security_groups(self) -> list[SecurityGroup]:
        return list(self._groups.values())

    def security_group(self, group_id: str) -> SecurityGroup:
        return lookup(self._groups, group_id, "Security Group")

    def instances(self, now: float, ip_address: str | None = None, pool: str | None = None) -> list[Instance]:
        """Return the instances: all, those with the address `ip_address`, own or Elastic IP, or
        those of `pool`.
        """
        self.advance(now)
        found = [instance for instance in self._instances.values() if pool is None or instance.pool == pool]
        if ip_address is None or not self.ip_filter:
            return found
        wanted = str(parse_address(ip_address))
        eips = {eip.id for eip in self._elastic_ips.values() if str(parse_address(eip.ip)) == wanted}
        return [one for one in found if one.elastic_ips & eips or wanted in (one.public_ip, one.ipv6)]

    def instance(self, instance_id: str, now: float) -> Instance:
        self.advance(now)
        return lookup(self._instances, instance_id, "Instance")

    def instance_named(self, name: str, now: float) -> Instance:
        """Return the instance with this name or id. Raises NotFound."""
        self.advance(now)
        for instance in self._instances.values():
            if name in (instance.name, instance.id):
                return instance
        raise NotFound(f"no instance is called {name!r}")

    def holders(self, now: float, eip_id: str | None = None) -> frozenset[str]:
        """Return the ids of the instances that hold an Elastic IP (the first one by default) at
        `now`.
        """
        self.advance(now)
        return self._holders(self.eip.id if eip_id is None else eip_id)

    # Changes that bypass the API

    def add_elastic_ip(self, ip: str, description: str = "exoip sandbox") -> ElasticIp:
        """Create an Elastic IP from an address, or from an IPv6 prefix like 2001:db8:0:1::/96."""
        ip = parse_elastic_ip(ip)
        eip = ElasticIp(make_id(self.name, "elastic-ip", ip), ip, description)
        return self._elastic_ips.setdefault(eip.id, eip)

    def add_group(self, name: str) -> SecurityGroup:
        """Return the security group of this name; create it if it does not exist."""
        group = SecurityGroup(make_id(self.name, "security-group", name), name)
        return self._groups.setdefault(group.id, group)

    def let_in(self, group: str, protocol: str, first: int, last: int, *, source: str = "", network: str = "") -> None:
        """Add a rule to a group that allows traffic from the members of the group `source`, or from
        a network.
        """
        changed = self.add_group(group)
        rule = Rule(protocol, first, last, self.add_group(source).id if source else "", network)
        self._groups[changed.id] = replace(changed, rules=(*changed.rules, rule))

    def add_external_source(self, group: str, network: str) -> None:
        """Let a network count as members of a group in the rules that name it."""
        changed = self.add_group(group)
        self._groups[changed.id] = replace(changed, external_sources=(*changed.external_sources, network))

    def add_instance(self, name: str, now: float = 0.0, *, groups: tuple[str, ...] = (), **fields: Any) -> Instance:
        """Create an instance; `groups` are names, `fields` those of Instance.

        Its id depends on its name only.
        """
        self.advance(now)
        fields.setdefault("id", make_id(self.name, "instance", name))
        ids = frozenset(self.add_group(group).id for group in groups)
        instance = Instance(name=name, security_groups=ids, **fields)
        if instance.id in self._instances:
            raise Conflict(f"instance {name} ({instance.id}) exists already")
        self._instances[instance.id] = instance
        self.record.add("instance", now, instance=instance.id, outcome=f"added as {name}")
        return instance

    def set_state(self, instance_id: str, state: str, now: float) -> Instance:
        """Change an instance's state; it keeps its Elastic IPs, even if it stops."""
        changed = replace(self.instance(instance_id, now), state=state)
        self._put(changed, now)
        self.record.add("instance", now, instance=instance_id, outcome=state)
        return changed

    def remove_instance(self, instance_id: str, now: float) -> None:
        """Destroy an instance and detach its Elastic IPs."""
        instance = self.instance(instance_id, now)
        self._put(replace(instance, elastic_ips=frozenset()), now, operation="destroy")
        del self._instances[instance.id]
        self.record.add("instance", now, instance=instance.id, outcome="removed")

    def join_group(self, instance_id: str, group: str, now: float) -> None:
        instance = self.instance(instance_id, now)
        self._put(replace(instance, security_groups=instance.security_groups | {self.add_group(group).id}), now)
        self.record.add("instance", now, instance=instance.id, outcome=f"joined {group}")

    def leave_group(self, instance_id: str, group: str, now: float) -> None:
        instance = self.instance(instance_id, now)
        self._put(replace(instance, security_groups=instance.security_groups - {self.add_group(group).id}), now)
        self.record.add("instance", now, instance=instance.id, outcome=f"left {group}")

    def force(self, instance_id: str, held: bool, now: float, eip_id: str | None = None, key: str = "outsider") -> None:
        """Attach or detach an Elastic IP at once, as if somebody else had done it."""
        instance = self.instance(instance_id, now)
        eip = self.eip if eip_id is None else self.elastic_ip(eip_id)
        changed = instance.elastic_ips | {eip.id} if held else instance.elastic_ips - {eip.id}
        self._put(replace(instance, elastic_ips=changed), now, key=key, operation="force")

    # Inside

    def _put(self, changed: Instance, now: float, key: str = "", operation: str = "") -> None:
        """Replace an instance and record each change of an Elastic IP's holders."""
        before = self._instances[changed.id].elastic_ips
        self._instances[changed.id] = changed
        for eip_id in sorted(before ^ changed.elastic_ips):
            self.record.add(
                "holders",
                now,
                key=key,
                operation=operation,
                eip=eip_id,
                instance=changed.id,
                outcome="attached" if eip_id in changed.elastic_ips else "detached",
                holders=tuple(sorted(self._holders(eip_id))),
            )

    def _holders(self, eip_id: str) -> frozenset[str]:
        return frozenset(instance.id for instance in self._instances.values() if eip_id in instance.elastic_ips)
