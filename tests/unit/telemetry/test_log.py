"""The log: the journal's datagrams, lines to a stream, and a writer that nobody waits for."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import select
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from exoip.telemetry import log as log_module
from exoip.telemetry.log import NO_FIELDS, QUEUE, LogWriter, log, open_log
from tests.support.waiting import PATIENCE, until

DROPPED = re.compile(r"(\d+) log entries were dropped")


def parse(datagram: bytes) -> dict[str, str]:
    """Read an entry of the journal's native protocol back."""
    fields = {}
    while datagram:
        line, _, rest = datagram.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if equals:
            fields[name.decode()], datagram = value.decode(), rest
        else:
            (size,) = struct.unpack("<Q", rest[:8])
            value, end, datagram = rest[8 : 8 + size], rest[8 + size : 9 + size], rest[9 + size :]
            assert end == b"\n"
            fields[name.decode()] = value.decode()
    return fields


class Journald:
    """The receiving end."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(PATIENCE)

    def read(self) -> dict[str, str]:
        return parse(self.socket.recv(1 << 20))


@pytest.fixture
def journald(tmp_path) -> Iterator[Journald]:
    one = Journald(tmp_path / "socket")
    yield one
    one.socket.close()


@pytest.fixture
def writer(journald) -> Iterator[LogWriter]:
    one = LogWriter(None, journald.path)
    yield one
    one.close()


class TestToTheJournal:
    def test_fields(self, writer, journald):
        writer.send("hello", PRIORITY="6", EXOIP_EVENT="role", EXOIP_NUMBER=7, EXOIP_RAW=b"\x00x")
        assert journald.read() == {
            "MESSAGE": "hello", "PRIORITY": "6", "EXOIP_EVENT": "role", "EXOIP_NUMBER": "7", "EXOIP_RAW": "\x00x",
        }  # fmt: skip

    @pytest.mark.parametrize("text", ["two\nlines", "\n", "ends\n", "MESSAGE=x\nPRIORITY=0\n", "é\nö", ""])
    def test_any_text_is_one_value(self, writer, journald, text):
        writer.send(text, PRIORITY="6")
        assert journald.read() == {"MESSAGE": text, "PRIORITY": "6"}

    def test_names_that_the_journal_would_reject_are_left_out(self, writer, journald):
        bad = {"A-B": "x", "A B": "x", "": "x", "A=B\nC": "x", "name": "x", "Msg": "x", "_PID": "1"}
        writer.send("hello", **bad, GOOD_1="y")
        assert journald.read() == {"MESSAGE": "hello", "GOOD_1": "y"}

    def test_lone_surrogates_do_not_end_it(self, writer, journald):
        writer.send("bad \udcff name")
        assert journald.read()["MESSAGE"].startswith("bad ")

    def test_what_nobody_receives_is_dropped_and_counted(self, tmp_path):
        writer = LogWriter(None, str(tmp_path / "later"))
        for number in range(5):
            writer.send(f"lost {number}")
        until(lambda: writer.dropped == 5, "all are dropped")
        later = Journald(tmp_path / "later")
        writer.send("hello")
        assert later.read()["MESSAGE"] == "hello"
        assert DROPPED.match(later.read()["MESSAGE"])[1] == "5"
        writer.close()
        later.socket.close()

    def test_an_entry_that_is_too_long_costs_only_itself(self, writer, journald):
        writer.send("x" * (8 << 20))
        writer.send("hello")
        texts = [journald.read()["MESSAGE"], journald.read()["MESSAGE"]]
        assert "hello" in texts
        assert any(DROPPED.match(text) for text in texts)

    def test_the_order_is_kept(self, writer, journald):
        for number in range(QUEUE // 2):
            writer.send(str(number))
        assert [journald.read()["MESSAGE"] for _ in range(QUEUE // 2)] == [str(n) for n in range(QUEUE // 2)]


class TestAStoppedJournal:
    """The receiver does not read: the kernel's queue fills, then the writer's."""

    COUNT = 3 * QUEUE

    def test_nobody_waits_and_what_is_lost_is_counted(self, journald):
        writer = LogWriter(None, journald.path)
        threading.Thread(target=self.shout, args=[writer], daemon=True).start()
        in_kernel = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text())
        until(lambda: writer.dropped >= self.COUNT - QUEUE - 2 * in_kernel, "the callers do not wait")
        got, dropped = 0, 0
        while got + dropped < self.COUNT:  # the journal runs again
            found = DROPPED.match(journald.read()["MESSAGE"])
            got, dropped = (got, dropped + int(found[1])) if found else (got + 1, dropped)
        assert (got + dropped, writer.dropped) == (self.COUNT, 0)
        assert dropped > 0
        writer.close()

    def test_the_end_does_not_wait_long(self, journald):
        writer = LogWriter(None, journald.path)
        self.shout(writer)
        closing = threading.Thread(target=writer.close, args=[0.05], daemon=True)
        closing.start()
        closing.join(PATIENCE)
        assert not closing.is_alive()
        assert writer.daemon, "the process can end before this thread does"

    def shout(self, writer: LogWriter) -> None:
        for number in range(self.COUNT):
            writer.send(str(number))


class TestToAStream:
    @pytest.fixture
    def pipe(self) -> Iterator[tuple[int, int]]:
        """A pipe that holds 4096 bytes: its reading and its writing end."""
        reading, writing = os.pipe()
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
        yield reading, writing
        for end in (reading, writing):
            with contextlib.suppress(OSError):
                os.close(end)

    def test_lines(self, pipe):
        reading, writing = pipe
        writer = LogWriter(writing)
        writer.write("one\n")
        writer.write("zwei ä \udcff\n")
        writer.close(PATIENCE)
        assert os.read(reading, 100).decode() == "one\nzwei ä ?\n"

    @pytest.mark.parametrize("blocking", [True, False])
    def test_a_slow_reader_gets_every_line_whole_and_in_order(self, pipe, blocking):
        """Also one that is longer than the pipe, and if another program made it non-blocking."""
        reading, writing = pipe
        os.set_blocking(writing, blocking)
        writer = LogWriter(writing)
        lines = [f"{number} {'x' * (3 * number)}\n" for number in range(QUEUE // 2)] + ["y" * 9999 + "\n"]
        for line in lines:
            writer.write(line)
        until(lambda: select.select([], [writing], [], 0)[1] == [], "the pipe is full")
        got = b""
        while len(got) < len("".join(lines)):
            got += os.read(reading, 777)
        assert got.decode() == "".join(lines)
        assert writer.dropped == 0
        writer.close(PATIENCE)

    def test_a_pipe_whose_reader_is_gone_does_not_end_the_writer(self, pipe):
        reading, writing = pipe
        os.close(reading)
        writer = LogWriter(writing)
        for _ in range(3):
            writer.write("nobody reads this\n")
        until(lambda: writer.dropped == 3, "all are dropped")
        assert writer.is_alive()
        writer.close(PATIENCE)


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """The logger of exoip, put back as it was afterwards."""
    one = logging.getLogger("exoip")
    before = one.handlers[:], one.propagate, one.level
    yield one
    one.handlers[:], one.propagate = before[:2]
    one.setLevel(before[2])


@pytest.fixture
def in_journal(monkeypatch) -> dict[str, str]:
    """The environment of a process whose stderr systemd connected to the journal.

    The file that pytest puts in place of stderr has no lasting number on every file system.
    """
    monkeypatch.setattr(log_module.os, "fstat", lambda descriptor: os.stat(os.devnull))
    status = os.stat(os.devnull)
    return {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}


@pytest.mark.usefixtures("logger")
class TestOpenLog:
    @pytest.mark.parametrize(
        ("level", "priority"),
        [
            (logging.CRITICAL, "2"),
            (logging.ERROR, "3"),
            (logging.WARNING, "4"),
            (logging.INFO, "6"),
            (logging.DEBUG, "7"),
        ],
    )
    def test_to_the_journal_if_stderr_goes_there(self, journald, in_journal, monkeypatch, capfd, level, priority):
        monkeypatch.setattr(log_module, "LogWriter", lambda stream: LogWriter(stream, journald.path))
        writer = open_log(True, False, in_journal)
        log(level, "port %s of %s", 12345, "web\n-2")
        entry = journald.read()
        assert (entry["MESSAGE"], entry["PRIORITY"]) == ("port 12345 of web\n-2", priority)
        assert entry["SYSLOG_IDENTIFIER"] == "exoip"
        assert all(re.fullmatch("[A-Z][A-Z0-9_]*", name) for name in entry), sorted(entry)
        writer.close()
        assert capfd.readouterr() == ("", "")

    def test_a_traceback_is_one_entry(self, logger, journald, in_journal, monkeypatch):
        monkeypatch.setattr(log_module, "LogWriter", lambda stream: LogWriter(stream, journald.path))
        writer = open_log(False, False, in_journal)
        try:
            raise RuntimeError("a thread\ndied")
        except RuntimeError as error:
            logger.critical("traceback", exc_info=error)
        message = journald.read()["MESSAGE"]
        assert "Traceback" in message
        assert "RuntimeError: a thread\ndied" in message
        writer.close()

    @pytest.mark.parametrize("stream", ["", "1:2", "nonsense", ":"])
    def test_to_stderr_if_it_goes_elsewhere(self, stream, capfd):
        writer = open_log(False, False, {"JOURNAL_STREAM": stream})
        log(logging.INFO, "hello %d", 7)
        writer.close(PATIENCE)
        written = capfd.readouterr()
        assert written.out == ""
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} exoip INFO hello 7\n", written.err)

    def test_without_python_systemd_lines_have_a_priority_and_one_says_what_is_lost(
        self, logger, in_journal, monkeypatch, capfd
    ):
        monkeypatch.setitem(sys.modules, "systemd.journal", None)
        writer = open_log(False, False, in_journal)
        log(logging.INFO, "hello %d", 7)
        logger.critical("it\ndied")
        writer.close(PATIENCE)
        assert capfd.readouterr().err == f"<4>{NO_FIELDS}\n<6>hello 7\n<2>it\n<2>died\n"

    def test_without_python_systemd_and_journal_nothing_is_lost(self, monkeypatch, capfd):
        monkeypatch.setitem(sys.modules, "systemd.journal", None)
        open_log(False, False, {}).close(PATIENCE)
        assert capfd.readouterr() == ("", "")

    def test_to_stdout_if_asked(self, in_journal, capfd):
        writer = open_log(False, True, in_journal)
        log(logging.WARNING, "hello")
        writer.close(PATIENCE)
        written = capfd.readouterr()
        assert written.err == ""
        assert written.out.endswith("exoip WARNING hello\n")

    @pytest.mark.parametrize("verbose", [True, False])
    def test_debug_entries_only_if_verbose(self, verbose, capfd):
        writer = open_log(verbose, False, {})
        log(logging.DEBUG, "a detail")
        writer.close(PATIENCE)
        assert ("a detail" in capfd.readouterr().err) is verbose

    def test_a_second_time_replaces_the_first(self, logger, capfd):
        for writer in (open_log(False, False, {}), open_log(False, False, {})):
            writer.close(PATIENCE)
        assert len(logger.handlers) == 1
