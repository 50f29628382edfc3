"""How exoipctl finds daemons and asks them: real sockets, with whatever may answer there."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from exoip.ctl import client
from exoip.ctl.client import Daemon, Refused, Unanswered, ask, asker, daemon, daemons
from exoip.ctl.levels import CRITICAL, UNKNOWN
from exoip.operator.control_server import ControlServer
from tests.support.waiting import PATIENCE


class Answering:
    """A control socket that answers with these bytes."""

    def __init__(self, folder: Path, name: str = "web") -> None:
        (folder / name).mkdir()
        self.daemon = Daemon(name, folder / name / "control")
        self.says = b'{"version": 1, "ok": true, "said": ["done"]}\n'
        self.asked: list[dict[str, Any]] = []
        self.control = ControlServer(str(self.daemon.path), self._answer)

    def _answer(self, line: bytes, _uid: int) -> bytes:
        self.asked.append(json.loads(line))
        return self.says


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Answering]:
    one = Answering(tmp_path)
    yield one
    one.control.close()


def test_what_is_asked_and_answered(web: Answering) -> None:
    assert ask(web.daemon, "drain", why="x", by="ann")["said"] == ["done"]
    assert web.asked == [{"version": 1, "request": "drain", "why": "x", "by": "ann"}]


def test_a_large_answer_is_taken_whole(web: Answering) -> None:
    web.says = json.dumps({"version": 1, "ok": True, "x": "y" * 3_000_000}).encode() + b"\n"
    assert len(ask(web.daemon, "status")["x"]) == 3_000_000


def test_a_refusal_is_told_in_the_daemons_words(web: Answering) -> None:
    web.says = b'{"version": 1, "ok": false, "error": "not now"}\n'
    with pytest.raises(Refused, match=r"^web: not now$"):
        ask(web.daemon, "failover")


@pytest.mark.parametrize(
    "says",
    [b"\n", b"hello\n", b"[]\n", b"{}\n", b'{"version": 1}\n', b'{"ok": true}\n', b"null\n", b"[" * 99999 + b"\n"],
)
def test_what_is_no_exoip_is_said_to_be_none(web: Answering, says: bytes) -> None:
    web.says = says
    with pytest.raises(Unanswered, match="is no exoip") as error:
        ask(web.daemon, "status")
    assert error.value.level == UNKNOWN


def test_another_version_is_named(web: Answering) -> None:
    web.says = b'{"version": 2, "ok": true}\n'
    with pytest.raises(Unanswered, match="speaks version 2, this exoipctl version 1"):
        ask(web.daemon, "status")


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(Unanswered, match=r"web does not run: there is no .*systemctl status exoip@web") as error:
        ask(daemon("web", str(tmp_path)), "status")
    assert error.value.level == UNKNOWN


def test_a_daemon_that_crashed_is_worse_than_none(web: Answering) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        path = web.daemon.path.with_name("left")
        left.bind(str(path))
    with pytest.raises(Unanswered, match="nobody listens") as error:
        ask(Daemon("web", path), "status")
    assert error.value.level == CRITICAL


@pytest.mark.parametrize("accepts", [True, False])
def test_a_daemon_that_hangs_is_not_waited_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accepts: bool
) -> None:
    monkeypatch.setattr(client, "TIMEOUT", 0.2)
    with socket.socket(socket.AF_UNIX) as hangs:
        path = tmp_path / "control"
        hangs.bind(str(path))
        hangs.listen(8 if accepts else 0)
        waiting = [] if accepts else [socket.socket(socket.AF_UNIX) for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(str(path))
        with pytest.raises(Unanswered, match="did not answer within") as error:
            ask(Daemon("web", path), "status")
        assert error.value.level == CRITICAL
        for one in waiting:
            one.close()


def test_a_daemon_with_a_full_queue_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "control"
    with socket.socket(socket.AF_UNIX) as busy:
        busy.bind(str(path))
        busy.listen(0)
        waiting = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(str(path))

        def serve() -> None:
            """Send the first ones away, and answer the one that asks."""
            while True:
                client, _ = busy.accept()
                with client:
                    client.settimeout(PATIENCE)
                    if client.recv(1000):
                        client.sendall(b'{"version": 1, "ok": true}\n')
                        return

        later = threading.Timer(0.2, serve)
        later.start()
        for one in waiting:
            one.close()
        assert ask(Daemon("web", path), "status")["ok"] is True
        later.join(PATIENCE)


def _connect_until(monkeypatch: pytest.MonkeyPatch, gone: threading.Event) -> None:
    """Let the question be asked only when the other side is gone."""
    connect = client._connect

    def connect_and_wait(client: socket.socket, path: str, ends: float) -> None:
        connect(client, path, ends)
        assert gone.wait(PATIENCE)

    monkeypatch.setattr(client, "_connect", connect_and_wait)


@pytest.mark.parametrize("before", [True, False])
def test_one_that_hangs_up_is_told_of_whether_before_the_question_or_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    gone = threading.Event()

    def hang_up(client: socket.socket) -> None:
        if not before:
            client.recv(1000)
        client.close()
        gone.set()

    if before:
        _connect_until(monkeypatch, gone)
    with Serving(tmp_path / "control", hang_up) as one, pytest.raises(Unanswered, match="hung up") as error:
        ask(one, "status")
    assert error.value.level == CRITICAL


def test_what_was_said_before_the_line_was_cut_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = threading.Event()

    def refuse(client: socket.socket) -> None:
        client.sendall(b'{"version": 1, "ok": false, "error": "too many ask"}\n')
        client.close()
        gone.set()

    _connect_until(monkeypatch, gone)
    with Serving(tmp_path / "control", refuse) as one, pytest.raises(Refused, match="too many ask"):
        ask(one, "status")


def test_one_that_drips_is_not_waited_for_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "TIMEOUT", 0.3)
    stop = threading.Event()

    def drip(client: socket.socket) -> None:
        while not stop.wait(0.02):
            client.sendall(b" ")

    with Serving(tmp_path / "control", drip, stop) as one, pytest.raises(Unanswered, match="did not answer within"):
        ask(one, "status")


class Serving:
    """A listening socket whose first client is given to `serve`."""

    def __init__(
        self, path: Path, serve: Callable[[socket.socket], object], stop: threading.Event | None = None
    ) -> None:
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen()
        self._serve, self._stop, self._path = serve, stop or threading.Event(), path
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        client, _ = self._socket.accept()
        with client, contextlib.suppress(OSError):
            self._serve(client)

    def __enter__(self) -> Daemon:
        self._thread.start()
        return Daemon("web", self._path)

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(PATIENCE)
        self._stop.clear()
        self._socket.close()


def test_the_daemons_of_a_host_are_those_with_a_socket(tmp_path: Path, web: Answering) -> None:
    other = Answering(tmp_path, "mail")
    (tmp_path / "stopped").mkdir()
    (tmp_path / "file").touch()
    assert [one.name for one in daemons(str(tmp_path))] == ["mail", "web"]
    other.control.close()
    assert [one.name for one in daemons(str(tmp_path))] == ["web"]
    assert daemons(str(tmp_path / "gone")) == []
    with pytest.raises(Unanswered, match="can not be read"):
        daemons(str(tmp_path / "file"))


@pytest.fixture
def nobody() -> Iterator[None]:
    """Without root's rights for a while."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield
    os.seteuid(user)


