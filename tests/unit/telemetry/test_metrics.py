"""The metrics: values and names; alert rules, dashboard and manual name only what exists."""

from __future__ import annotations

import json
import math
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

import exoip
from exoip.core.calls import Call, Failure, Kind, Outcome
from exoip.core.events import Event, EventName
from exoip.core.peers import Role
from exoip.core.snapshot import PeerView, Snapshot
from exoip.core.unfit import UnfitReason
from exoip.errors import ConfigError
from exoip.telemetry.addon_views import CheckView, Health, HookView
from exoip.telemetry.api_health import ApiView, Trouble
from exoip.telemetry.counters import Counters
from exoip.telemetry.metrics import HeartbeatCounts, MetricsInput, render, require_prometheus_client
from tests.support.paths import ROOT

ALERTS, DASHBOARD = ROOT / "packaging/prometheus/alerts.yml", ROOT / "packaging/grafana/exoip.json"
PEERS = (
    PeerView("id-1", "192.0.2.1", True, 20, 95.0, False, True),
    PeerView("id-2", "192.0.2.2", False, 254, -math.inf, None, True, never_heard=True),
)
NODE = Snapshot(
    100.0, Role.MASTER, "alone", 40.0, "id-0", 10, True, False, True, False, False, PEERS, {"short": 3, "unknown": 1},
    unfit_reasons=(
        UnfitReason("health check tcp 127.0.0.1:80", "health check tcp 127.0.0.1:80 fails: Connection refused"),
        UnfitReason("operator", "drained by root"),
    ),
    preempt_delay=math.inf, outsiders=("id-9",), same_id="192.0.2.9",
)  # fmt: skip


def given(**more: Any) -> MetricsInput:
    counters = Counters()
    for name in (EventName.ATTACHED, EventName.ATTACHED, EventName.CLEARED):
        counters.count_event(Event(name, 1.0))
    counters.count_event(Event(EventName.ROLE, 1.0, "x", "", {"role": "MASTER", "old_role": "BACKUP"}))
    counters.count_call(Call(Kind.ATTACH), Outcome(1.0, 1.25))
    counters.count_call(Call(Kind.ATTACH), Outcome(2.0, 4.0, Failure.TIMEOUT))
    checks = (
        CheckView("http http://127.0.0.1/", Health.FAILING, 1.0, "why", 10, 4, 0.5),
        CheckView("command", Health.PENDING, 1.0),
    )
    made = MetricsInput(
        NODE, "198.51.100.50", "id-0", HeartbeatCounts(70, 2, 60), counters.snapshot(), checks, HookView(5, 1, 2, 3),
        lambda at: 1000.0 + at, lambda one: f"name of {one}", ApiView({Kind.ATTACH: Trouble(Failure.FORBIDDEN, 90.0)}),
    )  # fmt: skip
    return replace(made, **more)


def families(one: MetricsInput) -> list[Any]:
    """What Prometheus reads."""
    return list(text_string_to_metric_families(render(one)))


def samples(one: MetricsInput) -> dict[str, float]:
    """Each sample by its name and its labels, sorted."""
    found = {}
    for family in families(one):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def names() -> set[str]:
    return {name.partition("{")[0] for name in samples(given())}


@pytest.mark.parametrize(
    ("sample", "value"),
    [
        (f"exoip_build_info{{version={exoip.__version__}}}", 1),
        ("exoip_node_info{eip=198.51.100.50,instance_id=id-0}", 1),
        ("exoip_role{role=MASTER}", 1),
        ("exoip_role{role=BACKUP}", 0),
        ("exoip_role_since_timestamp_seconds", 1040),
        ("exoip_holds", 1),
        ("exoip_holding_in_doubt", 0),
        ("exoip_advertised_priority", 10),
        ("exoip_unfit", 1),
        ("exoip_unfit_reason{reason=health check tcp 127.0.0.1:80}", 1),
        ("exoip_unfit_reason{reason=operator}", 1),
        ("exoip_api_degraded", 1),
        ("exoip_preempt_delay_seconds", math.inf),
        ("exoip_same_id", 1),
        ("exoip_outsiders", 1),
        ("exoip_peers", 2),
        ("exoip_peers_alive", 1),
        ("exoip_peer_alive{address=192.0.2.1,peer=name of id-1}", 1),
        ("exoip_peer_alive{address=192.0.2.2,peer=name of id-2}", 0),
        ("exoip_peer_last_heard_timestamp_seconds{address=192.0.2.1,peer=name of id-1}", 1095),
        ("exoip_peer_never_heard{address=192.0.2.1,peer=name of id-1}", 0),
        ("exoip_peer_never_heard{address=192.0.2.2,peer=name of id-2}", 1),
        ("exoip_peer_holds{address=192.0.2.1,peer=name of id-1}", 0),
        ("exoip_heartbeats_sent_total", 70),
        ("exoip_heartbeat_send_failures_total", 2),
        ("exoip_datagrams_received_total", 60),
        ("exoip_datagrams_refused_total{cause=short}", 3),
        ("exoip_events_total{event=attached}", 2),
        ("exoip_events_total{event=lost}", 0),
        ("exoip_moves_total{move=attach}", 2),
        ("exoip_moves_total{move=let-go}", 0),
        ("exoip_failovers_total", 1),
        ("exoip_api_calls_total{call=attach,outcome=done}", 1),
        ("exoip_api_calls_total{call=attach,outcome=timeout}", 1),
        ("exoip_api_calls_total{call=read,outcome=refused}", 0),
        ("exoip_api_call_duration_seconds_sum{call=attach}", 2.25),
        ("exoip_api_call_duration_seconds_count{call=attach}", 2),
        ("exoip_check_state{check=http http://127.0.0.1/,state=failing}", 1),
        ("exoip_check_state{check=command,state=passing}", 0),
        ("exoip_check_results_total{check=http http://127.0.0.1/,result=good}", 6),
        ("exoip_check_results_total{check=http http://127.0.0.1/,result=bad}", 4),
        ("exoip_check_duration_seconds{check=http http://127.0.0.1/}", 0.5),
        ("exoip_hook_calls_total{outcome=failed}", 1),
        ("exoip_hook_skipped_total", 2),
        ("exoip_hook_waiting", 3),
    ],
)  # fmt: skip
def test_values(sample: str, value: float) -> None:
    assert samples(given())[sample] == value


