"""Find the members in a security group (-G): each instance in it is one, whatever its state.

The state says whether an instance can serve, not whether it may be heard: one that is starting or
being moved may send heartbeats. A list may be incomplete, so a member that it lacks is asked for by
its id.

A list may also leave out the groups. Then a start and a reload ask for each instance by its id, and
a refresh for MOST_LOOK_UPS at most: those that are new, then the one asked longest ago. In between
an instance counts as what it was, a member or none, so a change of its groups is found when its
turn comes. Shown by tests/unit/exoscale/test_discovery.py, TestSecurityGroup, TestRefresh and
TestListsWithoutGroups.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from exoip.config.options import Config
from exoip.config.validation import in_reach
from exoip.errors import ApiError, ApiNotFound, ApiUnavailable, ConfigError
from exoip.exoscale.client import Client
from exoip.exoscale.ingress import allows
from exoip.exoscale.models import InstanceRecord, SecurityGroup, one_line
from exoip.exoscale.topology import Member

MOST_LOOK_UPS = 4  # instances asked for by their ids in one refresh: the reads of a node wait meanwhile
START_TIME = 30.0  # seconds after which a start or a reload asks for no further instance
REFRESH_TIME = 5.0  # seconds after which a refresh asks for no second instance: a death may need a read


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
        self.asked: tuple[str, ...] = ()

    def find(
        self,
        client: Client,
        own: InstanceRecord,
        where: str,
        known: Sequence[Member] = (),
        asked: Sequence[str] | None = None,
    ) -> tuple[list[Member], list[str]]:
        """Return the other instances of the group, and warnings, with two calls or more."""
        until = time.monotonic() + (START_TIME if asked is None else REFRESH_TIME)
        group_id = self._group_id(client, where)
        instances = {instance.id: instance for instance in client.instances(needed=own.id)}
        if own.id not in instances:
            raise ApiUnavailable("GET /instance: the answer lacks this instance, so it is not trusted")
        missing = {member.instance_id: member for member in known if member.instance_id not in instances}
        silent = _in_turn([one.id for one in instances.values() if one.security_group_ids is None], asked or ())
        found = _look_up(list(missing), silent, client, until, everyone=asked is None)
        instances |= {one: record for one, record in found.items() if record and one in missing}
        before = {own.id, *(member.instance_id for member in known)}
        in_group = [one for one in instances.values() if _in_group(found.get(one.id, one), group_id, one.id in before)]
        listed, warnings = self._members([one for one in in_group if one.id != own.id])
        members = _distinct(listed, [member for one, member in missing.items() if one not in found], warnings)
        unsaid, earlier = {*silent}, [one for one in asked or () if one not in found]
        self.asked = tuple(one for one in [*earlier, *found] if one in unsaid)
        if unsaid - {*self.asked, *before}:
            warnings.append("the API lists instances without their groups, and not all of them have been asked yet")
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


def _in_turn(instance_ids: list[str], asked: Sequence[str]) -> list[str]:
    """Return them in the order in which to ask for them: new ones, then the longest ago."""
    last = {instance_id: number for number, instance_id in enumerate(asked)}
    return sorted(instance_ids, key=lambda one: (last.get(one, -1), one))


def _look_up(
    missing: list[str], silent: list[str], client: Client, until: float, *, everyone: bool
) -> dict[str, InstanceRecord | None]:
    """Ask for members that a list lacks, and for instances of which it does not say the groups.

    Return them by id, None for one that does not exist. With `everyone`, an error of a `silent` one
    is raised; otherwise the first error ends it, as does MOST_LOOK_UPS.
    """
    found: dict[str, InstanceRecord | None] = {}
    for one in [*silent, *missing] if everyone else [*missing, *silent][:MOST_LOOK_UPS]:
        if found and time.monotonic() >= until:
            break
        try:
            found[one] = client.instance(one)
        except ApiNotFound:
            found[one] = None
        except ApiError:
            if everyone and one in silent:
                raise
            break
    return found


def _distinct(members: list[Member], unreadable: list[Member], warnings: list[str]) -> list[Member]:
    """Return one member for each address: a running instance first, one that is not listed last."""
    found: dict[str, Member] = {}
    for member in sorted(members, key=lambda member: (not member.running, member.instance_id)):
        if (first := found.setdefault(member.address, member)) is not member and member.running:
            warnings.append(f"{first} has the same address as {member.instance_id}, which is left out")
    for member in unreadable:
        found.setdefault(member.address, member)
    return list(found.values())


def _in_group(instance: InstanceRecord | None, group_id: str, before: bool) -> bool:
    """Whether it is in the group; as before if nothing says."""
    groups = instance.security_group_ids if instance else ()
    return before if groups is None else group_id in groups
