"""The control socket: a real one, with clients of every kind."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from exoip.errors import ConfigError
from exoip.operator import control_server
from exoip.operator.control_server import LONGEST_REQUEST, MOST_CLIENTS, Control, bind, default_path, start
from tests.support.waiting import PATIENCE, until


class Served:
    """A socket that answers every line with the line itself and who asked, and counts."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "control")
        self.asked: list[bytes] = []
        self.hold = threading.Event()
        self.hold.set()
        self.answer_with = b""
        self.control = Control(self.path, self._answer)
        self.control.start()

    def _answer(self, line: bytes, uid: int) -> bytes:
        self.asked.append(line)
        assert self.hold.wait(PATIENCE)
        return self.answer_with or b"%b of %d\n" % (line, uid)

    def connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.connect(self.path)
        client.settimeout(PATIENCE)
        return client

    def ask(self, line: bytes) -> bytes:
        with self.connect() as client:
            client.sendall(line + b"\n")
            return client.makefile("rb").readline()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    one = Served(tmp_path)
    yield one
    one.hold.set()
    one.control.close()
    one.control.join(PATIENCE)
    assert not one.control.is_alive()


def test_a_line_is_answered_by_a_line_and_who_asks_is_known(served: Served) -> None:
    assert served.ask(b"how is it") == b"how is it of %d\n" % os.getuid()


def test_a_connection_may_ask_again_and_all_at_once(served: Served) -> None:
    with served.connect() as client:
        client.sendall(b"one\ntwo\nth")
        answers = client.makefile("rb")
        assert answers.readline().startswith(b"one ")
        assert answers.readline().startswith(b"two ")
        client.sendall(b"ree\n")
        assert answers.readline().startswith(b"three ")


def test_who_sends_and_shuts_is_answered_all_the_same(served: Served) -> None:
    with served.connect() as client:
        client.sendall(b"one\ntwo\n")
        client.shutdown(socket.SHUT_WR)
        assert [line.split()[0] for line in client.makefile("rb")] == [b"one", b"two"]


def test_a_line_without_an_end_is_refused(served: Served) -> None:
    with served.connect() as client:
        client.sendall(b"x" * LONGEST_REQUEST)
        said = client.makefile("rb").read()
    assert b'"ok": false' in said
    assert b"65536 bytes" in said
    assert served.asked == []
    with served.connect() as client:
        client.sendall(b"y" * (LONGEST_REQUEST - 1) + b"\n")
        assert client.makefile("rb").readline().startswith(b"yyy")


def test_who_hangs_up_disturbs_nobody(served: Served) -> None:
    for _ in range(3 * MOST_CLIENTS):
        served.connect().close()
        with served.connect() as client:
            client.sendall(b"half a req")
        with served.connect() as client:
            client.sendall(b"whole\n")
    assert served.ask(b"still there").startswith(b"still there")


def test_the_silent_are_sent_away_in_time(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_server, "CLIENT_TIME", 0.2)
    silent = [served.connect() for _ in range(2 * MOST_CLIENTS)]
    assert served.ask(b"my turn").startswith(b"my turn")
    for client in silent:
        assert client.recv(1) == b""
        client.close()


def test_who_does_not_read_is_sent_away_in_time(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_server, "CLIENT_TIME", 0.2)
    served.answer_with = b"z" * 10_000_000 + b"\n"
    with served.connect() as deaf:
        deaf.sendall(b"one\n")
        until(lambda: served.asked, "it was asked")
        served.answer_with = b""
        assert served.ask(b"two").startswith(b"two")
        until(lambda: len(served.control._clients) == 0, "both are gone")


def test_a_large_answer_arrives_whole(served: Served) -> None:
    served.answer_with = b"z" * 1_000_000 + b"\n"
    assert served.ask(b"all") == served.answer_with


def test_no_more_than_so_many_are_served_at_a_time(served: Served) -> None:
    many = [served.connect() for _ in range(MOST_CLIENTS)]
    until(lambda: len(served.control._clients) == MOST_CLIENTS, "all of them are in")
    late = served.connect()
    late.sendall(b"late\n")
    many[0].sendall(b"early\n")
    assert many[0].makefile("rb").readline().startswith(b"early")
    assert served.asked == [b"early"]
    for client in many:
        client.close()
    assert late.makefile("rb").readline().startswith(b"late")
    late.close()