def test_what_is_not_known_is_left_out() -> None:
    found = samples(given(hook=None, checks=()))
    unknown = "last_heard", "advertised_priority", "holds"
    assert not [name for name in found if "name of id-2" in name and any(word in name for word in unknown)]
    assert not [name for name in found if name.startswith(("exoip_hook", "exoip_check"))]


def test_nobody_expects_to_hear_a_peer_that_does_not_run() -> None:
    assert samples(given(stopped={"id-2"}))["exoip_peer_never_heard{address=192.0.2.2,peer=name of id-2}"] == 0


def test_the_daemons_own_memory_and_time() -> None:
    assert {"process_resident_memory_bytes", "process_cpu_seconds_total", "process_start_time_seconds"} <= names()


def test_names_follow_the_conventions() -> None:
    for family in families(given()):
        assert re.fullmatch(r"[a-z]+(_[a-z]+)+", family.name), family.name
        assert family.documentation
        assert not family.name.endswith(("_ms", "_milliseconds", "_count", "_number"))
        assert {sample.name.endswith("_total") for sample in family.samples} <= {family.type == "counter"}


def test_odd_characters_are_quoted() -> None:
    odd = 'a"b\\c\nd{e}'
    check = CheckView(odd, Health.PASSING, 1.0, runs=1)
    labels = [s.labels for f in families(given(display_name=lambda _: odd, checks=(check,))) for s in f.samples]
    assert {"peer": odd, "address": "192.0.2.1"} in labels
    assert {"check": odd, "result": "good"} in labels


def mentioned(source: str) -> set[str]:
    """The metrics that a text names."""
    return set(re.findall(r"\b(?:exoip|process)_[a-z_]+\b", source))


@pytest.mark.parametrize(
    "path", [ALERTS, DASHBOARD, ROOT / "docs" / "integrations.md", ROOT / "man" / "exoip.8"], ids=lambda path: path.name
)
def test_every_metric_that_is_mentioned_exists(path: Path) -> None:
    assert mentioned(path.read_text()) <= names()


def expressions() -> list[str]:
    """Of the rules and of the dashboard."""
    rules = re.findall(r"^ +expr: (?:>\n)?(.*?)^ +(?:for|labels):", ALERTS.read_text(), re.MULTILINE | re.DOTALL)
    return rules + of_the_dashboard()


def of_the_dashboard() -> list[str]:
    board = json.loads(DASHBOARD.read_text())
    panels = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    return panels + [one["expr"] for one in board["annotations"]["list"]]


def test_the_dashboard_shows_only_the_elastic_ip_that_is_chosen() -> None:
    assert [one for one in of_the_dashboard() if 'exoip_node_info{eip=~"$eip"}' not in one] == []


def test_every_label_and_value_in_an_expression_exists() -> None:
    known = {"job": set(), "instance": set(), "eip": set()} | {
        label: {sample.labels.get(label) for family in families(given()) for sample in family.samples}
        for family in families(given())
        for sample in family.samples
        for label in sample.labels
    }
    used = set()
    for one in expressions():
        used |= {label.strip() for group in re.findall(r"\bby \(([^)]*)\)", one) for label in group.split(",")}
        for label, value in re.findall(r'(\w+)[=!~]+"([^"]*)"', one):
            used.add(label)
            assert not re.fullmatch(r"[\w-]+", value) or value in known[label], (label, value)
    assert len(used) > 5
    assert used <= known.keys()


def test_the_rules_are_whole() -> None:
    rules = re.split(r"^ +- alert: ", ALERTS.read_text(), flags=re.MULTILINE)[1:]
    assert len(rules) >= 10
    for rule in rules:
        assert re.search(r"^ +expr: \S", rule, re.MULTILINE)
        assert 'job="' not in rule, "the job may have any name"
        assert re.search(r"severity: (critical|warning|info)", rule)
        assert "summary:" in rule
        assert "description:" in rule


def test_the_dashboard_is_whole() -> None:
    board = json.loads(DASHBOARD.read_text())
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"]) >= 10
    places: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        own = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not own & places, f"{panel['title']} lies on another"
        places |= own
        assert panel["description"]
        assert panel["targets"]


def test_without_the_package_the_error_names_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    for asked in (require_prometheus_client, lambda: render(given())):
        with pytest.raises(
            ConfigError, match=r"--metrics-listen, exoipctl metrics.*apt install python3-prometheus-client"
        ):
            asked()
