"""What `script/fuzz` searches at length, here in short and always the same; and that it would find something.

Hypothesis adds inputs of its own: it makes small ones, and makes what breaks smaller.
"""

from __future__ import annotations

import random
import re
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exoip.core.admission import Admission
from exoip.exoscale import metadata, models
from exoip.heartbeat import authentication
from tests.fuzz.__main__ import TARGETS, Broken, datagrams, main, mutated, plain, proven
from tests.support.paths import ROOT
from tests.support.waiting import PATIENCE

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


def test_most_examples_count_until_they_are_mutated() -> None:
    """Else the receiver would be tried with nothing but what the length already refuses."""
    chance, counted = random.Random(1), 0
    for _ in range(200):
        data = datagrams(chance)
        counted += bool(
            proven(data[2:], f"{'192.0.2.' if data[1] < 2 else '2001:db8::'}{data[1]}", authentication.AuthPolicy())
        )
    assert counted == 200


@pytest.mark.parametrize(
    ("name", "place", "instead"),
    [
        ("receiver", (Admission, "judge"), lambda *_: ""),
        ("receiver", (authentication.hmac, "compare_digest"), lambda *_: True),
        ("answers", (models, "_object"), dict),
        ("metadata", (metadata, "_ZONE"), re.compile(".*")),
    ],
    ids=str,
)
def test_a_broken_promise_is_found(
    name: str, place: tuple[object, str], instead: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(*place, instead)
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever it is
        plain(name, 0.0, 20 * INPUTS[name], seed=1)


def test_the_command_says_what_it_did_and_takes_one_input() -> None:
    words = [sys.executable, "-m", "tests.fuzz", "control", "--plain", "--inputs", "500", "--seed", "7"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("control: 500 inputs, ")
    assert done.stdout.endswith("seed 7\n")
    assert main(["receiver", "--hex", "00ff" + "00" * 24]) == 0


def test_what_breaks_is_told_so_that_it_can_be_tried_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Admission, "judge", lambda *_: "")
    with pytest.raises(Broken):
        plain("receiver", 0.0, 1000, seed=1)
    told = capsys.readouterr().err
    data = told.split("--hex ")[1].strip()
    with pytest.raises(Broken):
        main(["receiver", "--hex", data])
