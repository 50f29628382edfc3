"""Interrupts the daemon that moves the address between any two of its calls; one right holder must
come of it.
"""

from __future__ import annotations

import pytest

from tests.simulation.interrupted import RESTARTS, SEQUENCES, Case, Sequence, cases, check

WHERE = [(sequence, mover) for sequence in SEQUENCES for mover in sequence.movers]


by_sequence = pytest.mark.parametrize(("sequence", "mover"), WHERE, ids=lambda value: getattr(value, "name", value))


def of(sequence: Sequence, mover: str) -> list[Case]:
    """Every case of a sequence and a mover."""
    chosen = [case for case in cases(sequence) if case.mover == mover]
    assert len(chosen) >= 2 * len(RESTARTS), "the mover makes no calls"
    return chosen


@pytest.mark.long
@by_sequence
def test_a_crash_between_any_two_calls(sequence: Sequence, mover: str) -> None:
    none_is_wrong(of(sequence, mover))


@by_sequence
def test_a_crash_between_some_two_calls(sequence: Sequence, mover: str) -> None:
    """Every seventh case: before and after a call, with each restart."""
    none_is_wrong(of(sequence, mover)[::7])


def none_is_wrong(chosen: list[Case]) -> None:
    wrong = [f"{case}: {why}" for case in chosen if (why := check(case))]
    assert not wrong, f"{len(wrong)} of {len(chosen)}:\n" + "\n".join(wrong[:5])
