"""Every order of events in small scopes, as deep as some seconds allow; `script/simulate --exhaustive`
goes deeper.
"""

from __future__ import annotations

import pytest

from exoip.core.calls import Kind
from tests.simulation import exhaustive
from tests.simulation.exhaustive import SCOPES, Small, formed, search, steps
from tests.simulation.scope import Scope

DEPTH = 4
QUICK = SCOPES[2:4]


@pytest.mark.parametrize("small", QUICK, ids=lambda small: small.name)
def test_nothing_is_violated_whatever_the_order(small: Small) -> None:
    found = search(small, DEPTH, 60.0)
    assert found.complete
    assert found.violations == []
    assert found.states > 40


def test_a_copy_goes_its_own_way_and_equal_states_have_equal_keys() -> None:
    one = formed(SCOPES[0])
    other = one.copy()
    assert one.key() == other.key()
    other.kill(0)
    other.pass_time(4.0)
    assert one.key() != other.key()
    assert [call.call.kind for call in other.pending if call.free] == [Kind.ATTACH]
    assert not any(call.free for call in one.pending)


def test_the_search_finds_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """A world in which nothing that a node attaches takes effect leaves nobody with the address."""

    def nothing(self: Scope, which: int) -> None:
        self.pending[which].effect = True

    start = formed(SCOPES[0])
    monkeypatch.setattr(exhaustive, "formed", lambda small: start)
    monkeypatch.setattr(Scope, "take_effect", nothing)
    found = search(SCOPES[0], 1, 60.0)
    assert any("no live holder" in wrong for path, wrong in found.violations if path == ("a dies",))


def test_what_may_happen_names_every_call_death_and_link() -> None:
    scope = formed(SCOPES[1])
    scope.kill(0)
    scope.pass_time(4.0)
    words = [words for words, _ in steps(scope, SCOPES[1])]
    assert "b's attach of b takes effect" in words
    assert "b's attach of b is answered unavailable" in words
    assert "time passes" in words
