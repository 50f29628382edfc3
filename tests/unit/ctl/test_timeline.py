"""Who held when, drawn."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from exoip.ctl.failovers import Failover
from exoip.ctl.history import HELD, Change
from exoip.ctl.timeline import ASCII_MARKS, draw, table

NAMES = {"a": "web-1", "b": "web-22"}


def failover(at: float, source: str, to: str) -> Failover:
    return Failover(at, "198.51.100.50", tuple(source), to, "why", None, "a")


def change(at: float, instance: str, event: str) -> Change:
    return Change(at, 0.0, "198.51.100.50", instance, event in ("attached", "holds"), "why", event, instance)


def drawn(
    *failovers: Failover, changes: Sequence[Change] = (), began: float = 0.0, ended: float = 100.0, width: int = 27
) -> dict[str, str]:
    """The cells by label; a width of 27 leaves 20 columns beside web-22, one of 26 beside web-1."""
    *rows, _ = draw(failovers, changes, NAMES, began, ended, width, ASCII_MARKS)
    return dict(tuple(row.split()) for row in rows)


def test_one_after_the_other() -> None:
    assert drawn(failover(50.0, "a", "b")) == {
        "web-1": "##########..........",
        "web-22": "..........##########",
    }


def test_a_short_time_is_seen_too() -> None:
    found = drawn(failover(50.0, "a", "b"), failover(50.1, "b", "a"))
    assert found["web-22"] == "..........#........."
    assert found["web-1"].count(".") <= 1


def test_nobody_has_a_line_too() -> None:
    found = drawn(replace(failover(25.0, "", "a"), vacant=True), failover(75.0, "a", ""))
    assert found == {"nobody": "#####..........#####", "web-1": ".....##########....."}


def test_who_held_before_the_first_known_holder_is_not_nobody() -> None:
    assert drawn(failover(25.0, "", "a"), width=26) == {"?": "#####" + 15 * ".", "web-1": "....." + 15 * "#"}
    sources = [row.split()[2] for row in table([failover(25.0, "", "a"), failover(50.0, "a", "")], NAMES)[1:]]
    assert sources == ["?", "web-1"]


@pytest.mark.parametrize("event", ["lost", "let-go", "cleared"])
def test_who_has_ceased_to_hold_is_drawn_no_longer_and_nobody_else_is(event: str) -> None:
    changes = [change(25.0, "a", "attached"), change(50.0, "a", event)]
    assert drawn(
        failover(25.0, "", "a"), failover(75.0, "", "a"), changes=[*changes, change(75.0, "a", "attached")], width=26
    ) == {
        "?": "#####...............",
        "web-1": ".....#####.....#####",
    }
    assert drawn(failover(25.0, "", "a"), changes=changes, width=26)["web-1"] == ".....#####.........."
    assert drawn(failover(25.0, "", "a"), changes=changes, began=60.0) == {}


def test_who_holds_again_is_drawn_again_also_without_a_failover() -> None:
    changes = [change(50.0, "a", "lost"), change(75.0, "a", "holds")]
    assert drawn(failover(25.0, "", "a"), changes=changes, width=26)["web-1"] == ".....#####.....#####"


def test_who_came_to_hold_without_a_failover_had_not_held_since_the_beginning() -> None:
    changes = [change(25.0, "a", "holds"), change(50.0, "a", "let-go")]
    assert drawn(failover(50.0, "a", "b"), changes=changes) == {
        "?": "#####...............",
        "web-1": ".....#####..........",
        "web-22": "..........##########",
    }
    held = [replace(changes[0], event=HELD), changes[1]]
    assert drawn(failover(50.0, "a", "b"), changes=held) == drawn(failover(50.0, "a", "b"))


def test_the_old_holder_may_let_go_after_the_new_one_holds() -> None:
    moves = failover(50.0, "a", "b"), failover(75.0, "b", "a")
    changes = [change(50.0, "b", "attached"), change(60.0, "a", "let-go"), change(75.0, "a", "attached")]
    assert drawn(*moves, changes=[*changes, change(85.0, "b", "cleared")]) == drawn(*moves)


def test_what_is_outside_is_left_out() -> None:
    assert drawn(failover(50.0, "a", "b"), began=60.0) == {"web-22": "#" * 20}
    assert drawn(failover(50.0, "a", "b"), ended=40.0) == {"web-1": "#" * 21}


@pytest.mark.parametrize("width", [1, 27, 40, 80, 200])
def test_every_line_has_the_width_but_a_least_one(width: int) -> None:
    lines = list(draw([failover(50.0, "a", "b")], [], NAMES, 0.0, 100.0, width, ASCII_MARKS))
    assert {len(line) for line in lines[:-1]} == {max(width, 27)}
    assert "1 column =" in lines[-1] or width < 80


def test_each_moment_has_somebody_if_nobody_reported_a_loss() -> None:
    chance = random.Random(1)
    for _ in range(300):
        times = sorted(chance.uniform(0, 100) for _ in range(chance.randint(1, 6)))
        who = [chance.choice("ab") for _ in times]
        found = drawn(*(failover(at, chance.choice("ab"), to) for at, to in zip(times, who, strict=True)))
        assert all("#" in column for column in zip(*found.values(), strict=True))
    assert len(list(draw([], [], NAMES, 0.0, 1.0, 80, ASCII_MARKS))) == 1
