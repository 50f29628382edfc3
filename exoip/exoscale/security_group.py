"""Find the members in a security group (-G): each instance in it is one, whatever its state.

The state says whether an instance can serve, not whether it may be heard: one that is starting or
being moved may send heartbeats. A list may be incomplete, so a member that it lacks is asked for by
its id. Shown by tests/unit/exoscale/test_discovery.py, TestSecurityGroup and TestRefresh.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from exoip.config.options import Config
from exoip.config.validation import in_reach
from exoip.errors import ApiError, ApiNotFound, ApiUnavailable, ConfigError
from exoip.exoscale.client import Client
from exoip.exoscale.ingress import allows
from exoip.exoscale.models import InstanceRecord, SecurityGroup, one_line
from exoip.exoscale.topology import Member

MOST_LOOK_UPS = 4  # members that a list lacks, asked for in one refresh; the others stay


class SecurityGroupMembers:
    """The instances of a security group.

    A member that is missing later has left or vanished. That does not prove that it holds nothing.
    """

    changes = True

    def __init__(self, config: Config) -> None:
        self._group = config.peer_group or ""
        self._bind_host, self._port = config.bind_address
        self._groups: dict[str, SecurityGroup] = {}
        self.shut_out: tuple[str, ...] = ()

    def find(
        self, client: Client, own: InstanceRecord, where: str, known: Sequence[Member] = ()
    ) -> tuple[list[Member], list[str]]:
        """Return the other instances of the group, and warnings, with two calls or more."""
        group_id = self._group_id(client, where)
        instances = {instance.id: instance for instance in client.instances(needed=own.id)}
        if own.id not in instances:
            raise ApiUnavailable("GET /instance: the answer lacks this instance, so it is not trusted")
        missing = [member for member in known if member.instance_id not in instances]
        unreadable = _look_up(missing, client, instances)
        in_group = [instance for instance in instances.values() if _in_group(instance, group_id, client)]
        found, warnings = self._members([one for one in in_group if one.id != own.id])
        members = _distinct(found, unreadable, warnings)
        self.shut_out = self._shut_out(members, instances, own.id)
        if own.id not in {instance.id for instance in in_group}:
            warnings.append(
                f"this instance is not in group {self._group}: add it, because the nodes in it do not know this one"
            )
        if not members:
            warnings.append(f"no other instance is in group {self._group}: this node has no peers")
        return members, warnings

    def _members(self, others: list[InstanceRecord]) -> tuple[list[Member], list[str]]:
        members: list[Member] = []
        warnings: list[str] = []
        for instance in others:
            address = next((one for one in instance.addresses if in_reach(self._bind_host, one)), "")
            if address:
                members.append(Member(instance.id, address, self._port, instance.name, instance.running))
            elif instance.running:
                warnings.append(f"heartbeats can reach no public address of instance {instance} of group {self._group}")
        return members, warnings

    def _shut_out(self, members: list[Member], instances: Mapping[str, InstanceRecord], own_id: str) -> tuple[str, ...]:
        """Return the members whose heartbeats no rule lets in here."""
        known = [(one, instances[one.instance_id]) for one in members if one.instance_id in instances]
        return tuple(
            one.instance_id
            for one, sender in known
            if allows(self._groups, instances[own_id], sender, one.address, self._port) is False
        )

    def _group_id(self, client: Client, where: str) -> str:
        groups = client.security_groups(needed=self._group)
        self._groups = {group.id: group for group in groups}
        found = [group.id for group in groups if group.id == self._group.lower()]
        found = found or [group.id for group in groups if group.name == one_line(self._group)]
        if len(found) == 1:
            return found[0]
        if found:
            raise ConfigError(f"-G {self._group}: several security groups in {where} have this name: give an id")
        listed = ", ".join(sorted(group.name or group.id for group in groups)) or "none"
        raise ConfigError(f"-G {self._group}: no such security group in {where}; there are: {listed}")


def _look_up(missing: list[Member], client: Client, instances: dict[str, InstanceRecord]) -> list[Member]:
    """Add those that exist to `instances`; return those of which the API does not say.

    The first error ends it, as does MOST_LOOK_UPS: the reads of a node wait meanwhile.
    """
    for number, member in enumerate(missing):
        try:
            if number == MOST_LOOK_UPS:
                return missing[number:]
            instances[member.instance_id] = client.instance(member.instance_id)
        except ApiNotFound:
            pass
        except ApiError:
            return missing[number:]
    return []


def _distinct(members: list[Member], unreadable: list[Member], warnings: list[str]) -> list[Member]:
    """Return one member for each address: a running instance first, one that is not listed last."""
    found: dict[str, Member] = {}
    for member in sorted(members, key=lambda member: (not member.running, member.instance_id)):
        if (first := found.setdefault(member.address, member)) is not member and member.running:
            warnings.append(f"{first} has the same address as {member.instance_id}, which is left out")
    for member in unreadable:
        found.setdefault(member.address, member)
    return list(found.values())


def _in_group(instance: InstanceRecord, group_id: str, client: Client) -> bool:
    if instance.security_group_ids is None:  # the list does not say, so ask; it may have vanished since
        try:
            instance = client.instance(instance.id)
        except ApiNotFound:
            return False
    return group_id in (instance.security_group_ids or ())
