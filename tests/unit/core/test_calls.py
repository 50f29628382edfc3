"""The vocabulary between the decision and the API."""

from __future__ import annotations

import dataclasses

import pytest

from exoip.core.calls import LONGEST_TIMEOUT, PACE_MEMORY, Call, Failure, Kind, Lane, Outcome, Pace
from exoip.core.events import Event, EventName


@pytest.mark.parametrize("thing", [Call(Kind.READ, "x"), Outcome(0.0, 1.0), Event(EventName.FIT, 0.0)])
def test_they_cannot_be_changed(thing):
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(thing, dataclasses.fields(thing)[0].name, 7)


@pytest.mark.parametrize("words", [Kind, Lane, Failure, EventName])
def test_words_differ_and_are_their_own_text(words):
    texts = [str(word) for word in words]
    assert len(set(texts)) == len(texts)
    assert all(text == word.value for text, word in zip(texts, words, strict=True))


class TestPace:
    """Time-outs follow what was observed."""

    @staticmethod
    def took(seconds: float, at: float = 0.0, failure: Failure | None = None) -> Outcome:
        return Outcome(at, at + seconds, failure)

    def test_two_seconds_at_first_then_twice_as_long_up_to_ten_until_one_is_answered(self):
        pace = Pace()
        waits = []
        for _ in range(5):
            waits.append(pace.timeout(Kind.READ))
            pace.note(Kind.READ, self.took(waits[-1], failure=Failure.TIMEOUT))
        assert waits == [2.0, 4.0, 8.0, 10.0, 10.0]
        assert pace.timeout(Kind.HOLDERS) == 2.0
        pace.note(Kind.READ, self.took(0.3))
        assert (pace.timeout(Kind.READ), pace.slack) == (2.0, 0.0)

    @pytest.mark.parametrize(("took", "timeout", "slack"), [(0.5, 2.0, 0.0), (2.6, 7.8, 3.2), (8.0, 10.0, 14.0)])
    def test_three_times_the_slowest_answer_of_ten_minutes(self, took, timeout, slack):
        pace = Pace()
        pace.note(Kind.ATTACH, self.took(took))
        pace.note(Kind.READ, self.took(0.1, at=PACE_MEMORY - 1))
        assert (pace.timeout(Kind.READ), pace.timeout(Kind.POLL), pace.slack) == pytest.approx(
            (timeout, timeout, slack)
        )
        pace.note(Kind.READ, self.took(0.1, at=PACE_MEMORY + took))
        assert (pace.timeout(Kind.READ), pace.slack) == (2.0, 0.0)

    @pytest.mark.parametrize("kind", [Kind.ATTACH, Kind.DETACH, Kind.REFRESH])
    def test_mutations_and_the_group_have_ten_seconds_for_each_call(self, kind):
        assert Pace().timeout(kind) == LONGEST_TIMEOUT

    @pytest.mark.parametrize(
        ("kind", "seconds", "failure"),
        [(Kind.REFRESH, 6.0, None), (Kind.READ, 3600.0, None), (Kind.READ, 5.0, Failure.UNREACHABLE)],
    )
    def test_what_is_no_answer_to_one_call_says_nothing(self, kind, seconds, failure):
        """A refresh is several calls, a machine may have slept meanwhile, and no connection is no answer."""
        pace = Pace()
        pace.note(kind, self.took(seconds, failure=failure))
        assert (pace.timeout(Kind.READ), pace.slack) == (2.0, 0.0)
