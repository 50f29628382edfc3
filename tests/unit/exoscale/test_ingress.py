"""Which heartbeats the rules of security groups let in, and what cannot be told."""

from __future__ import annotations

from uuid import UUID

import pytest

from exoip.exoscale.ingress import allows
from exoip.exoscale.models import InstanceRecord, SecurityGroup
from exoip.sandbox.model import make_id

WEB, OTHER, THIRD = (make_id("group", name) for name in ("web", "other", "third"))
ADDRESS = "192.0.2.12"
Rule = dict[str, object]


def rule(source: object, protocol: str = "udp", first: int = 12345, last: int = 12345) -> Rule:
    where = {"security-group": {"id": source}} if _is_id(source) else {"network": source}
    return {"flow-direction": "ingress", "protocol": protocol, "start-port": first, "end-port": last, **where}


def _is_id(text: object) -> bool:
    try:
        return bool(UUID(str(text)))
    except ValueError:
        return False


def instance(*groups: str) -> InstanceRecord:
    return InstanceRecord.from_json({"id": make_id("i", *groups), "security-groups": [{"id": one} for one in groups]})


def group(one: str, *rules: object, **fields: object) -> dict[str, SecurityGroup]:
    return {one: SecurityGroup.from_json({"id": one, "rules": list(rules), **fields})}


@pytest.mark.parametrize(
    ("rules", "answer"),
    [
        ([rule(WEB)], True),
        ([rule(OTHER)], True),  # another group, which the sender is in too
        ([rule(THIRD)], False),
        ([rule("192.0.2.0/24")], True),
        ([rule("198.51.100.0/24"), rule("2001:db8::/32")], False),
        ([rule("0.0.0.0/0", "all", 1, 65535)], True),
        ([rule(WEB, "tcp")], False),
        ([rule(WEB, first=12346, last=12350)], False),
        ([rule(WEB, first=12000, last=13000)], True),
        ([], False),
    ],
)
def test_a_rule_of_the_receivers_group(rules: list[Rule], answer: bool) -> None:
    groups = group(WEB, *rules) | group(OTHER) | group(THIRD)
    assert allows(groups, instance(WEB), instance(WEB, OTHER), ADDRESS, 12345) is answer


def test_a_rule_of_any_group_of_the_receiver() -> None:
    groups = group(WEB) | group(OTHER, rule(WEB))
    assert allows(groups, instance(WEB, OTHER), instance(WEB), ADDRESS, 12345) is True
    assert allows(groups, instance(WEB), instance(WEB), ADDRESS, 12345) is False


def test_a_group_whose_external_sources_are_named() -> None:
    sources = {"external-sources": ["198.51.100.0/24", "192.0.2.12/32", "nonsense", 7]}
    groups = group(WEB, rule(OTHER)) | group(OTHER, **sources)
    assert allows(groups, instance(WEB), instance(WEB), ADDRESS, 12345) is True
    assert allows(groups, instance(WEB), instance(WEB), "192.0.2.13", 12345) is False


def test_what_is_not_known() -> None:
    unsaid = InstanceRecord(make_id("i"))
    assert allows(group(WEB, rule(WEB)), unsaid, instance(WEB), ADDRESS, 12345) is None
    assert allows(group(WEB, rule(WEB)), instance(WEB), unsaid, ADDRESS, 12345) is None
    assert allows(group(WEB, rule(THIRD)), instance(WEB), instance(WEB), ADDRESS, 12345) is None, "a public group"
    assert allows({WEB: SecurityGroup(WEB)}, instance(WEB), instance(WEB), ADDRESS, 12345) is None, "no rules shown"
    odd = group(WEB, rule(WEB)) | {OTHER: SecurityGroup(OTHER)}
    assert allows(odd, instance(WEB, OTHER), instance(WEB), ADDRESS, 12345) is True
