"""How exoipctl finds daemons and sends requests: real sockets, with whatever may answer there."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from exoip.ctl.client import ControlSocket, NoAnswer, Rejected, find_socket, list_sockets, requester, send
from exoip.ctl.terminal import CRITICAL, UNKNOWN
from tests.support.waiting import PATIENCE


class FakeDaemon:
    """A control socket that gives each connection to `serve`, or answers with `answer`."""

    def __init__(self, folder: Path, serve: Callable[[socket.socket], object] | None = None, name: str = "web") -> None:
        (folder / name).mkdir(exist_ok=True)
        self.control = ControlSocket(name, folder / name / "control")
        self.answer = b'{"version": 1, "ok": true, "said": ["done"]}\n'
        self.requests: list[dict[str, Any]] = []
        self.stopping = threading.Event()
        self._serve = serve or self._answer
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.control.path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection, contextlib.suppress(OSError):
                if self.stopping.is_set():
                    return
                self._serve(connection)

    def _answer(self, connection: socket.socket) -> None:
        self.requests.append(json.loads(connection.recv(65536)))
        connection.sendall(self.answer)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopping.set()
        with socket.socket(socket.AF_UNIX) as poke:
            poke.connect(str(self.control.path))
        self._thread.join(PATIENCE)
        self._listener.close()
        self.control.path.unlink()


@pytest.fixture
def web(tmp_path: Path) -> Iterator[FakeDaemon]:
    with FakeDaemon(tmp_path) as one:
        yield one


def fails(one: ControlSocket, match: str, level: str) -> None:
    with pytest.raises(NoAnswer, match=match) as error:
        send(one, "status")
    assert error.value.level == level


def test_a_request_and_its_answer(web: FakeDaemon) -> None:
    assert send(web.control, "drain", why="x", by="ann")["said"] == ["done"]
    assert web.requests == [{"version": 1, "request": "drain", "why": "x", "by": "ann"}]
    web.answer = json.dumps({"version": 1, "ok": True, "x": "y" * 3_000_000}).encode() + b"\n"
    assert len(send(web.control, "status")["x"]) == 3_000_000


def test_a_rejection_has_the_daemons_words(web: FakeDaemon) -> None:
    web.answer = b'{"version": 1, "ok": false, "error": "not now"}\n'
    with pytest.raises(Rejected, match=r"^web: not now$"):
        send(web.control, "failover")


@pytest.mark.parametrize(
    "answer",
    [b"\n", b"hello\n", b"[]\n", b"{}\n", b'{"version": 1}\n', b'{"ok": true}\n', b"null\n", b"[" * 99999 + b"\n"],
)
def test_other_programs_are_recognized(web: FakeDaemon, answer: bytes) -> None:
    web.answer = answer
    fails(web.control, "is not answered by an exoip daemon", UNKNOWN)


def test_another_version_is_named(web: FakeDaemon) -> None:
    web.answer = b'{"version": 2, "ok": true}\n'
    fails(web.control, "uses protocol version 2, this exoipctl version 1", UNKNOWN)


def test_a_crashed_daemon_is_worse_than_none(tmp_path: Path) -> None:
    fails(
        find_socket("web", str(tmp_path)),
        r"web is not running, or has no control socket: no .*systemctl status exoip@web",
        UNKNOWN,
    )
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "left"))
    fails(ControlSocket("web", tmp_path / "left"), "nothing listens", CRITICAL)


@contextlib.contextmanager
def full_queue(path: Path) -> Iterator[tuple[socket.socket, contextlib.ExitStack]]:
    """A listening socket with no room for another connection; closing the stack closes those that
    wait.
    """
    with socket.socket(socket.AF_UNIX) as listener, contextlib.ExitStack() as stack:
        listener.bind(str(path))
        listener.listen(0)
        for _ in range(3):
            waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
            waiting.setblocking(False)
            waiting.connect_ex(str(path))
        yield listener, stack


def test_a_hanging_daemon_is_given_up(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as hangs:
        hangs.bind(str(tmp_path / "hangs"))
        hangs.listen(8)
        hanging = ControlSocket("web", tmp_path / "hangs", 0.2)
        fails(hanging, "did not answer within 0.2 s", CRITICAL)
        with pytest.raises(NoAnswer, match=r"within 0\.2 s, but may still carry this out"):
            send(hanging, "drain", by="ann")
    with full_queue(tmp_path / "full"):
        fails(ControlSocket("web", tmp_path / "full", 0.2), "did not answer within", CRITICAL)

    def drip(connection: socket.socket) -> None:
        while not one.stopping.wait(0.02):
            connection.sendall(b" ")

    with FakeDaemon(tmp_path, drip) as one:
        fails(replace(one.control, timeout=0.2), "did not answer within", CRITICAL)


def test_a_daemon_with_a_full_queue_is_waited_for(tmp_path: Path) -> None:
    with full_queue(tmp_path / "control") as (listener, waiting):

        def serve() -> None:
            """Take the connections that were closed out of the queue, and answer the one with a
            request.
            """
            while True:
                connection, _ = listener.accept()
                with connection:
                    connection.settimeout(PATIENCE)
                    if connection.recv(1000):
                        connection.sendall(b'{"version": 1, "ok": true}\n')
                        return

        later = threading.Timer(0.2, serve)
        later.start()
        waiting.close()
        assert send(ControlSocket("web", tmp_path / "control"), "status")["ok"] is True
        later.join(PATIENCE)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("words", [b"", b'{"version": 1, "ok": false, "error": "too many ask"}\n'])
def test_a_closed_connection_is_reported_and_what_it_said_before_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bool, words: bytes
) -> None:
    gone, connect = threading.Event(), socket.socket.connect

    def hang_up(connection: socket.socket) -> None:
        if not before:
            connection.recv(1000)
        connection.sendall(words)
        connection.close()
        gone.set()

    def connect_and_wait(self: socket.socket, path: str) -> None:
        connect(self, path)
        assert not before or gone.wait(PATIENCE)

    with FakeDaemon(tmp_path, hang_up) as one, monkeypatch.context() as patch:
        patch.setattr(socket.socket, "connect", connect_and_wait)
        with pytest.raises((NoAnswer, Rejected)) as error:
            send(one.control, "status")
    assert ("too many ask" if words else "closed the connection") in str(error.value)
    assert isinstance(error.value, Rejected) is bool(words)


def test_the_daemons_of_a_host_are_those_with_a_socket(tmp_path: Path, web: FakeDaemon) -> None:
    (tmp_path / "stopped").mkdir()
    (tmp_path / "file").touch()
    with FakeDaemon(tmp_path, name="mail"):
        assert [one.name for one in list_sockets(str(tmp_path))] == ["mail", "web"]
    assert [one.name for one in list_sockets(str(tmp_path))] == ["web"]
    assert list_sockets(str(tmp_path / "gone")) == []
    with pytest.raises(NoAnswer, match="cannot read"):
        list_sockets(str(tmp_path / "file"))


def test_missing_rights_are_reported(tmp_path: Path) -> None:
    """Without root's rights, on a host whose runtime directories are for the group exoip."""
    with FakeDaemon(tmp_path) as one:
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        else:
            tmp_path.chmod(0)
        try:
            with pytest.raises(NoAnswer, match=r"cannot read .*: Permission denied"):
                list_sockets(str(tmp_path))
            fails(one.control, "only root and the group exoip may use", UNKNOWN)
        finally:
            os.seteuid(user)
            tmp_path.chmod(0o700)


@pytest.mark.parametrize(
    ("name", "instance"),
    [("web", "web"), ("exoip@web", "web"), (r"exoip@a\x2db-c.d:e_f@1.service", r"a\x2db-c.d:e_f@1")],
)
def test_a_unit_is_named_in_any_way(name: str, instance: str) -> None:
    assert find_socket(name, "/run/exoip") == ControlSocket(instance, Path("/run/exoip", instance, "control"))


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc/exoip/web.conf", "a b", "\n", ".hidden", "é"])
def test_impossible_names_are_rejected(name: str) -> None:
    with pytest.raises(NoAnswer, match="cannot be an instance name: use that of the file"):
        find_socket(name, "/run/exoip")


def test_the_user_who_asks() -> None:
    assert requester({"SUDO_USER": "ann"}) == requester({"DOAS_USER": "ann"}) == "ann"
    assert requester({"SUDO_USER": "a\x1b[2Jb" + "c" * 300}) == "a[2Jb" + "c" * 195
    own = requester({})
    assert own
    assert own.isprintable()
