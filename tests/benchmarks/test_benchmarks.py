"""The benchmarks in short, and the shape of what they measure: how many calls, wake-ups, threads, and no growth. Never how long it took."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import __main__ as bench
from tests.benchmarks import readme
from tests.benchmarks.cluster import BenchCluster
from tests.benchmarks.figures import Figure, at_most, exactly, number, table
from tests.benchmarks.hours import apart
from tests.benchmarks.moves import Moves
from tests.benchmarks.rest import THREADS
from tests.support.process_probe import Usage

CALLS = 8  # of a failover at most: attach, its polls and reads, detach, its polls and reads
CALLS_OF_A_STOP = 16  # of both nodes
GROWN = 20  # objects: a cache or two that is filled late, not something for each failover
HEARTBEATS = 20
WAKES = 2.2  # for each heartbeat sent or heard, all threads: one, and what comes seldom (1.1 to 1.5 on a machine that is busy)


@pytest.fixture(scope="module")
def moved() -> Iterator[Moves]:
    """Two deaths and two planned stops."""
    moves = Moves(0.5)
    moves.run(2)
    return moves


def test_a_failover_begins_with_the_attach_on_an_open_connection(moved: Moves) -> None:
    assert moved.reads.samples == [0, 0]
    assert moved.shaken.samples == [0, 0]


def test_a_failover_takes_few_calls(moved: Moves) -> None:
    assert len(moved.kill_calls.samples) == 2
    assert min(moved.kill_calls.samples) >= 4  # else it counts something else
    assert max(moved.kill_calls.samples) <= CALLS


def test_a_planned_stop_takes_few_calls_and_leaves_no_hole(moved: Moves) -> None:
    assert moved.bare.samples == [0, 0]
    assert max(moved.stop_calls.samples) <= CALLS_OF_A_STOP


def test_a_node_at_rest_wakes_for_heartbeats_only_and_has_its_threads_only() -> None:
    with tempfile.TemporaryDirectory() as folder, BenchCluster(3, 0.2, options=(), folder=Path(folder)) as cluster:
        cluster.start()
        cluster.until(lambda: cluster.holders() == {"n1"}, "n1 holds")
        node = cluster["n3"]
        cluster.until(lambda: all(node.hears(cluster[other]) for other in ("n1", "n2")), "n3 hears the others")

        def beats() -> int:
            return len(cluster.observer.heard)

        began, before = beats(), Usage.of(node.pid)
        cluster.until(lambda: beats() >= began + 3 * HEARTBEATS, "all three beat")
        taken = Usage.of(node.pid)
        woken = (taken.sleeps - before.sleeps) / (beats() - began)
        assert 0.3 < woken < WAKES
        assert taken.threads == THREADS


def test_nothing_grows_and_a_quiet_hour_takes_few_calls() -> None:
    found = apart(2, 50)
    assert abs(found["day's objects"][0]) <= GROWN
    assert abs(found["failovers' objects"][0]) <= GROWN
    assert max(found["failover"]) <= CALLS
    assert 100 < max(found["master"]) <= 500  # three reads every 30 s, two lists every 5 minutes
    assert max(found["backup"]) <= 260


# -- the table --------------------------------------------------------------------------------------------------------


def test_a_figure_has_median_p99_and_worst() -> None:
    figure = Figure("x", "ms", [each / 1000 for each in range(1, 201)])
    told = figure.as_dict()
    assert (told["median"], told["p99"], told["worst"]) == (100.5, 198.0, 200.0)
    assert len(told["samples"]) == 200


@pytest.mark.parametrize(
    ("figure", "verdict"),
    [
        (at_most("x", "ms", 3, 10), ""),
        (at_most("x", "ms"), ""),
        (exactly("x", "count"), ""),
    ],
)
def test_a_figure_without_samples_meets_and_misses_nothing(figure: Figure, verdict: str) -> None:
    assert figure.verdict == verdict


@pytest.mark.parametrize(
    ("figure", "samples", "verdict"),
    [
        (at_most("x", "ms", 3, 10), [0.003, 0.003, 0.010], "met"),
        (at_most("x", "ms", 3, 10), [0.003, 0.0031, 0.010], "missed"),
        (at_most("x", "ms", 3, 10), [0.001, 0.001, 0.011], "missed"),
        (exactly("x", "count"), [0.0, 0.0], "met"),
        (exactly("x", "count"), [0.0, 1.0], "VIOLATED"),
    ],
)
def test_a_target_is_met_or_not(figure: Figure, samples: list[float], verdict: str) -> None:
    figure.samples = samples
    assert figure.verdict == verdict


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.123456, "0.123"), (1.0, "1"), (12.3456, "12.3"), (1234.5, "1234"), (0.00049, "0.00049")],
)
def test_a_number_has_three_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_the_table_is_aligned() -> None:
    first, second = exactly("short", "count"), Figure("rather longer", "s", [1.5])
    lines = table(each.as_dict() for each in (first, second)).splitlines()
    assert lines[1:] == [
        "short, count            0                      0",
        "rather longer, s        1     1.5  1.5    1.5",
    ]


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> dict[str, Figure]:
    """What the two parts of a bench will find."""
    figures = {"one": exactly("first", "count"), "two": Figure("second", "ms", [0.5])}
    figures["one"].samples = [0.0]
    parts = {name: (lambda name=name: [figures[name]], lambda name=name: [figures[name]]) for name in figures}
    monkeypatch.setattr(bench, "PARTS", parts)
    monkeypatch.setattr(bench, "ALL", parts)
    return figures


def kept(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text())


@pytest.mark.usefixtures("capsys")
def test_a_part_measured_again_replaces_its_older_self_alone(parts: dict[str, Figure], tmp_path: Path) -> None:
    file = tmp_path / "deeper" / "bench.json"
    assert bench.main(["--json", str(file), "--only", "one", "two"]) == 0
    first = kept(file)
    parts["two"].samples = [0.25]
    assert bench.main(["--json", str(file), "--only", "two"]) == 0
    again = kept(file)
    assert again["one"] == first["one"]
    assert [part["figures"][0]["samples"] for part in (first["two"], again["two"])] == [[500.0], [250.0]]
    assert again["two"]["machine"]["processors"] == str(os.cpu_count())
    assert "an idle timer" in again["two"]["figures"][-1]["name"]


@pytest.mark.usefixtures("capsys")
def test_what_must_never_happen_is_an_error(parts: dict[str, Figure], tmp_path: Path) -> None:
    parts["one"].samples = [1.0]
    assert bench.main(["--json", str(tmp_path / "bench.json"), "--only", "one"]) == 1


def test_a_short_run_does_not_replace_what_a_long_one_found() -> None:
    assert bench.options(["--short"]).json != bench.options([]).json


def test_every_line_of_the_readme_is_of_a_part_and_comes_from_what_was_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert {part for part, _, _ in readme.LINES} <= set(bench.ALL)
    about = bench.machine()
    found: dict[str, Any] = {part: {"machine": about, "figures": []} for part, _, _ in readme.LINES}
    for value, (part, name, _) in enumerate(readme.LINES):
        found[part]["figures"].append(Figure(name, "s", [float(value)]).as_dict())
    page = tmp_path / "README.md"
    page.write_text(f"before\n{readme.BEGIN}\nold\n{readme.END}\nafter\n")
    monkeypatch.setattr(readme, "README", page)
    readme.write_readme(found)
    lines = page.read_text().splitlines()
    assert (lines[0], lines[-1]) == ("before", "after")
    assert about["date"] in lines[2]
    assert [line.split(" | ")[1] for line in lines if line.startswith("| ")][2:] == [
        f"{n:.0f} s" for n in range(len(readme.LINES))
    ]


def test_the_readme_is_left_alone_until_all_is_measured(tmp_path: Path) -> None:
    before = readme.README.read_text()
    with pytest.raises(SystemExit, match=r"script/bench --only failover-1 failover-0\.2"):
        bench.main(["--readme", "--json", str(tmp_path / "none.json")])
    assert readme.README.read_text() == before


def test_the_readmes_lines_of_moves_name_figures_that_there_are() -> None:
    for part, name, _ in readme.LINES:
        if part.startswith("failover-"):
            assert name in [figure.name for figure in Moves(float(part.removeprefix("failover-"))).figures]


def test_the_readme_has_a_place_for_the_table() -> None:
    page = readme.README.read_text()
    assert page.count(readme.BEGIN) == page.count(readme.END) == 1
