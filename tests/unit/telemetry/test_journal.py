"""The journal: a sentence, an id and fields for every event that a node really tells; and a writer that never waits."""

from __future__ import annotations

import io
import logging
import os
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from exoip.core.calls import Failure, Kind
from exoip.core.events import Cause, Event, EventName
from exoip.errors import WireError
from exoip.heartbeat.wire import Heartbeat, decode
from exoip.telemetry import log as log_module
from exoip.telemetry.journal import Journal
from exoip.telemetry.log import QUEUE, LogWriter, log, open_log
from exoip.telemetry.messages import MESSAGES, TRIGGERS
from tests.simulation.world import EIP, World, instance_id

PATIENCE = 20.0  # seconds that anything here may take before the test gives up
OWN, OTHER = instance_id("a"), instance_id("b")
FIELD_NAME = re.compile(r"[A-Z][A-Z0-9_]*")


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def names(one: str) -> str:
    """A person's words for an instance id, as the daemon has them."""
    return {OTHER: "web-2 (192.0.2.2)"}.get(one, one)


@pytest.fixture
def told() -> Journal:
    return Journal(EIP, OWN, names)


# What a node really says


def _run_failures(world: World) -> None:
    """The holder dies while the API treats the other badly, in each way; and a restart within the dead time."""
    for mode in ("fail", "refuse", "unreachable", "hang", "lost", "late", "operation"):
        holder, other = sorted(world.hosts.values(), key=lambda host: host.name not in world.holders)
        other.api.modes["all"] = mode
        holder.crash()
        world.advance(40)
        other.api.modes.clear()
        world.advance(60)
        holder.start()
        world.advance(40)
    holder = next(host for host in world.hosts.values() if host.name in world.holders)
    holder.crash()
    world.advance(0.5)
    holder.start()
    world.advance(20)


def _run_life(world: World) -> None:
    """Deaths, stalls, leaves, a health check, a crash loop, a hand of the operator, members that come and go."""
    a, b = world.hosts["a"], world.hosts["b"]
    a.stall(5.0)
    world.advance(20)
    b.run(lambda: b.node and b.node.set_unfit("health check", "the web server is down", b.now))
    b.pump()
    world.advance(20)
    b.run(lambda: b.node and b.node.set_unfit("health check", "", b.now))
    b.pump()
    world.advance(20)
    holder = next(host for host in (a, b) if host.name in world.holders)
    world.zone.detach(world.eip_id, holder.id, world.now)
    world.advance(40)
    holder.leave()
    world.advance(20)
    holder.quarantine = 20.0
    holder.start()
    world.advance(60)
    for host in (a, b):
        host.node.heard(Heartbeat(10, EIP, instance_id("q")), "192.0.2.77", host.now)
        host.node.set_members({}, host.now)
        host.node.set_members(world.members(host), host.now)
        try:
            decode(b"?")
        except WireError as error:
            host.node.drop("192.0.2.77", error.cause, host.now)
    world.advance(20)


def _run_split(world: World) -> None:
    """A cut that comes and goes, and one that stays for a while; then a stranger holds."""
    for _ in range(4):
        world.split("a", "b")
        world.advance(10)
        world.cut.clear()
        world.advance(10)
    world.advance(900)
    world.split("a", "b")
    world.advance(200)
    world.cut.clear()
    world.advance(60)
    stranger = world.zone.add_instance("stranger", now=world.now)
    world.zone.attach(world.eip_id, stranger.id, world.now)
    world.advance(100)
    holder = next(host for host in world.hosts.values() if host.name in world.holders)
    holder.kill()
    world.advance(60)


@pytest.fixture(scope="module")
def happened() -> list[tuple[str, Event]]:
    """(own id, event) of some eventful runs."""
    events: list[tuple[str, Event]] = []
    for seed, (run, delay) in enumerate(
        [(_run_failures, 0.0), (_run_life, 0.0), (_run_split, 0.0), (_run_split, 5.0), (_run_life, float("inf"))]
    ):
        world = World(seed)
        world.listeners.append(lambda host, event: events.append((host.id, event)))
        for name, priority in (("a", 10), ("b", 20)):
            world.add(name, priority, preempt_delay=delay, start=False)
        for host in world.hosts.values():
            host.start()
        world.advance(30)
        run(world)
    for what in (EventName.SEND_FAILED, EventName.SEND_RECOVERED):  # those come from the sender: see test_heartbeats.py
        events.append((OWN, Event(what, 1.0, "", "Network is unreachable", {"address": "192.0.2.1:12345"})))
    for what in (EventName.FLOODED, EventName.FLOOD_OVER):  # those from the receiver: see test_heartbeats.py too
        events.append((OWN, Event(what, 1.0, "", "1000 datagrams were dropped within a second")))
    for what in (EventName.CHECK_FAILING, EventName.CHECK_PASSING):  # and those from a health check: see test_health.py
        events.append((OWN, Event(what, 1.0, "", "Connection refused", {"check": "tcp 127.0.0.1:80"})))
    details = {"role": "MASTER", "duration": 0.5, "detail": "exit status 1", "then": "once more"}
    for what in (EventName.HOOK_DONE, EventName.HOOK_FAILED):  # and those from the notify program: see test_hooks.py
        events.append((OWN, Event(what, 1.0, "", "MASTER, holding", details)))
    return events


