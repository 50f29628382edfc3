"""The metrics of a node, in the text format of Prometheus, through the optional package prometheus_client.

Names follow Prometheus' conventions: base units, `_total` for what only grows, `_timestamp_seconds` for a moment in Unix time. The
package is imported when metrics are asked for and not before, for it takes memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from exoip import __version__
from exoip.core.events import EventName
from exoip.core.peers import Role
from exoip.core.snapshot import Health, HookView, PeerView, Snapshot
from exoip.errors import ConfigError
from exoip.telemetry.counters import CounterSnapshot

if TYPE_CHECKING:
    from exoip.core.snapshot import CheckView

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MOVES = {EventName.ATTACHED: "attach", EventName.CLEARED: "clear", EventName.LET_GO: "let-go"}


@dataclass(frozen=True, slots=True)
class HeartbeatCounts:
    """Datagrams since the start: sent, not sent for an error, received."""

    sent: int
    failed: int
    received: int


@dataclass(frozen=True, slots=True)
class MetricsInput:
    """All that the metrics tell of. `wall` gives the Unix time of a moment of the node's clock; `name` a person's words for a peer."""

    node: Snapshot
    eip: str
    instance_id: str
    beats: HeartbeatCounts
    counts: CounterSnapshot
    checks: tuple[CheckView, ...]
    hook: HookView | None
    wall: Callable[[float], float]
    name: Callable[[str], str]


def require_prometheus_client() -> None:
    """Raise ConfigError when the package is not there."""
    try:
        import prometheus_client  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "metrics (--metrics-listen, exoipctl metrics) need the Python package prometheus_client, which is not installed: "
            "apt install python3-prometheus-client"
        ) from error


def render(facts: MetricsInput) -> str:
    """Return all metrics. Raises ConfigError where the package is missing."""
    require_prometheus_client()
    from prometheus_client import ProcessCollector
    from prometheus_client.exposition import generate_latest

    nowhere: Any = None  # it registers itself where it is told to
    process = ProcessCollector(registry=nowhere)

    class Collected:
        def collect(self) -> Iterator[Any]:
            yield from families(facts)
            yield from process.collect()

    collected: Any = Collected()
    return str(generate_latest(collected).decode())


def families(facts: MetricsInput) -> Iterator[Any]:
    """Each metric with its samples, as the package has them."""
    yield from _node(facts)
    yield from _peers(facts)
    yield from _traffic(facts)
    yield from _checks(facts.checks)
    if facts.hook is not None:
        yield from _hook(facts.hook)


def _gauge(name: str, meaning: str, value: float) -> Any:
    from prometheus_client.core import GaugeMetricFamily

    return GaugeMetricFamily(f"exoip_{name}", meaning, value=value)


def _labelled(
    kind: str, name: str, meaning: str, labels: Iterable[str], samples: Iterable[tuple[Iterable[str], float]]
) -> Any:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    made = {"gauge": GaugeMetricFamily, "counter": CounterMetricFamily}[kind]
    family = made(f"exoip_{name}", meaning, labels=list(labels))
    for values, value in samples:
        family.add_metric(list(values), value)
    return family


def _counter(name: str, meaning: str, value: float) -> Any:
    return _labelled("counter", name, meaning, (), [((), value)])


def _node(facts: MetricsInput) -> Iterator[Any]:
    node = facts.node
    yield _labelled("gauge", "build_info", "The version that runs; always 1", ["version"], [([__version__], 1)])
    who = [([facts.eip, facts.instance_id], 1.0)]
    yield _labelled("gauge", "node_info", "The Elastic IP and this instance; always 1", ["eip", "instance_id"], who)
    yield _labelled("gauge", "role", "1 for the role of this node, 0 for the others", ["role"],
                    [([role], role is node.role) for role in Role])  # fmt: skip
    yield _gauge("role_since_timestamp_seconds", "When this node came to that role", facts.wall(node.since))
    yield _gauge("holds", "Whether this node holds the Elastic IP, as far as it knows", node.holds)
    yield _gauge("holding_in_doubt", "Whether it has yet to read that anew", node.in_doubt)
    yield _gauge("advertised_priority", "The priority in its heartbeats", node.advertised)
    yield _gauge("unfit", "Whether it steps aside if another can serve", node.unfit)
    causes = [([cause], 1) for cause in sorted({reason.cause for reason in node.unfit_reasons})]
    yield _labelled("gauge", "unfit_reason", "1 for each reason to step aside, by its cause", ["reason"], causes)
    yield _gauge("yielded", "Whether it stands back from a holder that it can not hear", node.yielded)
    yield _gauge("leaving", "Whether it hands over to stop", node.leaving)
    yield _gauge("api_degraded", "Whether calls to the API fail at present", bool(node.degraded))
    yield _gauge(
        "preempt_delay_seconds",
        "How long a better node has to wait at present, flap damping included",
        node.preempt_delay,
    )
    yield _gauge("outsiders", "Instances that are no members and hold the Elastic IP", len(node.outsiders))


def _peers(facts: MetricsInput) -> Iterator[Any]:
    peers = facts.node.peers
    yield _gauge("peers", "The other nodes", len(peers))
    yield _gauge("peers_alive", "Those of them that are alive", sum(peer.alive for peer in peers))

    def each(name: str, meaning: str, value: Callable[[PeerView], float | None]) -> Any:
        found = [([facts.name(peer.instance_id), peer.address], value(peer)) for peer in peers]
        samples = [(labels, number) for labels, number in found if number is not None]
        return _labelled("gauge", name, meaning, ["peer", "address"], samples)

    def heard(peer: PeerView) -> float | None:
        return facts.wall(peer.last_seen) if peer.last_seen > -math.inf else None

    yield each("peer_alive", "Whether this peer is alive", lambda peer: peer.alive)
    yield each("peer_advertised_priority", "The priority in its last heartbeat", lambda peer: peer.priority)
    yield each("peer_last_heard_timestamp_seconds", "When its last heartbeat came", heard)
    yield each("peer_holds", "Whether it holds the Elastic IP, where that was read", lambda peer: peer.holds)


def _traffic(facts: MetricsInput) -> Iterator[Any]:
    from prometheus_client.core import SummaryMetricFamily

    counts, beats = facts.counts, facts.beats
    yield _counter("heartbeats_sent", "Heartbeats sent, one for each peer", beats.sent)
    yield _counter("heartbeat_send_failures", "Heartbeats that could not be sent", beats.failed)
    yield _counter("datagrams_received", "Datagrams received, the refused ones too", beats.received)
    yield _labelled("counter", "datagrams_refused", "Datagrams that were no heartbeats of a member, by cause", ["cause"],
                    [([cause], number) for cause, number in sorted(facts.node.dropped.items())])  # fmt: skip
    yield _labelled("counter", "events", "Events, as EXOIP_EVENT in the journal", ["event"],
                    [([what], number) for what, number in sorted(counts.events.items())])  # fmt: skip
    moves = [([move], counts.events[what]) for what, move in MOVES.items()]
    yield _labelled(
        "counter", "moves", "Attaches of this node and detaches of others or itself that were done", ["move"], moves
    )
    yield _counter("failovers", "How often this node became master after it was a backup", counts.failovers)
    calls = [([kind, outcome], number) for (kind, outcome), (number, _) in counts.calls.items()]
    yield _labelled(
        "counter", "api_calls", "Calls to the API by what they ask and what came of it", ["call", "outcome"], calls
    )
    durations = SummaryMetricFamily(
        "exoip_api_call_duration_seconds", "How long calls to the API took", labels=["call"]
    )
    for kind in dict.fromkeys(kind for kind, _ in counts.calls):
        each = [took for (of, _), took in counts.calls.items() if of is kind]
        durations.add_metric([kind], sum(number for number, _ in each), sum(seconds for _, seconds in each))
    yield durations


def _checks(checks: tuple[CheckView, ...]) -> Iterator[Any]:
    state = [([check.name, health], check.health is health) for check in checks for health in Health]
    yield _labelled(
        "gauge", "check_state", "1 for the state of this health check, 0 for the others", ["check", "state"], state
    )
    results = [([check.name, word], number) for check in checks
               for word, number in (("good", check.runs - check.bad), ("bad", check.bad))]  # fmt: skip
    yield _labelled("counter", "check_results", "Results of this health check", ["check", "result"], results)
    took = [([check.name], check.took) for check in checks if check.runs]
    yield _labelled("gauge", "check_duration_seconds", "How long its last result took", ["check"], took)


def _hook(hook: HookView) -> Iterator[Any]:
    calls = [(["done"], hook.done), (["failed"], hook.failed)]
    yield _labelled("counter", "hook_calls", "Calls of the notify program", ["outcome"], calls)
    yield _counter("hook_skipped", "Changes that it was not told of, for it was too slow", hook.skipped)
    yield _gauge("hook_waiting", "Changes that wait to be told", hook.waiting)