def test_what_may_not_be_looked_at_is_said(web: Answering, nobody: None) -> None:
    folder = web.daemon.path.parent.parent
    if os.getuid() != 0:
        folder.chmod(0)
    with pytest.raises(Unanswered, match="can not be read: Permission denied"):
        daemons(str(folder))
    with pytest.raises(Unanswered, match="is for root and the group exoip only") as error:
        ask(web.daemon, "status")
    assert error.value.level == UNKNOWN
    if os.getuid() != 0:
        folder.chmod(0o700)


@pytest.mark.parametrize("name", ["web", "exoip@web", "exoip@web.service"])
def test_a_unit_is_named_in_any_way(name: str) -> None:
    assert daemon(name, "/run/exoip") == Daemon("web", Path("/run/exoip/web/control"))


def test_names_as_systemd_has_them() -> None:
    assert daemon(r"exoip@a\x2db-c.d:e_f@1.service", "/run/exoip").name == r"a\x2db-c.d:e_f@1"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc/exoip/web.conf", "a b", "\n", ".hidden", "é"])
def test_what_can_be_no_name_is_refused(name: str) -> None:
    with pytest.raises(Unanswered, match="can not be the name of an instance: give that of its file"):
        daemon(name, "/run/exoip")


def test_who_asks() -> None:
    assert asker({"SUDO_USER": "ann"}) == asker({"DOAS_USER": "ann"}) == "ann"
    assert asker({"SUDO_USER": "a\x1b[2Jb" + "c" * 300}) == "a[2Jb" + "c" * 195
    own = asker({})
    assert own
    assert own.isprintable()