class TestWhatNodesSay:
    def test_everything_was_said(self, happened):
        assert {event.name for _, event in happened} == set(EventName)

    def test_every_event_becomes_a_sentence(self, happened):
        for own, event in happened:
            text = Journal(EIP, own, names).sentence(event)
            assert text
            assert "{" not in text, text
            assert "None" not in text, text
            assert "\n" not in text, text

    def test_every_event_becomes_fields(self, happened):
        for own, event in happened:
            fields = Journal(EIP, own, names).fields(event)
            assert all(FIELD_NAME.fullmatch(name) for name in fields), fields
            assert all(isinstance(value, str) for value in fields.values())
            assert fields["MESSAGE_ID"] == MESSAGES[event.name].message_id
            assert fields["EXOIP_EVENT"] == event.name
            assert fields["EXOIP_EIP"] == EIP
            assert fields["EXOIP_INSTANCE"] == own

    def test_the_moves_say_how_long_they_took(self, happened):
        moves = [
            event for _, event in happened if event.name in (EventName.ATTACHED, EventName.CLEARED, EventName.LET_GO)
        ]
        assert {event.name for event in moves} == {EventName.ATTACHED, EventName.CLEARED, EventName.LET_GO}
        for event in moves:
            assert 0 <= int(Journal(EIP, OWN, names).fields(event)["EXOIP_DURATION_MS"]) < 60_000

    def test_the_failures_name_call_and_failure(self, happened):
        failures = [event for _, event in happened if event.name in (EventName.FAILED, EventName.API_DEGRADED)]
        assert len({event.details["failure"] for event in failures}) >= 5
        for event in failures:
            fields = Journal(EIP, OWN, names).fields(event)
            assert fields["EXOIP_API_CALL"] in set(Kind)
            assert fields["EXOIP_FAILURE"] in set(Failure)


class TestMessages:
    def test_every_event_has_one_row_with_an_id_of_its_own(self):
        ids = [row.message_id for row in MESSAGES.values()]
        assert set(MESSAGES) == set(EventName)
        assert len(set(ids)) == len(EventName)
        assert all(re.fullmatch("[0-9a-f]{32}", one) for one in ids)


