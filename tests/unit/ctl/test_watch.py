"""What is watched: on a terminal of 80x24, in a pipe, and when Ctrl-C ends it."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from collections.abc import Iterator

import pytest

from exoip.ctl.status import Block
from exoip.ctl.terminal import unstyled
from exoip.ctl.watch import MARK_TIME, Marks, _Screen
from tests.support.cluster import Cluster
from tests.support.ctl import Ctl
from tests.support.paths import ROOT
from tests.support.terminal import COLUMNS, LINES, Screen, Terminal
from tests.support.waiting import PATIENCE


def blocks(*texts: str) -> list[Block]:
    return [Block((text,)) for text in texts]


def test_what_changes_is_marked_for_a_while_and_durations_do_not_count() -> None:
    marks = Marks()
    assert marks.changed(blocks("role for 1.0 s", "dead for 9.9 s"), 100.0) == [False, False]
    assert marks.changed(blocks("role for 1 min 3 s", "dead for 10 s"), 101.0) == [False, False]
    assert marks.changed(blocks("role for 3 s", "alive for 2 h 1 min"), 102.0) == [False, True]
    assert marks.changed(blocks("role", "alive for 1 d"), 102.0 + MARK_TIME - 1) == [True, True]
    assert marks.changed(blocks("role", "alive for 1 d"), 102.0 + MARK_TIME) == [True, False]


@pytest.fixture
def drawn() -> Iterator[tuple[_Screen, Screen]]:
    """A screen that draws on a pseudo-terminal, and one that shows what arrives there."""
    ours, theirs = pty.openpty()
    shown = Screen()

    class Out:
        def fileno(self) -> int:
            return theirs

        def write(self, text: str) -> int:
            shown.feed(text.replace("\n", "\r\n"))  # as the terminal's driver does
            return len(text)

    os.set_blocking(ours, False)
    import fcntl
    import struct
    import termios

    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", LINES, COLUMNS, 0, 0))
    yield _Screen(Out(), unstyled), shown  # type: ignore[arg-type]
    os.close(ours)
    os.close(theirs)


def test_a_picture_is_drawn_over_the_one_before(drawn: tuple[_Screen, Screen]) -> None:
    screen, shown = drawn
    screen.draw(blocks("web  MASTER", "  first", "  second", "  third"), "title", 100.0)
    screen.draw(blocks("web  BACKUP", "  first"), "title", 101.0)
    assert shown.text[:4] == ["title", "web  BACKUP  *", "  first", ""]
    assert not any(shown.text[4:])
    screen.draw(blocks("web  BACKUP", "  first", "  new"), "title", 120.0)
    assert shown.text[:4] == ["title", "web  BACKUP", "  first", "* new"]
    assert shown.wraps, "it leaves nothing behind"


def test_a_picture_never_exceeds_the_window(drawn: tuple[_Screen, Screen]) -> None:
    screen, shown = drawn
    long = "x" * 200
    for now in (100.0, 101.0):
        screen.draw(blocks("web", f"  {long}", *(f"  line {number}" for number in range(40))), "title", now)
    assert shown.text[0] == "title"
    assert shown.text[2] == f"  {long}"[: COLUMNS - 1] + "x"
    assert shown.text[LINES - 2] == "  … 21 more lines, see exoipctl status"
    assert shown.text[LINES - 1] == ""


@pytest.mark.slow
def test_a_death_and_ctrl_c_on_a_terminal(cluster: Cluster, ctl: Ctl) -> None:
    with Terminal([*ctl.program, "status", "--watch", "0.2", "n1"], ctl.env) as terminal:
        lines = terminal.until("n1  ")
        assert "Ctrl-C ends" in lines[0]
        assert lines[1].startswith(f"n1  {cluster.eip}  MASTER  healthy")
        assert [line for line in lines if line.startswith("  events ")]
        cluster["n2"].kill()
        lines = terminal.until("is dead: not heard for")
        marked = "\n".join(terminal.screen.marked())
        assert f"* ! n2 ({cluster['n2'].address}) is not heard" in marked
        assert "degraded  *" in marked
        assert "* API" not in marked
        assert sum("Ctrl-C ends" in line for line in lines) == 1, "in place"
        assert lines[LINES - 1] == ""
        terminal.press(b"\x03")
        assert terminal.wait() == 0
        assert "Traceback" not in "\n".join(terminal.screen.text)
        assert terminal.screen.wraps
        last = max(number for number, line in enumerate(terminal.screen.text) if line)
        assert terminal.screen.row == last + 1, "the prompt comes below the last picture"
        assert terminal.screen.column == 0


def first_lines(words: list[str], env: dict[str, str], count: int) -> list[str]:
    """Start the command in a pipe, read so many lines, and end it with Ctrl-C."""
    with subprocess.Popen(words, env=env, cwd=ROOT, stdout=subprocess.PIPE, text=True) as one:
        try:
            assert one.stdout is not None
            lines = [one.stdout.readline() for _ in range(count)]
            one.send_signal(signal.SIGINT)
            one.communicate(timeout=PATIENCE)
            assert one.returncode == 0
        finally:
            one.kill()
    return lines


@pytest.mark.slow
def test_in_a_pipe(cluster: Cluster, ctl: Ctl) -> None:
    words = [*ctl.program, "status", "n1", "-n", "1", "--watch", "0.1"]
    pictures = "".join(first_lines(words, ctl.env | {"TERM": "xterm"}, 30))
    assert "\x1b" not in pictures
    assert pictures.count(f"n1  {cluster.eip}  MASTER") >= 2
    told = [json.loads(line) for line in first_lines([*words, "--json"], ctl.env, 2)]
    assert [each["instances"][0]["status"]["role"] for each in told] == ["master"] * 2
    piped = subprocess.run(
        ["sh", "-c", '"$@" | head -3', "sh", *words],
        env=ctl.env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (len(piped.stdout.splitlines()), piped.stderr) == (3, "")


@pytest.mark.slow
def test_a_daemon_that_stops_and_comes_back_is_watched_on(cluster: Cluster, ctl: Ctl) -> None:
    with Terminal([*ctl.program, "cluster", "--watch", "0.1"], ctl.env) as terminal:
        assert terminal.until("n2  ")[1].split() == ["n1", cluster.eip, "healthy"]
        for name in ("n1", "n2"):
            cluster[name].stop()
        terminal.until("no exoip")
        cluster.start()
        lines = terminal.until("MASTER")
        assert sum("Ctrl-C ends" in line for line in lines) == 1
    with Terminal([*ctl.program, "status", "n2", "--watch", "0.1"], ctl.env) as terminal:
        terminal.until("BACKUP  healthy")
        cluster["n2"].stop()
        terminal.until("n2 is not running")
        cluster.start("n2")
        terminal.until("BACKUP  healthy")
