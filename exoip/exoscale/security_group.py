"""Find the members in a security group (-G): each running instance in the group is one.

Shown by tests/unit/exoscale/test_discovery.py, TestSecurityGroup and TestRefresh.
"""

from __future__ import annotations

from exoip.config.options import Config
from exoip.config.validation import in_reach
from exoip.errors import ApiNotFound, ApiUnavailable, ConfigError
from exoip.exoscale.client import Client
from exoip.exoscale.models import InstanceRecord, one_line
from exoip.exoscale.topology import Member


class SecurityGroupMembers:
    """The running instances of a security group.

    A member that is missing later has stopped, left or vanished. That does not prove that it holds
    nothing.
    """

    changes = True

    def __init__(self, config: Config) -> None:
        self._group = config.peer_group or ""
        self._bind_host, self._port = config.bind_address

    def find(self, client: Client, own: InstanceRecord, where: str) -> tuple[list[Member], list[str]]:
        """Return the other running instances of the group, and warnings, with two calls or more."""
        group_id = self._group_id(client, where)
        instances = client.instances()
        if own.id not in {instance.id for instance in instances}:
            raise ApiUnavailable("GET /instance: the answer lacks this instance, so it is not trusted")
        in_group = [instance for instance in instances if _in_group(instance, group_id, client)]
        members, warnings = self._members([one for one in in_group if one.id != own.id and one.running])
        if own.id not in {instance.id for instance in in_group}:
            warnings.append(
                f"this instance is not in group {self._group}: add it, because the nodes in it do not know this one"
            )
        if not members:
            warnings.append(f"no other running instance is in group {self._group}: this node has no peers")
        return members, warnings

    def _members(self, others: list[InstanceRecord]) -> tuple[list[Member], list[str]]:
        members: list[Member] = []
        warnings: list[str] = []
        for instance in others:
            address = next((one for one in instance.addresses if in_reach(self._bind_host, one)), "")
            if address:
                members.append(Member(instance.id, address, self._port, instance.name))
            else:
                warnings.append(f"heartbeats can reach no public address of instance {instance} of group {self._group}")
        for distinct in ({member.address for member in members}, {member.instance_id for member in members}):
            if len(distinct) != len(members):
                raise ApiUnavailable("GET /instance: two instances in the answer have the same id or address")
        return members, warnings

    def _group_id(self, client: Client, where: str) -> str:
        groups = client.security_groups()
        found = [group.id for group in groups if group.id == self._group.lower()]
        found = found or [group.id for group in groups if group.name == one_line(self._group)]
        if len(found) == 1:
            return found[0]
        if found:
            raise ConfigError(f"-G {self._group}: several security groups in {where} have this name: give an id")
        listed = ", ".join(sorted(group.name or group.id for group in groups)) or "none"
        raise ConfigError(f"-G {self._group}: no such security group in {where}; there are: {listed}")


def _in_group(instance: InstanceRecord, group_id: str, client: Client) -> bool:
    if instance.security_group_ids is None:  # the list does not say, so ask; it may have vanished since
        try:
            instance = client.instance(instance.id)
        except ApiNotFound:
            return False
    return group_id in (instance.security_group_ids or ())
