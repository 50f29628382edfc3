"""`exoipctl history` as it is run: files with the output of journalctl go in, a table and
timelines, or JSON, come out.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from exoip.core.calls import Kind
from tests.support.ctl import Ctl, on_a_terminal
from tests.support.journals import EPOCH, Journals

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("history")]

EIP = "198.51.100.50"


@pytest.fixture(scope="module")
def night() -> Journals:
    """Last night: a died and came back, was drained and undrained; somebody detached by hand."""
    journals = Journals()
    journals.step(journals["a"].kill, 3600)
    journals["a"].up = True
    journals.step(journals["a"].start, 3600)
    journals.step(lambda: journals.aside("a", "operator", "drained by ann (uid 0): new kernel"), 3600)
    journals.step(lambda: journals.aside("a", "operator", ""), 3600)
    world = journals.world
    journals.step(lambda: world.zone.detach(world.eip_id, journals["a"].id, world.now))
    return journals


@pytest.fixture
def ctl(tmp_path: Path) -> Ctl:
    one = Ctl(tmp_path, executed=True)
    one.env |= {"TZ": "UTC"}
    return one


def file(journals: Journals, names: str, folder: Path, eip: str = EIP) -> str:
    path = folder / f"{names}-{eip}.json"
    path.write_text("".join(json.dumps(entry | {"EXOIP_EIP": eip}) + "\n" for entry in journals.of(names)))
    return str(path)


def test_the_failovers_of_a_night(ctl: Ctl, night: Journals, tmp_path: Path) -> None:
    text = ctl("history", "--input", file(night, "abc", tmp_path))
    head, *rows = text.partition("\n\n")[0].splitlines()
    assert head.split() == ["when", "from", "to", "took", "why"]
    moves = ["? web-a", "web-a web-b", "web-b web-a", "web-a web-b", "web-b web-a", "nobody web-a"]
    assert [" ".join(row.split()[2:4]) for row in rows] == moves
    assert rows[1].startswith("2025-11-24 16:00:23  web-a")
    assert "web-a (192.0.2.1)" in rows[1]
    assert "drained by ann (uid 0): new kernel" in rows[3]
    address, *timeline, axis, searched = text.partition("\n\n")[2].splitlines()
    assert address == EIP
    assert [line.split()[0] for line in timeline] == ["?", "web-a", "web-b"]
    assert "█" in timeline[0]
    assert "11-24 16:00" in axis
    assert searched.startswith("searched: 1 file, from 2025-11-24 16:00:00 to 2025-11-24 ")
    ctl.env |= {"PYTHONIOENCODING": "ascii"}
    assert ctl("history", "--input", file(night, "abc", tmp_path)).isascii()


def test_a_name_that_the_locale_cannot_write(ctl: Ctl, night: Journals, tmp_path: Path) -> None:
    path = tmp_path / "accent.json"
    entries = [json.dumps(entry | {"_HOSTNAME": "wéb"}) for entry in night.of("a")]
    path.write_text("\n".join(entries))
    ctl.env |= {"PYTHONIOENCODING": "ascii"}
    assert r"w\xe9b" in ctl("history", "--input", str(path))


def test_of_several_files_and_standard_input(ctl: Ctl, night: Journals, tmp_path: Path) -> None:
    whole = ctl("history", "--input", file(night, "abc", tmp_path))
    several = ctl("history", "--input", *(file(night, name, tmp_path) for name in "cab"))
    assert several == whole.replace("searched: 1 file,", "searched: 3 files,")
    command = [*ctl.program, "history", "--input", "-"]
    with open(file(night, "abc", tmp_path)) as stream:
        done = subprocess.run(command, stdin=stream, env=ctl.env, capture_output=True, text=True)
    assert done.stdout == whole.replace("searched: 1 file,", "searched: standard input,")


def test_as_json(ctl: Ctl, night: Journals, tmp_path: Path) -> None:
    printed = json.loads(ctl("history", "--json", "--input", file(night, "abc", tmp_path)))
    assert json.loads(ctl("history", "--output", "json", "--input", file(night, "abc", tmp_path))) == printed
    assert (printed["version"], printed["first"]) == (1, EPOCH)
    assert printed["last"] > EPOCH + 4 * 3600
    assert len(printed["failovers"]) == 6
    first, second = printed["failovers"][:2]
    assert (first["from"], printed["failovers"][-1]["from"]) == (None, []), "unknown, and nobody"
    assert set(second) == {"at", "eip", "from", "to", "why", "took", "told_by", "seen"}
    assert (second["eip"], second["seen"]) == (EIP, False)
    assert [one["name"] for one in (*second["from"], second["to"], second["told_by"])] == ["web-a", "web-b", "web-b"]
    assert 3.0 < second["took"] < 4.0


def test_as_tab_separated_values(ctl: Ctl, night: Journals, tmp_path: Path) -> None:
    text = ctl("history", "--output", "tsv", "--input", file(night, "abc", tmp_path))
    heading, *rows = [line.split("\t") for line in text.splitlines()]
    assert heading == ["at", "eip", "from", "to", "took", "why"]
    assert [row[2:4] for row in (*rows[:2], rows[-1])] == [["?", "web-a"], ["web-a", "web-b"], ["nobody", "web-a"]]
    assert (rows[1][0], rows[1][1]) == ("2025-11-24 16:00:23", EIP)
    assert 3.0 < float(rows[1][4]) < 4.0
    assert {len(row) for row in rows} == {6}


def test_no_entries_and_no_failover(ctl: Ctl, night: Journals, tmp_path: Path) -> None:
    path = tmp_path / "some.json"
    path.write_text("-- No entries --\n")
    assert ctl("history", "--input", str(path)) == "no entries of exoip in 1 file\n"
    quiet = [entry for entry in night.of("b")[:4] if entry["EXOIP_EVENT"] != "role"]
    path.write_text("".join(json.dumps(entry) + "\n" for entry in quiet))
    assert ctl("history", "--input", str(path)).startswith("no failover in 1 file, from 2025-11-24 16:00:0")


def test_what_was_searched_and_what_to_do_if_the_log_is_elsewhere(ctl: Ctl, tmp_path: Path) -> None:
    """Beside a journalctl that finds nothing."""
    program = tmp_path / "bin/journalctl"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    ctl.env |= {"PATH": f"{program.parent}:{ctl.env['PATH']}"}
    first, *rest = ctl("history", "web", "--since", "yesterday", "--until", "-2h").splitlines()
    assert first == "no entries of exoip in this host's journal of exoip@web.service since yesterday until -2h"
    assert rest[0].startswith("Without NAME it searches all units")
    assert any("systemd-cat -t exoip" in line for line in rest)
    assert ctl("history").startswith("no entries of exoip in this host's journal of all exoip daemons\n")


def test_each_of_two_addresses_has_its_timeline(ctl: Ctl, night: Journals, tmp_path: Path) -> None:
    other = "198.51.100.51"
    files = file(night, "abc", tmp_path), file(night, "abc", tmp_path, other)
    table, *timelines = ctl("history", "--input", *files).split("\n\n")
    assert table.splitlines()[0].split()[:3] == ["when", "address", "from"]
    assert len(table.splitlines()) == 13
    assert [one.splitlines()[0] for one in timelines] == [EIP, other]


def test_nobody_is_drawn_while_each_journal_says_that_its_node_does_not_hold(ctl: Ctl, tmp_path: Path) -> None:
    journals, other = Journals(), "203.0.113.7"
    files, world = [file(journals, "abc", tmp_path, other)], journals.world
    for name in "abc":
        journals[name].api.modes[Kind.ATTACH] = "fail"
    journals.step(lambda: world.zone.detach(world.eip_id, journals["a"].id, world.now))
    for name in "abc":
        journals[name].api.heal()
    journals.step(lambda: None)
    unmarked = {}
    for timeline in ctl("history", "--input", *files, file(journals, "abc", tmp_path)).split("\n\n")[1:]:
        eip, *lines = timeline.splitlines()
        columns = zip(*(line.split()[1] for line in lines if "·" in line), strict=True)
        unmarked[eip] = sum("█" not in column for column in columns)
    assert unmarked[other] == 0
    assert 30 < unmarked[EIP] < 60, "a minute is some forty columns"


def test_the_timeline_fits_on_a_terminal(ctl: Ctl, night: Journals, tmp_path: Path) -> None:
    ctl.program += ["history", "--input", file(night, "abc", tmp_path)]
    text = on_a_terminal(ctl, {"TERM": "xterm", "COLUMNS": "60"})
    assert "\x1b[" in text
    assert all(len(line.rstrip("\r\n")) <= 60 for line in text.splitlines()[-5:-1])


def test_errors(ctl: Ctl) -> None:
    for words in (("web",), ("--since", "today"), ("--until", "now")):
        assert "not with --input" in ctl("history", *words, "--input", "-", code=3, errors=True)
    assert "cannot be an instance name" in ctl("history", "a/b", code=3, errors=True)
    assert "--input /nowhere: No such file" in ctl("history", "--input", "/nowhere", code=1, errors=True)
