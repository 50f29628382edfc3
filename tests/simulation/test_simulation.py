"""Random faults in the simulated world; `script/simulate` runs as many seeds as one has time for."""

from __future__ import annotations

import pytest

from tests.simulation import simulate

SEEDS = range(60)


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_violated_under_random_faults(seed: int) -> None:
    result = simulate.one(seed)
    assert not result.violations, (
        f"{result.violations}; faults: {result.faults}; see script/simulate --transcript {seed}"
    )


def test_the_same_seed_gives_the_same_run() -> None:
    first, second = (simulate.run_chaos(7, quiet=False).transcript for _ in range(2))
    assert first == second
    assert len(first) > 10


def test_the_command_tells_of_holes_convergence_and_speed(capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate.main(["--seeds", "3", "--start", "100", "--jobs", "1"]) == 0
    told = capsys.readouterr().out
    for words in ("3 seeds: 0 with a violation", "holes", "converged", "node-hours"):
        assert words in told


def test_a_run_that_breaks_a_rule_is_told_with_seed_and_transcript(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(chaos: simulate.Chaos) -> None:
        chaos.build()
        chaos.world.advance(10.0)
        chaos.report.transcript = chaos.world.transcript or []
        chaos.report.violations.append("made up for this test")
        raise ArithmeticError("and a bug of ours")

    monkeypatch.setattr(simulate.Chaos, "run", broken)
    assert simulate.main(["--seeds", "1", "--start", "42", "--jobs", "1"]) == 1
    told = capsys.readouterr().out
    for words in ("seed 42 violates", "made up for this test", "a bug of ours", "role MASTER", "1 with a violation"):
        assert words in told
