"""The group and the instances in it as the API shows them, judged by the production code."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

from exoip.core.calls import Failure, Outcome
from exoip.errors import ApiError, ApiNotFound
from exoip.exoscale.models import InstanceRecord
from exoip.exoscale.security_group import SecurityGroupMembers
from exoip.exoscale.topology import Member
from exoip.sandbox.model import Instance

if TYPE_CHECKING:
    from tests.simulation.api import Reply
    from tests.simulation.host import Host
    from tests.simulation.world import World

PORT = 12345
GROUP = "group"
_CONFIG = SimpleNamespace(peer_group=GROUP, bind_address=("0.0.0.0", PORT))  # noqa: S104


class _Lists:
    """A client that gets what a host is shown of the group."""

    def __init__(self, world: World, host: Host, reply: Reply) -> None:
        self._world, self._host, self._reply = world, host, reply

    def security_groups(self, needed: str) -> list[SimpleNamespace]:
        return [SimpleNamespace(id=GROUP, name=GROUP, rules=None)]

    def instances(self, needed: str) -> list[InstanceRecord]:
        share, rng = self._reply.lists, self._host.api.rng
        return [one for one in self._all() if share >= 1.0 or one.id == needed or rng.random() < share]

    def instance(self, instance_id: str) -> InstanceRecord:
        for one in self._all():
            if one.id == instance_id:
                return one
        raise ApiNotFound(f"GET /instance/{instance_id}: not found")

    def _all(self) -> list[InstanceRecord]:
        return [
            InstanceRecord(one.id, one.name, one.state, address(number), security_group_ids=self._groups(one.name))
            for number, one in enumerate(self._world.zone.instances(self._world.now))
        ]

    def _groups(self, name: str) -> frozenset[str]:
        other = self._world.hosts.get(name)
        return frozenset({GROUP} if other and self._world.in_group(self._host, other) else ())


def address(number: int) -> str:
    """Return the address of the instance with this number."""
    return f"10.0.{number // 250}.{number % 250 + 1}"


def found(world: World, host: Host, reply: Reply) -> dict[str, tuple[str, int]] | None:
    """Return the addresses of the members that the API shows, by id, or None if it is not believed."""
    source = SecurityGroupMembers(_CONFIG)  # type: ignore[arg-type]
    lists = _Lists(world, host, reply)
    try:
        members, _ = source.find(lists, InstanceRecord(host.config.instance_id), "the simulated zone", _known(host))  # type: ignore[arg-type]
    except ApiError:
        return None
    return {member.instance_id: (world.by_id[member.instance_id].address, PORT) for member in members}


def _known(host: Host) -> list[Member]:
    members = host.node.admission.members if host.node else {}
    return [Member(name, f"10.1.0.{number}", PORT) for number, name in enumerate(members, 1)]


def refresh(world: World, host: Host, reply: Reply, began: float) -> Outcome:
    """Let the daemon of `host` learn of the group anew."""
    members = found(world, host, reply)
    if members is None:
        return Outcome(began, began, Failure.UNAVAILABLE, detail="the list is not believed")
    host.run(lambda: host.node and host.node.set_members(members, host.now, certain=False))
    return Outcome(began, began)


def read(instance: Instance, holds: bool, began: float) -> Outcome:
    """Return what a read of an instance shows."""
    record = InstanceRecord(instance.id, instance.name, instance.state)
    return Outcome(began, began, holds=holds, running=record.running, name=instance.name)
