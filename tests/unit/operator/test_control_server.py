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
from exoip.operator.control_server import CLIENT_TIME, LONGEST_REQUEST, MOST_CLIENTS, ControlServer, start
from tests.support.waiting import PATIENCE, until


def echo(line: bytes, uid: int) -> bytes:
    return b"%b of %d\n" % (line, uid)


class Served:
    """A socket that answers every line with that line and the user id, and keeps the lines."""

    def __init__(self, folder: Path, client_time: float = CLIENT_TIME) -> None:
        self.path = str(folder / "control")
        self.asked: list[bytes] = []
        self.answer_with = b""
        self.server = ControlServer(self.path, self._answer, client_time)

    def _answer(self, line: bytes, uid: int) -> bytes:
        self.asked.append(line)
        return self.answer_with or echo(line, uid)

    def connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.connect(self.path)
        client.settimeout(PATIENCE)
        return client

    def ask(self, line: bytes) -> bytes:
        with self.connect() as client:
            client.sendall(line + b"\n")
            return client.makefile("rb").readline()


def server_threads() -> int:
    """How many clients are served."""
    return sum(thread.name.endswith("(process_request_thread)") for thread in threading.enumerate())


@pytest.fixture
def served(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Served]:
    one = Served(tmp_path, getattr(request, "param", CLIENT_TIME))
    yield one
    one.server.close()
    one.server.thread.join(PATIENCE)
    assert not one.server.thread.is_alive()


impatient = pytest.mark.parametrize("served", [0.2], indirect=True)  # seconds that a client has


def test_a_line_is_answered_by_a_line_and_the_user_is_known(served: Served) -> None:
    assert served.ask(b"how is it") == b"how is it of %d\n" % os.getuid()


def test_a_connection_may_ask_again_and_all_at_once(served: Served) -> None:
    with served.connect() as client:
        client.sendall(b"one\ntwo\nth")
        answers = client.makefile("rb")
        assert answers.readline().startswith(b"one ")
        assert answers.readline().startswith(b"two ")
        client.sendall(b"ree\n")
        assert answers.readline().startswith(b"three ")


def test_a_client_that_shuts_its_side_is_answered(served: Served) -> None:
    with served.connect() as client:
        client.sendall(b"one\ntwo\n")
        client.shutdown(socket.SHUT_WR)
        assert [line.split()[0] for line in client.makefile("rb")] == [b"one", b"two"]


def test_a_line_without_an_end_is_rejected(served: Served) -> None:
    with served.connect() as client:
        client.sendall(b"x" * LONGEST_REQUEST)
        said = client.makefile("rb").read()
    assert b'"ok": false' in said
    assert b"65536 bytes" in said
    assert served.asked == []
    with served.connect() as client:
        client.sendall(b"y" * (LONGEST_REQUEST - 1) + b"\n")
        assert client.makefile("rb").readline().startswith(b"yyy")


def test_clients_that_hang_up_disturb_nobody(served: Served) -> None:
    for _ in range(3 * MOST_CLIENTS):
        served.connect().close()
        with served.connect() as client:
            client.sendall(b"half a req")
        with served.connect() as client:
            client.sendall(b"whole\n")
    assert served.ask(b"still there").startswith(b"still there")


@impatient
def test_silent_clients_are_dropped_in_time(served: Served) -> None:
    silent = [served.connect() for _ in range(2 * MOST_CLIENTS)]
    assert served.ask(b"my turn").startswith(b"my turn")
    for client in silent:
        assert client.recv(1) == b""
        client.close()


@impatient
def test_a_client_that_drips_is_dropped_in_time(served: Served) -> None:

    def refused() -> bool:
        try:
            return client.send(b"x") == 0
        except BrokenPipeError:
            return True

    with served.connect() as client:
        until(refused, "it is dropped")


@impatient
def test_a_client_that_does_not_read_is_dropped_in_time(served: Served) -> None:
    served.answer_with = b"z" * 10_000_000 + b"\n"
    with served.connect() as deaf:
        deaf.sendall(b"one\n")
        until(lambda: served.asked, "it was asked")
        served.answer_with = b""
        assert served.ask(b"two").startswith(b"two")
        until(lambda: server_threads() == 0, "both are gone")
        assert len(deaf.makefile("rb").read()) < 10_000_000


def test_a_large_answer_arrives_whole(served: Served) -> None:
    served.answer_with = b"z" * 1_000_000 + b"\n"
    assert served.ask(b"all") == served.answer_with