class TestSentences:
    def role(self, role: str, old: str, master: str) -> Event:
        details = {"role": role, "old_role": old, "master": master, "old_master": "", "cause": Cause.TIME}
        return Event(EventName.ROLE, 1.0, master, "no peer is alive", details)

    @pytest.mark.parametrize(
        ("cause", "trigger"),
        [
            ({"cause": EventName.PEER_DEAD, "peer": OTHER}, "web-2 (192.0.2.2) is dead"),
            ({"cause": EventName.FIT}, TRIGGERS[EventName.FIT]),
            ({"cause": EventName.LEAVING}, ""),
            ({"cause": Cause.TIME}, ""),
        ],
    )
    def test_a_role_with_its_reason_and_what_triggered_it(self, told, cause, trigger):
        event = self.role("MASTER", "BACKUP", OWN)
        event = replace(event, details={**event.details, **cause})
        reason = "no peer is alive" + (f" ({trigger})" if trigger else "")
        assert told.explain(event) == reason
        assert told.sentence(event).endswith(f": {reason}")
        fields = told.fields(event)
        assert (fields["EXOIP_ROLE"], fields["EXOIP_OLD_ROLE"]) == ("MASTER", "BACKUP")
        assert fields["EXOIP_REASON"] == "no peer is alive"
        assert fields["EXOIP_CAUSE"] == cause["cause"]
        assert fields.get("EXOIP_CAUSE_INSTANCE") == cause.get("peer")

    def test_the_same_role_under_another_master_names_that(self, told):
        assert "web-2 (192.0.2.2)" in told.sentence(self.role("BACKUP", "BACKUP", OTHER))

    def test_no_master_at_all(self, told):
        assert "none" in told.sentence(self.role("BACKUP", "BACKUP", ""))

    def test_ids_are_told_by_name_in_reasons_too(self, told):
        text = told.sentence(Event(EventName.LETTING_GO, 1.0, OWN, f"{OTHER} holds and is heard"))
        assert text == f"detaching {EIP} from this instance: web-2 (192.0.2.2) holds and is heard"

    def test_a_label_that_is_the_id_itself_is_not_labelled_again(self):
        told = Journal(EIP, OWN, lambda one: f"{one} (192.0.2.2)")
        text = told.sentence(Event(EventName.PEER_DEAD, 1.0, OTHER, "not heard for 3.00 s"))
        assert text == f"{OTHER} (192.0.2.2) is dead: not heard for 3.00 s"

    def test_braces_in_what_others_said_are_no_format(self, told):
        details = {"call": "attach", "failure": "unavailable", "again": 0.5, "detail": "{who} {0} {nothing!r:>9}"}
        text = told.sentence(Event(EventName.FAILED, 1.0, OWN, "", details))
        assert text.endswith(details["detail"])

    def test_whom_it_is_about(self, told):
        fields = told.fields(Event(EventName.PEER_DEAD, 1.0, OTHER, "why", {"silent": 3.0, "priority": 10}))
        assert fields["EXOIP_PEER_INSTANCE"] == OTHER
        assert fields["EXOIP_PEER"] == "web-2 (192.0.2.2)"
        assert fields["EXOIP_REASON"] == "why"
        assert fields["EXOIP_PRIORITY"] == "10"
        assert fields["EXOIP_SILENT_MS"] == "3000"
        assert "EXOIP_PEER" not in told.fields(Event(EventName.DATAGRAM_DROPPED, 1.0, "", "short"))


# The logger


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """The logger of exoip, put back as it was afterwards."""
    one = logging.getLogger("exoip")
    before = one.handlers[:], one.propagate, one.level
    yield one
    one.handlers[:], one.propagate = before[:2]
    one.setLevel(before[2])


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def kept(logger) -> list[logging.LogRecord]:
    handler = _Kept()
    logger.handlers[:], logger.propagate = [handler], False
    logger.setLevel(logging.DEBUG)
    return handler.records


class TestTelling:
    def test_with_its_level_and_fields(self, told, kept):
        told.log(Event(EventName.PEER_DEAD, 1.0, OTHER, "not heard for 3.00 s"))
        (record,) = kept
        assert record.levelno == logging.WARNING
        assert record.getMessage() == "web-2 (192.0.2.2) is dead: not heard for 3.00 s"
        assert MESSAGES[EventName.PEER_DEAD].message_id == record.MESSAGE_ID

    def test_percent_signs_are_no_format(self, told, kept):
        told.log(Event(EventName.UNFIT, 1.0, OWN, "disk 100%s full %(x)d"))
        assert kept[0].getMessage().endswith("disk 100%s full %(x)d")

    def test_a_refusal_is_an_error_told_once(self, told, kept):
        details = {"call": Kind.ATTACH, "failure": Failure.FORBIDDEN, "detail": "403", "again": 30.0}
        told.log(Event(EventName.API_DEGRADED, 1.0, OWN, "403", details))
        told.log(Event(EventName.FAILED, 1.0, OWN, "403", details))
        told.log(Event(EventName.FAILED, 31.0, OWN, "403", details))
        assert [record.levelno for record in kept] == [logging.ERROR]
        assert "attach" in kept[0].getMessage()


# The writer


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


