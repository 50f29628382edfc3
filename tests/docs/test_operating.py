"""docs/operating.md, done to the letter: every command that it shows is run here, beside real daemons,
and what it promises looked at.

What needs systemd and its journal (systemctl, journalctl) is run on whole hosts, by
tests/hosts/test_guide.py; here SIGHUP stands for a reload, and nodes in virtual time for last
night's journal.
"""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from exoip.ctl.options import build_parser
from exoip.ctl.terminal import CODES
from tests.docs.pages import OPERATING, blocks, rows, section
from tests.support.cluster import GROUP, Cluster
from tests.support.ctl import Ctl
from tests.support.journals import Journals
from tests.support.operating import commands, sample
from tests.support.paths import ROOT
from tests.support.waiting import PATIENCE, until
from tests.unit.ctl.test_check import configuration


def shape(text: str) -> list[list[str]]:
    """A text without what differs from one run to the next: numbers, names of nodes and groups,
    columns.
    """
    text = re.sub(r"\b(?:web-|n)\d\b", "NODE", text)
    text = re.sub(
        r"\d{4}-\d\d-\d\d",
        "DATE",
        re.sub(r"group \w+", "group G", re.sub(r"\s\S*/eip\.conf", " FILE", re.sub(r"config\s+/", "config /", text))),
    )
    text = re.sub(r"\d+(?:[.:]\d+)*", "N", text)
    return [re.sub(r"N (?:d|h|min|s)(?: N (?:h|min|s))?", "SPAN", line).split() for line in text.splitlines()]


class Site:
    """Two nodes, each with a file and a name of its own host; we are on the first, whose daemon is
    called eip.
    """

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster, self.ctl = cluster, Ctl(folder)
        self.file = configuration(cluster, cluster["n1"], folder / "eip.conf")
        (folder / "run/eip").mkdir()
        one = cluster["n1"]
        one.env |= {"RUNTIME_DIRECTORY": str(folder / "run/eip")}
        del one.env["IF_EXOSCALE_API_SECRET"]
        one.words = ["-W", "-c", str(self.file), "-v"]
        with cluster.server.lock:
            cluster.zone.let_in(GROUP, "udp", cluster.port, cluster.port, source=GROUP)

    def run(self, command: str, *, code: int | None = 0) -> str:
        """Run a command of the page."""
        words = shlex.split(command)
        assert words[0] == "exoipctl", f"nothing runs {command!r}"
        if words[1:2] == ["check"]:
            words += ["--config", str(self.file), "--credentials-dir", "/nowhere"]
        return self.ctl(*words[1:], code=code)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Cluster(nodes=2, folder=tmp_path, observed=False) as cluster:
        made = Site(cluster, tmp_path)
        cluster.start()
        cluster.settle("n1")
        until(lambda: made.ctl.level("eip") == "healthy", "all is well")
        yield made


def test_is_it_healthy(site: Site) -> None:
    bare, cluster, status, as_json, check = commands("Is it healthy?")
    other = site.ctl.runtime / "n2"
    other.rename(site.ctl.runtime.parent / "n2")  # that of another host
    expected, events, _ = sample("Is it healthy?").partition("  events  ")
    for command in (bare, status):
        shown, title, _ = site.run(command).partition("  events  ")
        assert (shape(shown), title) == (shape(expected), events)
    assert [line.split()[2:4] for line in site.run(cluster).splitlines()[2:]] == [["MASTER", "10"], ["BACKUP", "20"]]
    assert json.loads(site.run(as_json))["level"] == "healthy"
    assert "FAIL" not in site.run(check)
    listed = {row[0]: int(row[1]) for row in rows(section(OPERATING, "Is it healthy?"))}
    assert listed == CODES


def test_drain_a_node_for_maintenance(site: Site) -> None:
    cluster, mark = site.cluster, site.cluster.mark
    drain, gone, undrain, back = commands("Drain a node for maintenance")
    site.run(drain)
    assert site.run(gone).startswith("eip is BACKUP and does not hold")
    assert cluster.holders() == {"n2"}
    assert cluster["n1"].stop() == 0, "the reboot"
    cluster["n1"].start()
    cluster.settle("n2")
    assert "new kernel" in site.run("exoipctl status eip", code=1)
    assert f"! n1 ({cluster['n1'].address}) " in site.ctl("status", "n2", code=1)
    assert cluster.history(mark) == [{"n1", "n2"}, {"n2"}], "no moment without a holder"
    site.run(undrain)
    assert site.run(back).startswith("eip is MASTER")
    cluster.settle("n1")


