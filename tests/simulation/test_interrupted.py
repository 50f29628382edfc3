"""Interrupts the daemon that moves the address between any two of its calls; one right holder must
come of it.
"""

from __future__ import annotations

import pytest

from tests.simulation.interrupted import RESTARTS, SEQUENCES, Sequence, cases, check

WHERE = [(sequence, mover) for sequence in SEQUENCES for mover in sequence.movers]


@pytest.mark.parametrize(("sequence", "mover"), WHERE, ids=lambda value: getattr(value, "name", value))
def test_a_crash_between_any_two_calls(sequence: Sequence, mover: str) -> None:
    chosen = [case for case in cases(sequence) if case.mover == mover]
    assert len(chosen) >= 2 * len(RESTARTS), "the mover makes no calls"
    wrong = [f"{case}: {why}" for case in chosen if (why := check(case))]
    assert not wrong, f"{len(wrong)} of {len(chosen)}:\n" + "\n".join(wrong[:5])