class TestToTheJournal:
    def test_fields(self, journald):
        writer = LogWriter(None, journald.path)
        writer.send("hello", PRIORITY="6", EXOIP_EVENT="role", EXOIP_NUMBER=7, EXOIP_RAW=b"\x00x")
        assert journald.read() == {
            "MESSAGE": "hello",
            "PRIORITY": "6",
            "EXOIP_EVENT": "role",
            "EXOIP_NUMBER": "7",
            "EXOIP_RAW": "\x00x",
        }
        writer.close()

    @pytest.mark.parametrize("text", ["two\nlines", "\n", "ends\n", "MESSAGE=x\nPRIORITY=0\n", "é\nö", ""])
    def test_any_text_is_one_value(self, journald, text):
        writer = LogWriter(None, journald.path)
        writer.send(text, PRIORITY="6")
        assert journald.read() == {"MESSAGE": text, "PRIORITY": "6"}
        writer.close()

    def test_names_that_the_journal_would_refuse_are_left_out(self, journald):
        writer = LogWriter(None, journald.path)
        writer.send(
            "hello", name="x", Msg="x", _PID="1", **{"A-B": "x", "A B": "x", "": "x", "A=B\nC": "x", "GOOD_1": "y"}
        )
        assert journald.read() == {"MESSAGE": "hello", "GOOD_1": "y"}
        writer.close()

    def test_lone_surrogates_do_not_end_it(self, journald):
        writer = LogWriter(None, journald.path)
        writer.send("bad \udcff name")
        assert journald.read()["MESSAGE"].startswith("bad ")
        writer.close()

    def test_nobody_there_is_dropped_and_told_when_somebody_is(self, tmp_path):
        writer = LogWriter(None, str(tmp_path / "later"))
        for number in range(5):
            writer.send(f"lost {number}")
        assert eventually(lambda: writer._queue.empty())
        writer.send("the last that is lost")
        assert eventually(lambda: writer._queue.empty())
        assert writer.is_alive()
        later = Journald(tmp_path / "later")
        writer.send("hello")
        texts = [later.read()["MESSAGE"]]
        while not re.match(r"\d+ log entries were dropped", texts[-1]):
            texts.append(later.read()["MESSAGE"])
        kept = [text for text in texts[:-1] if text != "hello"]
        assert "hello" in texts
        assert int(texts[-1].split()[0]) == 6 - len(kept)
        writer.close()
        later.socket.close()

    def test_an_entry_that_is_too_long_costs_only_itself(self, journald):
        writer = LogWriter(None, journald.path)
        writer.send("x" * (8 << 20))
        writer.send("hello")
        texts = [journald.read()["MESSAGE"], journald.read()["MESSAGE"]]
        assert "hello" in texts
        assert any("1 log entries were dropped" in text for text in texts)
        writer.close()