def test_drained_where_nobody_else_can_serve(site: Site) -> None:
    drain, gone, *_ = commands("Drain a node for maintenance")
    site.cluster["n2"].kill()
    until(lambda: "is not heard" in site.run("exoipctl status eip", code=None), "n2 is missed")
    assert "because no other node can" in site.run(drain)
    short = gone.replace("--timeout 60", "--timeout 2")
    assert short != gone
    assert "does not hold" not in site.ctl(*shlex.split(short)[1:], code=1, errors=True)
    assert site.cluster.holders() == {"n1"}


def test_move_it_now(site: Site) -> None:
    failover, priority = commands("Move it now")
    mark = site.cluster.mark
    said = site.run(failover)
    assert "this node steps aside for 600 s" in said
    assert f"n2 ({site.cluster['n2'].address}) is expected to take over" in said
    site.cluster.settle("n2")
    site.run("exoipctl undrain eip")
    site.cluster.settle("n1")
    site.run(priority)
    site.cluster.settle("n2")
    assert all(site.cluster.history(mark))


def test_why_did_it_move_last_night(tmp_path: Path) -> None:
    own, all_nodes, explained = commands("Why did it move last night?")
    assert explained.startswith("journalctl "), "is run on whole hosts"
    night = Journals()
    night.step(night["a"].kill, 3600)
    night["a"].up = True
    night.step(night["a"].start, 3600)
    night.step(lambda: night.aside("a", "operator", "drained by ann (uid 0): new kernel"), 3600)
    night.step(lambda: night.aside("a", "operator", ""), 3600)
    for name in "abc":
        (tmp_path / name).write_text("".join(json.dumps(entry) + "\n" for entry in night.entries[name]))
    ctl = Ctl(tmp_path)
    words = shlex.split(own)
    assert words[:3] == ["exoipctl", "history", "eip"]
    table = ctl("history", "--input", str(tmp_path / "a"), str(tmp_path / "b")).split("\n\n")[0]
    shown = re.sub(r"web-[abc]", lambda found: f"web-{'abc'.index(found[0][-1]) + 1}", table)
    head, formed, *failovers = shape(shown)
    assert [head, *failovers] == shape(sample("Why did it move last night?"))
    assert formed[2:4] == ["?", "NODE"]
    # The loop over the nodes, with cat in the place of ssh and its journalctl
    loop, _, end = all_nodes.partition(" | ")
    assert shlex.split(end) == ["exoipctl", "history", "--input", "-"]
    assert loop.startswith('for node in web-1 web-2; do ssh "$node" journalctl -t exoip -o json')
    program = shlex.join([*ctl.program, *shlex.split(end)[1:]])
    shell = f"for node in a b; do cat {tmp_path}/$node; done | {program}"
    done = subprocess.run(shell, shell=True, env=ctl.env, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)  # noqa: S602
    assert done.stdout.split("\n\n")[0] == table


def test_rotate_the_key(site: Site) -> None:
    check, reload, status = commands("Rotate the key")
    assert reload == "systemctl reload exoip@eip", "is run on whole hosts; here the signal that it sends"
    cluster, one = site.cluster, site.cluster["n1"]
    with cluster.server.lock:
        cluster.zone.add_key("EXOnew", "the-new-secret")
    old, mark = site.file.read_text(), cluster.mark

    def write(key: str, secret: str) -> None:
        text = re.sub(r"(?m)^exoscale-api-key = .*$", f"exoscale-api-key = {key}", old)
        site.file.write_text(re.sub(r"(?m)^exoscale-api-secret = .*$", f"exoscale-api-secret = {secret}", text))

    write("EXOnew", "not-its-secret")
    assert "every call is forbidden" in site.run(check, code=2)
    one.send(signal.SIGHUP)
    cluster.until(lambda: one.logged("the configuration stays as it was"), "the reload is refused")
    write("EXOnew", "the-new-secret")
    assert "FAIL" not in site.run(check)
    one.send(signal.SIGHUP)
    cluster.until(lambda: one.logged("the configuration was read again and is in force"), "the reload")
    cluster.until(
        lambda: any(e.key == "EXOnew" and e.method == "GET" for e in cluster.record(mark)), "the new key is used"
    )
    assert "healthy" in site.run(status)
    assert cluster.history(mark) == [], "nothing moves"
    assert not cluster["n2"].logged("is dead"), "and no heartbeat is missed"


def test_every_command_of_the_page_is_one_of_a_chapter() -> None:
    chapters = re.findall(r"^## (.*)$", OPERATING.read_text(), re.M)
    names = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert {re.sub(r"\W+", "_", chapter.lower()).strip("_") for chapter in chapters} <= names
    everything = [line.strip() for block in blocks(OPERATING, "sh") for line in block.splitlines()]
    assert sorted(everything) == sorted(line for chapter in chapters for line in commands(chapter))


def test_the_other_commands_that_it_mentions_are_understood() -> None:
    inline = re.findall(r"`exoipctl( [^`]+)`", OPERATING.read_text())
    assert inline
    for words in inline:
        build_parser().parse_args(shlex.split(words))