# The file.


def test_only_the_user_and_the_group_may_connect_whatever_the_umask(tmp_path: Path) -> None:
    for umask in (0o000, 0o077, 0o777):
        before = os.umask(umask)
        try:
            listener = bind(str(tmp_path / f"control{umask}"))
        finally:
            os.umask(before)
        with listener:
            mode = (tmp_path / f"control{umask}").lstat().st_mode
            assert (stat.S_ISSOCK(mode), stat.S_IMODE(mode)) == (True, 0o660)


def test_it_is_never_open_to_more_not_even_for_a_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []
    monkeypatch.setattr(
        control_server.os, "chmod", lambda path, mode: modes.append(stat.S_IMODE(os.lstat(path).st_mode))
    )
    before = os.umask(0)
    try:
        bind(str(tmp_path / "control")).close()
    finally:
        os.umask(before)
    assert modes == [0o660]


def test_what_a_crash_left_is_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "control")
    code = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen()"
    subprocess.run([sys.executable, "-c", code, path], check=True, timeout=PATIENCE)
    assert os.path.exists(path)
    bind(path).close()
    one = Served(tmp_path)
    assert one.ask(b"a").startswith(b"a")
    one.control.close()
    assert not os.path.exists(path)


def test_a_living_one_is_not_replaced(served: Served) -> None:
    with pytest.raises(ConfigError, match=r"--control-socket .*/control is in use: each daemon needs one of its own"):
        bind(served.path)
    assert served.ask(b"still here").startswith(b"still here")


def test_one_that_is_busy_is_not_replaced_either(tmp_path: Path) -> None:
    path = str(tmp_path / "control")
    with bind(path) as listener:
        listener.listen(0)
        waiting = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(path)
        with pytest.raises(ConfigError, match="is in use"):
            bind(path)
        for one in waiting:
            one.close()


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_no_socket_is_left_alone(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "control"
    if kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to("/etc/passwd")
    else:
        path.write_text("mine")
    with pytest.raises(ConfigError, match="is there and no socket: name another path"):
        bind(str(path))
    assert path.is_symlink() or path.exists()


@pytest.mark.parametrize("path", ["/nowhere/control", "/dev/null/control", "/" + "x" * 200])
def test_where_it_can_not_be_is_said(path: str) -> None:
    with pytest.raises(ConfigError, match="--control-socket /"):
        bind(path)


def test_a_file_that_is_no_longer_ours_stays(tmp_path: Path) -> None:
    one = Served(tmp_path)
    Path(one.path).unlink()
    Path(one.path).write_text("somebody else's")
    one.control.close()
    assert Path(one.path).read_text() == "somebody else's"


# Where it is, and that it is worth less than the Elastic IP.


def test_the_default_is_in_the_runtime_directory() -> None:
    assert default_path({"RUNTIME_DIRECTORY": "/run/exoip/web:/run/other"}) == "/run/exoip/web/control"
    assert default_path({}) == default_path({"RUNTIME_DIRECTORY": ""}) == ""
    assert start(None, {}, lambda line, uid: line) is None


def test_without_the_default_one_it_goes_on_and_without_the_named_one_it_does_not(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone")
    assert start(None, {"RUNTIME_DIRECTORY": gone}, lambda line, uid: line) is None
    with pytest.raises(ConfigError, match="No such file"):
        start(f"{gone}/control", {}, lambda line, uid: line)


def test_our_own_bug_ends_the_socket_and_nothing_else(tmp_path: Path) -> None:
    def broken(line: bytes, uid: int) -> bytes:
        raise ZeroDivisionError

    one = start(str(tmp_path / "control"), {}, broken)
    assert one is not None
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "control"))
        client.sendall(b"a\n")
        one.join(PATIENCE)
        assert not one.is_alive()
    one.close()


def test_a_flood_leaves_the_interpreter_to_others(served: Served) -> None:
    """A client that asks without a pause is answered no more often than the pauses allow."""
    began = time.monotonic()
    with served.connect() as client:
        answers = client.makefile("rb")
        for _ in range(50):
            client.sendall(b"again\n")
            answers.readline()
    assert time.monotonic() - began >= 49 * control_server.PAUSE