class TestAStoppedJournal:
    COUNT = 3 * QUEUE

    def test_nobody_waits_and_what_is_lost_is_counted(self, journald):
        """The receiver never reads: the kernel's queue fills, the writer's thread stands, its queue fills, then entries are dropped."""
        writer = LogWriter(None, journald.path)
        done = threading.Event()

        def shout() -> None:
            for number in range(self.COUNT):
                writer.send(f"entry {number}")
            done.set()

        threading.Thread(target=shout, daemon=True).start()
        assert done.wait(PATIENCE), "a stopped journal made its caller wait"
        assert writer.dropped >= self.COUNT - QUEUE - 2 * _kernel_queue()
        got, dropped = 0, 0
        while got + dropped < self.COUNT:  # the journal runs again
            text = journald.read()["MESSAGE"]
            found = re.match(r"(\d+) log entries were dropped", text)
            got, dropped = (got, dropped + int(found[1])) if found else (got + 1, dropped)
        assert got + dropped == self.COUNT
        assert dropped > 0
        assert writer.dropped == 0
        writer.close()

    def test_the_order_is_kept(self, journald):
        writer = LogWriter(None, journald.path)
        for number in range(QUEUE // 2):
            writer.send(str(number))
        assert [journald.read()["MESSAGE"] for _ in range(QUEUE // 2)] == [str(n) for n in range(QUEUE // 2)]
        writer.close()

    def test_the_end_does_not_wait_long(self, journald):
        writer = LogWriter(None, journald.path)
        for number in range(self.COUNT):
            writer.send(str(number))
        ended = threading.Event()

        def end() -> None:
            writer.close(0.05)
            ended.set()

        threading.Thread(target=end, daemon=True).start()
        assert ended.wait(PATIENCE)
        assert writer.daemon, "the process must be able to end beside it"


def _kernel_queue() -> int:
    return int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text())


class TestToAStream:
    def test_lines(self):
        stream = io.StringIO()
        writer = LogWriter(stream)
        writer.put(b"one\n")
        writer.put("zwei ä\n".encode())
        writer.close(PATIENCE)
        assert stream.getvalue() == "one\nzwei ä\n"

    def test_bytes_that_are_no_text(self):
        stream = io.StringIO()
        writer = LogWriter(stream)
        writer.put(b"\xff\n")
        writer.close(PATIENCE)
        assert stream.getvalue() == "\ufffd\n"

    def test_a_stream_that_can_not_write_it_does_not_end_the_writer(self):
        """Standard output in a locale without the letter."""
        raw = io.BytesIO()
        writer = LogWriter(io.TextIOWrapper(raw, "ascii", errors="strict"))
        writer.put("zwei ä\n".encode())
        assert eventually(lambda: writer._queue.empty())
        writer.put(b"three\n")
        assert eventually(lambda: b"three" in raw.getvalue())
        writer.close(PATIENCE)

    def test_a_pipe_whose_reader_went_does_not_end_the_writer(self):
        reading, writing = os.pipe()
        os.close(reading)
        writer = LogWriter(os.fdopen(writing, "w"))
        for _ in range(3):
            writer.put(b"nobody reads this\n")
        assert eventually(lambda: writer._queue.empty())
        assert writer.is_alive()
        writer.close(PATIENCE)
        assert not writer.is_alive()
        with pytest.raises(BrokenPipeError):
            writer._stream.close()


# Which way it goes


@pytest.fixture
def own_stderr(tmp_path) -> Iterator[dict[str, str]]:
    """The environment of a process whose stderr systemd connected to the journal."""
    status = os.fstat(2)
    return {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}


class TestOpenLog:
    def test_to_the_journal_when_stderr_goes_there(self, logger, journald, own_stderr, monkeypatch, capfd, told):
        status = os.fstat(2)  # which capfd has put a file in the place of
        environ = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        monkeypatch.setattr(log_module, "LogWriter", lambda stream: LogWriter(stream, journald.path))
        writer = open_log(False, False, environ)
        told.log(Event(EventName.PEER_DEAD, 1.0, OTHER, "not heard for 3.00 s", {"silent": 3.0, "priority": 10}))
        entry = journald.read()
        assert entry["MESSAGE"] == "web-2 (192.0.2.2) is dead: not heard for 3.00 s"
        assert entry["MESSAGE_ID"] == MESSAGES[EventName.PEER_DEAD].message_id
        assert entry["PRIORITY"] == "4"
        assert entry["SYSLOG_IDENTIFIER"] == "exoip"
        assert entry["EXOIP_PEER_INSTANCE"] == OTHER
        assert all(FIELD_NAME.fullmatch(name) for name in entry), sorted(entry)
        try:
            raise RuntimeError("a thread\ndied")
        except RuntimeError as error:
            logger.critical("traceback", exc_info=error)
        entry = journald.read()
        assert "Traceback" in entry["MESSAGE"]
        assert "RuntimeError: a thread\ndied" in entry["MESSAGE"]
        assert entry["PRIORITY"] == "2"
        writer.close()
        assert capfd.readouterr() == ("", "")

    @pytest.mark.parametrize(
        ("level", "priority"),
        [(logging.ERROR, "3"), (logging.WARNING, "4"), (logging.INFO, "6"), (logging.DEBUG, "7")],
    )
    def test_the_syslog_priority(self, logger, journald, monkeypatch, level, priority, capfd):
        status = os.fstat(2)
        monkeypatch.setattr(log_module, "LogWriter", lambda stream: LogWriter(stream, journald.path))
        writer = open_log(True, False, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
        log(level, "port %s of %s", 12345, "web\n-2")
        entry = journald.read()
        assert (entry["MESSAGE"], entry["PRIORITY"]) == ("port 12345 of web\n-2", priority)
        writer.close()

    @pytest.mark.parametrize("stream", ["", "1:2", "nonsense", ":"])
    def test_to_stderr_when_it_goes_elsewhere(self, logger, stream, capfd):
        writer = open_log(False, False, {"JOURNAL_STREAM": stream})
        log(logging.INFO, "hello %d", 7)
        writer.close(PATIENCE)
        written = capfd.readouterr()
        assert written.out == ""
        assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} exoip INFO hello 7\n", written.err)

    def test_to_stdout_when_asked(self, logger, own_stderr, capfd):
        writer = open_log(False, True, own_stderr)
        log(logging.WARNING, "hello")
        writer.close(PATIENCE)
        written = capfd.readouterr()
        assert written.err == ""
        assert written.out.endswith("exoip WARNING hello\n")

    @pytest.mark.parametrize("verbose", [True, False])
    def test_verbose_shows_what_is_quiet(self, logger, told, verbose, capfd):
        writer = open_log(verbose, False, {})
        told.log(Event(EventName.ADVERTISED, 1.0, OWN, "10 -> 0", {"priority": 0}))
        writer.close(PATIENCE)
        assert ("10 -> 0" in capfd.readouterr().err) is verbose

    def test_a_second_time_replaces_the_first(self, logger, capfd):
        for writer in (open_log(False, False, {}), open_log(False, False, {})):
            log(logging.INFO, "hello")
            writer.close(PATIENCE)
        assert capfd.readouterr().err.count("hello") <= 2
        assert len(logger.handlers) == 1
