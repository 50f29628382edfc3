"""Tell from the rules of security groups whether heartbeats reach an instance. Pure.

An instance accepts what any rule of any of its groups allows. A rule allows a network, or another
group: its members, and the networks that the group lists as external sources. All of this holds for
public addresses; private networks have no such filter.
Shown by tests/unit/exoscale/test_ingress.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address, ip_network
from shlex import quote

from exoip.exoscale.models import IngressRule, InstanceRecord, SecurityGroup

Groups = Mapping[str, SecurityGroup]  # by id


def allows(groups: Groups, receiver: InstanceRecord, sender: InstanceRecord, address: str, port: int) -> bool | None:
    """Return whether UDP from `address` of `sender` reaches `port` of `receiver`.

    None: the API does not show enough to tell.
    """
    answers: set[bool | None] = set()
    for group_id in receiver.security_group_ids if receiver.security_group_ids is not None else [""]:
        group = groups.get(group_id)
        rules = None if group is None else group.rules
        fitting = [rule for rule in rules or () if rule.protocol in ("udp", "all") and rule.first <= port <= rule.last]
        answers |= {None} if rules is None else {_source_fits(rule, groups, sender, address) for rule in fitting}
    return True if True in answers else None if None in answers else False


def _source_fits(rule: IngressRule, groups: Groups, sender: InstanceRecord, address: str) -> bool | None:
    if not rule.group:
        return _within(address, [rule.network] if rule.network else [])
    if rule.group in (sender.security_group_ids or ()):
        return True
    group = groups.get(rule.group)
    if group is not None and _within(address, group.external_sources):
        return True
    return None if group is None or sender.security_group_ids is None else False


def _within(address: str, networks: Iterable[str]) -> bool:
    return any(ip_address(address) in ip_network(network, strict=False) for network in networks)


def rule_command(group: str, port: int) -> str:
    """Return the command that lets the members of a group send to each other."""
    name = quote(group)  # it may have blanks
    return f"exo compute security-group rule add {name} --protocol udp --port {port} --security-group {name}"
