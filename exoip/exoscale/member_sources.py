"""Choose how the other members of the cluster are found.

A source is one module with one class, and one row of `SOURCES`. Shown by
tests/unit/exoscale/test_discovery.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from exoip.config.options import Config
from exoip.exoscale.client import Client
from exoip.exoscale.models import InstanceRecord
from exoip.exoscale.security_group import SecurityGroupMembers
from exoip.exoscale.static_peers import StaticPeers
from exoip.exoscale.topology import Member


class MemberSource(Protocol):
    """Find the other members.

    `changes`: whether to look again while the daemon runs. `shut_out` and `asked`: see Topology.
    """

    @property
    def changes(self) -> bool: ...

    @property
    def shut_out(self) -> tuple[str, ...]: ...

    @property
    def asked(self) -> tuple[str, ...]: ...

    def find(
        self,
        client: Client,
        own: InstanceRecord,
        where: str,
        known: Sequence[Member] = (),
        asked: Sequence[str] | None = None,
    ) -> tuple[list[Member], list[str]]:
        """Return the members in any order, without this instance, and warnings, a sentence each.

        `own`: this instance, of which a refresh knows only the id. `where`: the zone, for messages.
        `known`: the members so far; one is not gone only because a list lacks it. `asked`: that of
        the topology so far, if this is a refresh.
        Raises ConfigError if something that the configuration names does not exist, and ApiError.
        """
        ...


# The field of Config that selects a source, and the source. The last one serves if none is set.
SOURCES: tuple[tuple[str, Callable[[Config], MemberSource]], ...] = (
    ("peer_group", SecurityGroupMembers),
    ("peers", StaticPeers),
)


def member_source(config: Config) -> MemberSource:
    """Return the source that `config` selects."""
    return next((source for field, source in SOURCES if getattr(config, field)), SOURCES[-1][1])(config)
