"""Render a node's metrics as text for Prometheus, with the optional package prometheus_client.

Names follow Prometheus' conventions: base units, `_total` for what only grows, `_timestamp_seconds`
for a moment in Unix time. The package is imported only when metrics are asked for, to save memory.
Shown by tests/unit/telemetry/test_metrics.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from exoip import __version__
from exoip.core.events import EventName
from exoip.core.peers import Role
from exoip.core.snapshot import PeerView, Snapshot
from exoip.errors import ConfigError
from exoip.telemetry.addon_views import Health, HookView
from exoip.telemetry.api_health import WELL, ApiView
from exoip.telemetry.counters import CounterSnapshot

if TYPE_CHECKING:
    from exoip.telemetry.addon_views import CheckView

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MOVES = {EventName.ATTACHED: "attach", EventName.CLEARED: "clear", EventName.LET_GO: "let-go"}

Labels = Mapping[str, str]
Samples = Iterable[tuple[Labels, float | tuple[float, float]]]


@dataclass(frozen=True, slots=True)
class HeartbeatCounts:
    """Datagrams since the start: sent, not sent because of an error, received."""

    sent: int
    failed: int
    received: int


@dataclass(frozen=True, slots=True)
class MetricsInput:
    """All that the metrics are made from.

    `unix_time` gives the Unix time of a moment of the node's clock, `display_name` the name and
    address of an instance id. `stopped`: the ids of members that do not run.
    """

    node: Snapshot
    eip: str
    instance_id: str
    heartbeats: HeartbeatCounts
    counters: CounterSnapshot
    checks: tuple[CheckView, ...]
    hook: HookView | None
    unix_time: Callable[[float], float]
    display_name: Callable[[str], str]
    api: ApiView = WELL
    stopped: Container[str] = ()


class Family(NamedTuple):
    """A metric with its samples. `kind`: gauge, counter, or summary with (count, sum)."""

    kind: str
    name: str
    meaning: str
    samples: Samples


def require_prometheus_client() -> None:
    """Raise ConfigError if the package is missing."""
    try:
        import prometheus_client  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "metrics (--metrics-listen, exoipctl metrics) need the Python package prometheus_client, "
            "which is not installed: apt install python3-prometheus-client"
        ) from error


def render(given: MetricsInput) -> str:
    """Return all metrics, also of the process. Raises ConfigError if the package is missing."""
    require_prometheus_client()
    from prometheus_client import ProcessCollector
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily
    from prometheus_client.exposition import generate_latest

    kinds = {"gauge": GaugeMetricFamily, "counter": CounterMetricFamily, "summary": SummaryMetricFamily}
    nowhere: Any = None  # the collector is not registered anywhere
    process = ProcessCollector(registry=nowhere)

    class Collected:
        def collect(self) -> Iterator[Any]:
            for kind, name, meaning, samples in families(given):
                found = list(samples)
                family: Any = kinds[kind](f"exoip_{name}", meaning, labels=list(found[0][0]) if found else ())
                for labels, value in found:
                    family.add_metric(list(labels.values()), *(value if isinstance(value, tuple) else (value,)))
                yield family
            yield from process.collect()

    collected: Any = Collected()
    return str(generate_latest(collected).decode())


def samples(text: str) -> list[dict[str, Any]]:
    """Return the samples in such a text: name, labels, and value, None if that is not finite."""
    require_prometheus_client()
    from prometheus_client import parser

    parse: Any = parser.text_string_to_metric_families
    return [
        {"name": sample.name, "labels": sample.labels, "value": sample.value if math.isfinite(sample.value) else None}
        for family in parse(text)
        for sample in family.samples
    ]


def families(given: MetricsInput) -> Iterator[Family]:
    """Return the metrics of the node. Pure."""
    yield from _node(given)
    yield from _peers(given)
    yield from _counters(given)
    yield from _checks(given.checks)
    if given.hook is not None:
        yield from _hook(given.hook)


def _gauge(name: str, meaning: str, value: float | Samples) -> Family:
    return Family("gauge", name, meaning, [({}, value)] if isinstance(value, int | float) else value)


def _counter(name: str, meaning: str, value: float | Samples) -> Family:
    return _gauge(name, meaning, value)._replace(kind="counter")


def _node(given: MetricsInput) -> Iterator[Family]:
    node, own = given.node, {"eip": given.eip, "instance_id": given.instance_id}
    causes = sorted({reason.cause for reason in node.unfit_reasons})
    yield _gauge("build_info", "Running version, always 1", [({"version": __version__}, 1)])
    yield _gauge("node_info", "Elastic IP and instance of this node, always 1", [(own, 1)])
    yield _gauge("role", "1 for the role of this node, 0 for the others", [({"role": r}, r is node.role) for r in Role])
    yield _gauge("role_since_timestamp_seconds", "When this node took its role", given.unix_time(node.since))
    yield _gauge("holds", "Whether this node holds the Elastic IP, as far as it knows", node.holds)
    yield _gauge("holding_in_doubt", "Whether this node has to read again whether it holds", node.in_doubt)
    yield _gauge("advertised_priority", "Priority in the heartbeats of this node", node.advertised)
    yield _gauge("unfit", "Whether this node steps aside if another node can serve", node.unfit)
    yield _gauge("unfit_reason", "1 for each reason to step aside, by cause", [({"reason": one}, 1) for one in causes])
    yield _gauge("yielded", "Whether this node stands back from a holder that it cannot hear", node.yielded)
    yield _gauge("leaving", "Whether this node is stopping and hands over", node.leaving)
    yield _gauge("api_degraded", "Whether API calls are failing", bool(given.api.trouble))
    waits = "How long a better node has to wait before it takes over, flap damping included"
    yield _gauge("preempt_delay_seconds", waits, node.preempt_delay)
    yield _gauge(
        "same_id", "Whether heartbeats with this instance's own id arrive, so two hosts have it", bool(node.same_id)
    )
    yield _gauge("outsiders", "Instances that hold the Elastic IP and are not members", len(node.outsiders))


def _peers(given: MetricsInput) -> Iterator[Family]:
    peers = given.node.peers

    def each(name: str, meaning: str, value: Callable[[PeerView], float | None]) -> Family:
        samples = [
            ({"peer": given.display_name(peer.instance_id), "address": peer.address}, number)
            for peer in peers
            if (number := value(peer)) is not None
        ]
        return _gauge(name, meaning, samples)

    def heard(peer: PeerView) -> float | None:
        return given.unix_time(peer.last_seen) if peer.last_seen > -math.inf else None

    def advertised(peer: PeerView) -> int | None:
        return peer.priority if peer.last_seen > -math.inf else None

    yield _gauge("peers", "Number of other nodes", len(peers))
    yield _gauge("peers_alive", "Number of other nodes that are alive", sum(peer.alive for peer in peers))
    yield each("peer_alive", "Whether this peer is alive", lambda peer: peer.alive)
    silent = "Whether this peer was never heard, although the API shows it running"
    yield each("peer_never_heard", silent, lambda peer: peer.never_heard and peer.instance_id not in given.stopped)
    yield each("peer_advertised_priority", "Priority in the last heartbeat of this peer", advertised)
    yield each("peer_last_heard_timestamp_seconds", "When the last heartbeat of this peer arrived", heard)
    yield each("peer_holds", "Whether this peer holds the Elastic IP, if that is known", lambda peer: peer.holds)


def _counters(given: MetricsInput) -> Iterator[Family]:
    counters, heartbeats = given.counters, given.heartbeats

    def each(label: str, values: Mapping[Any, int]) -> Samples:
        return [({label: str(name)}, number) for name, number in sorted(values.items())]

    yield _counter("heartbeats_sent", "Heartbeats sent, one per peer", heartbeats.sent)
    yield _counter("heartbeat_send_failures", "Heartbeats that could not be sent", heartbeats.failed)
    yield _counter("datagrams_received", "Datagrams received, dropped ones included", heartbeats.received)
    yield _counter("datagrams_refused", "Datagrams dropped, by cause", each("cause", given.node.dropped))
    yield _counter("events", "Events by their name, see EXOIP_EVENT in the journal", each("event", counters.events))
    moves = {move: counters.events[event] for event, move in MOVES.items()}
    yield _counter("moves", "Attaches and detaches that this node completed", each("move", moves))
    yield _counter("failovers", "How often this node went from backup to master", counters.failovers)
    calls = [({"call": kind, "outcome": outcome}, number) for (kind, outcome), (number, _) in counters.calls.items()]
    yield _counter("api_calls", "API calls by kind and outcome", calls)
    spent: dict[str, tuple[float, float]] = {}
    for (kind, _), (number, seconds) in counters.calls.items():
        count, total = spent.get(kind, (0, 0.0))
        spent[kind] = count + number, total + seconds
    durations = [({"call": kind}, both) for kind, both in spent.items()]
    yield Family("summary", "api_call_duration_seconds", "Duration of API calls", durations)


def _checks(checks: tuple[CheckView, ...]) -> Iterator[Family]:
    state = [({"check": one.name, "state": health}, one.health is health) for one in checks for health in Health]
    results = [
        ({"check": one.name, "result": word}, number)
        for one in checks
        for word, number in (("good", one.runs - one.bad), ("bad", one.bad))
    ]
    took = [({"check": one.name}, one.took) for one in checks if one.runs]
    yield _gauge("check_state", "1 for the state of this health check, 0 for the others", state)
    yield _counter("check_results", "Results of this health check", results)
    yield _gauge("check_duration_seconds", "Duration of the last run of this health check", took)


def _hook(hook: HookView) -> Iterator[Family]:
    calls = [({"outcome": "done"}, hook.done), ({"outcome": "failed"}, hook.failed)]
    yield _counter("hook_calls", "Calls of the notify program", calls)
    yield _counter("hook_skipped", "Changes left out because the notify program was too slow", hook.skipped)
    yield _gauge("hook_waiting", "Changes that wait for the notify program", hook.waiting)
