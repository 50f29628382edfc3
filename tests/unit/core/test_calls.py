"""The vocabulary between the decision and the API."""

from __future__ import annotations

import dataclasses
import math

import pytest

from exoip.core.calls import Call, Failure, Kind, Lane, Outcome
from exoip.core.events import Event, EventName


@pytest.mark.parametrize(
    ("began", "ended"), [(2.0, 1.0), (math.nan, 1.0), (1.0, math.nan), (math.inf, math.inf), (-math.inf, 0.0)]
)
def test_a_call_cannot_end_before_it_began(began, ended):
    with pytest.raises(ValueError, match="a call cannot begin at"):
        Outcome(began, ended)


def test_a_call_may_take_no_time_at_all():
    assert Outcome(1.0, 1.0).failure is None


@pytest.mark.parametrize("thing", [Call(Kind.READ, "x"), Outcome(0.0, 1.0), Event(EventName.FIT, 0.0)])
def test_they_cannot_be_changed(thing):
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(thing, dataclasses.fields(thing)[0].name, 7)


def test_the_details_of_an_event_without_any_cannot_be_shared_by_mistake():
    with pytest.raises(TypeError):
        Event(EventName.FIT, 0.0).details["x"] = 1  # type: ignore[index]
    assert Event(EventName.LOST, 0.0).details == {}


@pytest.mark.parametrize("words", [Kind, Lane, Failure, EventName])
def test_words_differ_and_are_their_own_text(words):
    texts = [str(word) for word in words]
    assert len(set(texts)) == len(texts)
    assert all(text == word.value for text, word in zip(texts, words, strict=True))