def test_the_number_of_clients_is_bounded(served: Served) -> None:
    many = [served.connect() for _ in range(MOST_CLIENTS)]
    until(lambda: server_threads() == MOST_CLIENTS, "all of them are served")
    late = served.connect()
    late.sendall(b"late\n")
    many[0].sendall(b"early\n")
    assert many[0].makefile("rb").readline().startswith(b"early")
    assert served.asked == [b"early"]
    assert server_threads() == MOST_CLIENTS
    for client in many:
        client.close()
    assert late.makefile("rb").readline().startswith(b"late")
    late.close()


# The file.


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_only_the_user_and_the_group_may_connect_whatever_the_umask(
    tmp_path: Path, umask: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even for a moment is it open to more."""
    path, chmod, earlier = tmp_path / "control", os.chmod, []

    def watched(name: str, mode: int) -> None:
        earlier.append(stat.S_IMODE(os.lstat(name).st_mode))
        chmod(name, mode)

    monkeypatch.setattr(control_server.os, "chmod", watched)
    before = os.umask(umask)
    try:
        server = ControlServer(str(path), echo)
    finally:
        os.umask(before)
    mode = path.lstat().st_mode
    server.close()
    assert earlier == [0o660 & ~umask]
    assert (stat.S_ISSOCK(mode), stat.S_IMODE(mode)) == (True, 0o660)


def test_a_socket_that_a_crash_left_is_replaced_and_removed_at_the_end(tmp_path: Path) -> None:
    path = str(tmp_path / "control")
    code = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen()"
    subprocess.run([sys.executable, "-c", code, path], check=True, timeout=PATIENCE)
    assert os.path.exists(path)
    one = Served(tmp_path)
    assert one.ask(b"a").startswith(b"a")
    one.server.close()
    assert not os.path.exists(path)


def test_a_living_one_is_not_replaced(served: Served) -> None:
    with pytest.raises(ConfigError, match=r"--control-socket .*/control is in use: each daemon needs one of its own"):
        ControlServer(served.path, echo)
    assert served.ask(b"still here").startswith(b"still here")


def test_one_that_is_busy_is_not_replaced_either(tmp_path: Path) -> None:
    path = str(tmp_path / "control")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(0)
        waiting = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(path)
        with pytest.raises(ConfigError, match="is in use"):
            ControlServer(path, echo)
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
    with pytest.raises(ConfigError, match="exists and is no socket: name another path"):
        ControlServer(str(path), echo)
    assert path.is_symlink() or path.exists()


@pytest.mark.parametrize("path", ["/nowhere/control", "/dev/null/control", "/" + "x" * 200])
def test_a_path_that_cannot_be_bound_is_named(path: str) -> None:
    with pytest.raises(ConfigError, match="--control-socket /"):
        ControlServer(path, echo)


def test_a_file_that_is_no_longer_ours_stays(served: Served) -> None:
    Path(served.path).unlink()
    Path(served.path).write_text("somebody else's")
    served.server.close()
    assert Path(served.path).read_text() == "somebody else's"


# The path, and that the socket is worth less than the Elastic IP.


def test_without_a_path_it_says_how_to_get_one(caplog: pytest.LogCaptureFixture) -> None:
    assert start(None, None, echo) is None
    assert "RUNTIME_DIRECTORY=/run/exoip/NAME" in caplog.text


def test_it_serves_at_the_default_path(tmp_path: Path) -> None:
    server = start(None, tmp_path / "control", echo)
    assert server is not None
    assert (tmp_path / "control").exists()
    server.close()


def test_without_the_default_one_it_goes_on_and_without_the_named_one_it_does_not(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone")
    assert start(None, Path(gone, "control"), echo) is None
    with pytest.raises(ConfigError, match=f"/control: there is no directory {gone}"):
        start(f"{gone}/control", None, echo)


def test_our_own_bug_costs_one_connection_and_nothing_else(
    served: Served, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    def broken(line: bytes, uid: int) -> bytes:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(served.server, "_answer", broken)
        assert served.ask(b"a") == b""
    assert "ZeroDivisionError" in caplog.text
    assert served.ask(b"a").startswith(b"a")


def test_a_flood_leaves_the_interpreter_to_others(served: Served) -> None:
    """All together, clients that never pause get no more answers than the pauses allow."""

    def flood() -> None:
        with served.connect() as client:
            answers = client.makefile("rb")
            for _ in range(20):
                client.sendall(b"again\n")
                assert answers.readline()

    began = time.monotonic()
    floods = [threading.Thread(target=flood) for _ in range(4)]
    for one in floods:
        one.start()
    for one in floods:
        one.join()
    assert len(served.asked) == 80
    assert time.monotonic() - began >= 80 * control_server.PAUSE
