"""What `script/fuzz` searches at length, here in short and always the same; and that it would find
something.

Hypothesis adds inputs of its own: it makes small ones, and makes what breaks smaller.
"""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exoip.exoscale import metadata, models
from exoip.heartbeat import authentication
from exoip.heartbeat.admission import Admission
from tests.fuzz.__main__ import TARGETS, mutated, plain

INPUTS = {"receiver": 6000, "http": 2000, "answers": 600, "metadata": 3000, "configuration": 300, "control": 3000}

quickly = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


def test_every_target_is_tried() -> None:
    assert INPUTS.keys() == TARGETS.keys()


@pytest.mark.parametrize("name", TARGETS)
def test_mutated_examples_break_nothing(name: str) -> None:
    assert plain(name, 0.0, INPUTS[name], seed=1) == INPUTS[name]


@pytest.mark.parametrize("name", TARGETS)
def test_nor_do_bytes_of_any_kind(name: str) -> None:
    target = TARGETS[name][0]()

    @quickly
    @given(
        st.binary(max_size=400)
        | st.integers(0, 2**32).map(lambda n: mutated(TARGETS[name][1](random.Random(n)), random.Random(n)))
    )
    def bytes_of_any_kind(data: bytes) -> None:
        target(data)

    bytes_of_any_kind()


@pytest.mark.parametrize(
    ("name", "place", "instead"),
    [
        ("receiver", (Admission, "judge"), lambda *_: ""),
        ("receiver", (authentication.hmac, "compare_digest"), lambda *_: True),
        ("answers", (models, "_object"), dict),
        ("metadata", (metadata, "_ZONE"), re.compile(".*")),
    ],
    ids=["judge", "digest", "object", "zone"],
)
def test_a_broken_promise_is_found(
    name: str, place: tuple[object, str], instead: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(*place, instead)
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever it is
        plain(name, 0.0, 20 * INPUTS[name], seed=4)  # it is found soon
