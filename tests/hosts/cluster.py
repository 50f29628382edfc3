"""Three hosts with the package installed, their zone, and an observer of their heartbeats: what
every scenario plays on.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

from exoip.ctl.history import rebuild
from exoip.telemetry.messages import MESSAGES, EventName
from tests.hosts.beats import Beats
from tests.hosts.host import Entry, Host
from tests.hosts.network import ADDRESSES, EIP, HUB
from tests.hosts.zone import API, LATENCY, OPERATION, Change, Zone, now
from tests.support.waiting import until

UNIT = "exoip@web.service"
FILE = "/etc/exoip/web.conf"
INTERVAL, RATIO = 1.0, 3.0  # the defaults
DEAD = INTERVAL * RATIO
ATTACH = LATENCY + OPERATION
# More than any bound of the protocol in these scenarios by what a busy machine may add: a wait that
# ends late has failed.
SETTLES = 4 * DEAD + 10
TOLD = 5.0  # what is known has reached the journal
LATE = INTERVAL / 2  # no beat may come later than that: a peer must never be near to taking the sender for dead


def at(entry: Entry) -> float:
    """When an entry was told (Unix time): when journald got it, or better, when the daemon sent it."""
    return float(entry.get("_SOURCE_REALTIME_TIMESTAMP", entry["__REALTIME_TIMESTAMP"])) / 1e6


class Cluster:
    """Hosts a, b and c, of priority 10, 20 and 30."""

    def __init__(self, tree: Path, work: Path, deb: Path, eip: str = EIP) -> None:
        self.deb = deb
        self.zone = Zone(tree, work, eip)
        self.hosts = {name: Host(name, tree, work) for name in ADDRESSES}
        for host in self.hosts.values():
            host.write("/etc/hosts", f"127.0.0.1 localhost\n{HUB} metadata.exoscale.com {API}\n")
            host.trust(self.zone.certificate)
        self.beats = Beats()

    def close(self) -> None:
        """End everything, each whatever becomes of the others."""
        with contextlib.ExitStack() as everything:
            for part in (self.zone, *self.hosts.values(), self.beats):
                everything.callback(part.close)

    def each(self, do: Callable[[Host], object], names: Iterable[str] = ADDRESSES) -> None:
        """Do it on several hosts at once."""
        with ThreadPoolExecutor() as pool:
            list(pool.map(do, [self.hosts[name] for name in names]))

    def boot(self) -> None:
        """Switch all hosts on."""
        self.each(Host.boot)

    def install(self) -> None:
        """Install the package on all hosts, and configure it as one group."""

        def install(host: Host) -> None:
            self.bring(host, self.deb)
            host.sh(f"apt-get install -q -y ./{self.deb.name}")
            host.sh(f"cp -p /etc/exoip/example.conf {FILE}")
            host.write(FILE, self.zone.configuration(host.name))

        self.each(install)

    def bring(self, host: Host, deb: Path, folder: str = "/root") -> None:
        """Bring a package to a host."""
        shutil.copy(deb, host.path(folder))

    def form(self) -> None:
        """Start the daemon on all hosts, and wait until `a` holds."""
        self.each(lambda host: host.run("systemctl", "enable", "--now", UNIT))
        self.settled("a")

    def recover(self) -> None:
        """See that all hosts and daemons run, and `a` holds."""

        def recover(host: Host) -> None:
            if not host.powered:
                host.boot()
            if host.show("ActiveState", UNIT) != "active":
                host.run("systemctl", "restart", UNIT)

        self.each(recover)
        self.settled("a")

    # -- looking --------------------------------------------------------------------------------------------------------

    def settled(self, holder: str, alive: Iterable[str] = ADDRESSES, most: float = SETTLES, unit: str = UNIT) -> None:
        """Wait until `holder` holds alone, no operation is pending, and all of `alive` hear one
        another and agree on it.
        """
        names = list(alive)

        def states() -> dict[str, str]:
            return {name: self.hosts[name].show("StatusText", unit) for name in names}

        def agrees(name: str, text: str) -> bool:
            role = "MASTER of" if name == holder else "BACKUP for"
            count = rf", {len(names) - 1} of \d peers alive(, stepping aside)?"
            return re.fullmatch(re.escape(f"{role} {self.zone.eip}") + count, text) is not None

        def as_wished() -> bool:
            if self.zone.holders() != {holder} or self.zone.control.state()["pending"]:
                return False
            return all(agrees(name, text) for name, text in states().items())

        until(
            as_wished,
            f"{holder} holds, and {', '.join(names)} agree",
            most,
            why=lambda: f"{states()}, {self.zone.changes()}",
        )

    def status(self, name: str, word: str, most: float = TOLD) -> None:
        """Wait until a host's status line has a word in it."""

        def show() -> str:
            return self.hosts[name].show("StatusText", UNIT)

        until(lambda: word in show(), f"the status of {name} says {word!r}", most, why=show)

    def events(self, name: str, what: EventName, since: float) -> list[Entry]:
        """The entries of one event in a host's journal from a moment on."""
        return self.hosts[name].journal(
            f"--since=@{since:.6f}", "SYSLOG_IDENTIFIER=exoip", f"MESSAGE_ID={MESSAGES[what].message_id}"
        )

    def event(self, name: str, what: EventName, since: float, most: float = SETTLES) -> Entry:
        """The first entry of an event from a moment on; waits for it."""
        return until(lambda: self.events(name, what, since), f"{name} tells {what}", most)[0]

    def lines(self, name: str, since: float) -> list[Entry]:
        """All that the daemon told from a moment on."""
        return self.hosts[name].journal(f"--since=@{since:.6f}", "SYSLOG_IDENTIFIER=exoip")

    def line(self, name: str, text: str, since: float, most: float = SETTLES) -> Entry:
        """The first entry of the daemon with these words, from a moment on; waits for it."""

        def found() -> Entry | None:
            return next((entry for entry in self.lines(name, since) if re.search(text, str(entry["MESSAGE"]))), None)

        def told() -> str:
            return "\n".join(str(entry["MESSAGE"]) for entry in self.lines(name, since))

        found_ = until(found, f"{name} says {text!r}", most, why=told)
        assert isinstance(found_, dict)
        return found_

    # -- judging --------------------------------------------------------------------------------------------------------

    def moves(self, since: float, *steps: tuple[str, str]) -> list[Change]:
        """The holders changed since then in just these steps, and the journals tell of each, and
        why.

        A step is who holds after it (`"ab"` both, `""` nobody) and a regular expression for the
        reason told.
        """
        changes = self.zone.changes(since)
        found = ["".join(sorted(change.holders)) for change in changes]
        assert found == [step for step, _ in steps], f"the holders went {found}, not {steps}"
        before = [change.holders for change in self.zone.changes() if change.at < since]
        sets = [before[-1] if before else frozenset(), *(change.holders for change in changes)]
        wanted = [
            (name, name in new, why)
            for (old, new), (_, why) in zip(pairwise(sets), steps, strict=True)
            for name in old ^ new
        ]
        until(
            lambda: not self.untold(since, wanted),
            "the journals tell why",
            TOLD,
            why=lambda: str(self.untold(since, wanted)),
        )
        return changes

    def untold(self, since: float, wanted: list[tuple[str, bool, str]]) -> list[object]:
        """Those of the wanted changes (host, whether it came to hold, why) that the journals do not
        tell; all they tell if any.
        """
        changes = rebuild(self.journals()).changes
        told = [(self.zone.names[one.instance], one.holds, one.why) for one in changes if one.at >= since]
        left = list(told)
        missing: list[object] = []
        for name, holds, why in wanted:
            fits = [one for one in left if one[:2] == (name, holds) and re.search(why, one[2])]
            if fits:
                left.remove(fits[0])
            else:
                missing.append((name, holds, why))
        return [missing, told] if missing or left else []

    def journals(self) -> list[Entry]:
        """What `journalctl -t exoip -o json` prints on the hosts."""
        return [entry for host in self.hosts.values() for entry in host.journal("-t", "exoip")]

    def never_without(self, since: float) -> None:
        """There was always a holder."""
        empty = [change for change in self.zone.changes(since) if not change.holders]
        assert not empty, f"nobody held: {empty}"

    def punctual(self, name: str, since: float, receivers: Iterable[str]) -> None:
        """No beat of a host came late, until now."""
        gap = self.beats.longest_gap(name, since, now(), receivers)
        assert gap < INTERVAL + LATE, f"{name} sent nothing for {gap:.2f} s"
