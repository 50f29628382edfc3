"""Examine whether the heartbeats arrive: by the rules of the security groups, and by what the
running daemon hears. A peer that is heard needs no rule to prove it.

Shown by tests/unit/ctl/test_check.py.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

from exoip.config.parse import Config
from exoip.ctl.findings import OPEN, WARNING, WELL, Finding
from exoip.ctl.status import peer_label
from exoip.exoscale.client import Client
from exoip.exoscale.ingress import allows, rule_command
from exoip.exoscale.models import InstanceRecord
from exoip.exoscale.topology import Member, Topology

Allowed = Callable[[Member], bool | None]


def ports(config: Config, client: Client, topology: Topology, heard: Collection[Member]) -> Iterator[Finding]:
    """Yield whether the rules allow the heartbeats of each member here, and ours there.

    `heard`: the members that the daemon hears, on the port and address of `config`.
    """
    port = config.bind_address.port
    places = {(one.instance_id, one.address, one.port) for one in heard}
    silent = [m for m in topology.members if m.running and (m.instance_id, m.address, m.port) not in places]
    if topology.members and not silent:
        yield Finding(WELL, "port", f"UDP {port} is allowed: every running peer is heard")
        return
    groups = {group.id: group for group in client.security_groups()}
    instances = {instance.id: instance for instance in client.instances(needed=topology.instance_id)}
    own = instances.get(topology.instance_id, InstanceRecord(topology.instance_id))
    own_address = config.bind_address.host.strip(":") or next(iter(own.addresses), "")
    group = config.peer_group or next((groups[one].name for one in own.security_group_ids or () if one in groups), "")
    if not silent and own_address:  # there are no members yet: see whether the rules allow this instance itself
        silent = [Member(own.id, own_address, port, "its members")]

    def here(peer: Member) -> bool | None:
        sender = instances.get(peer.instance_id)
        private = sender is None or peer.address not in sender.addresses
        return None if private or sender is None else allows(groups, own, sender, peer.address, port)

    def there(peer: Member) -> bool | None:
        receiver = instances.get(peer.instance_id)
        private = receiver is None or own_address not in own.addresses
        return None if private or receiver is None else allows(groups, receiver, own, own_address, peer.port)

    cure = rule_command(group, port) if group else ""
    findings = [_judged(f"UDP {port} from", silent, here, cure), _judged(f"UDP {port} to", silent, there, cure)]
    distinct = [one for one in findings if one.level != WELL]
    yield from distinct or [Finding(WELL, "port", f"the security groups allow UDP {port}")]


def _judged(what: str, peers: list[Member], allowed: Allowed, cure: str) -> Finding:
    answers = {str(peer): allowed(peer) for peer in peers}
    if shut := [name for name, answer in answers.items() if answer is False]:
        return Finding(WARNING, "port", f"no rule allows {what} {', '.join(shut)}", cure)
    if unclear := [name for name, answer in answers.items() if answer is None]:
        why = "the API does not show the rules, or the network is private"
        return Finding(OPEN, "port", f"whether a rule allows {what} {', '.join(unclear)}: {why}")
    return Finding(WELL, "port", "")


def peers(state: dict[str, Any]) -> Iterator[Finding]:
    """Yield whether the daemon with this state hears each peer that is a member and runs."""
    if "peers" not in state:
        yield Finding(OPEN, "peers", state["health"]["reasons"][0])
        return
    port = state["configuration"]["bind_address"].rpartition(":")[2]
    yield from (_peer(peer, port) for peer in state["peers"] if peer["member"])


def _peer(peer: dict[str, Any], port: str) -> Finding:
    name = peer_label(peer)
    if peer["alive"]:
        return Finding(WELL, "peers", f"{name} is heard")
    if peer["denied"]:
        text = f"{name} sends heartbeats, but they are dropped ({peer['denied']})"
        return Finding(WARNING, "peers", text, "give all nodes the same auth-key")
    if peer.get("elsewhere"):
        text = f"{peer['elsewhere']} sends heartbeats with the id of {name}"
        return Finding(
            WARNING, "peers", text, f"use that address for it, or set bind-address = {peer['address']} there"
        )
    if not peer.get("running", True):
        return Finding(WELL, "peers", f"{name} does not run")
    both = f"UDP {port}" if port == str(peer["port"]) else f"UDP {port} here and UDP {peer['port']} there"
    cure = f"check that exoip runs there, and that both nodes allow {both}"
    return Finding(WARNING, "peers", f"{name} {'was never' if peer.get('never_heard') else 'is not'} heard", cure)
