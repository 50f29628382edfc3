"""Find the members in the list of peers (-p): addresses, each with its instance id or without.

Shown by tests/unit/exoscale/test_discovery.py, TestStaticPeers.
"""

from __future__ import annotations

from collections.abc import Sequence

from exoip.config.addresses import Peer
from exoip.config.options import Config
from exoip.errors import ApiNotFound, ConfigError
from exoip.exoscale.client import Client
from exoip.exoscale.models import InstanceRecord
from exoip.exoscale.topology import Member


class StaticPeers:
    """The listed peers. The same list may be given to every node: this instance is left out."""

    changes = False
    shut_out = asked = ()  # not examined

    def __init__(self, config: Config) -> None:
        self._peers, self._port = config.peers, config.bind_address.port

    def find(
        self,
        client: Client,
        own: InstanceRecord,
        where: str,
        _known: Sequence[Member] = (),
        _asked: Sequence[str] | None = None,
    ) -> tuple[list[Member], list[str]]:
        """Return the peers, and a warning if there is none. Takes one call for each."""
        members: dict[str, Member] = {}
        for peer in self._peers:
            if peer.instance_id == own.id or (peer.instance_id is None and peer.address in own.addresses):
                continue
            instance = _instance(peer, client, where)
            if instance.id == own.id:
                continue
            if instance.id in members:
                first = members[instance.id].address
                raise ConfigError(f"-p names instance {instance} twice, as {first} and as {peer}: leave one out")
            members[instance.id] = Member(instance.id, peer.address, peer.port or self._port, instance.name)
        alone = bool(self._peers) and not members
        return list(members.values()), ["-p names no node but this one: it has no peers"] if alone else []


def _instance(peer: Peer, client: Client, where: str) -> InstanceRecord:
    if peer.instance_id is not None:
        try:
            return client.instance(peer.instance_id)
        except ApiNotFound as error:
            raise ConfigError(f"-p {peer}: there is no instance {peer.instance_id} in {where}: correct it") from error
    # An old service lists every instance; a new one also those that hold it as an Elastic IP.
    listed = client.instances(ip_address=peer.address, needed=peer.address)
    found = [instance for instance in listed if peer.address in instance.addresses]
    if len(found) == 1:
        return found[0]
    problem = "several instances have" if found else "no instance has"
    raise ConfigError(
        f"-p {peer}: {problem} the public address {peer.address} in {where}: correct it, or append the instance's id, "
        f"as in {peer}=INSTANCE-ID. A private address needs the id, because the API does not know private addresses"
    )
