"""One host: a layer over the Debian tree, started with systemd as PID 1 in a container with a
network and a control group of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

from tests.hosts.network import ADDRESSES, command, forget, plug
from tests.support.paths import ROOT
from tests.support.waiting import until

EXAMPLES = ROOT / "packaging" / "examples"
NETWORKD = "systemctl enable --now systemd-networkd && networkctl reload"

ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "HOME": "/root",
    "DEBIAN_FRONTEND": "noninteractive",
}
BOOTS, COMMAND, ENDS = 30.0, 60.0, 30.0  # seconds, at most
JOURNAL_DISK = "128M"
# Moves itself into the groups named, one a line, and becomes the container's manager.
STARTER = 'for group in $1; do echo $$ >"$group/cgroup.procs"; done; shift; exec systemd-nspawn "$@"'

Entry = dict[str, Any]


class Host:
    """A host by the name of `name`. Its disk outlives `lose_power`; its journal has a small disk of
    its own.
    """

    def __init__(self, name: str, tree: Path, work: Path) -> None:
        self.name, self.address = name, ADDRESSES[name]
        self.root, self.journal_disk = work / name / "root", work / name / "journal"
        self._layers = work / name
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._leader = 0
        for folder in ("root", "upper", "work", "journal"):
            (work / name / folder).mkdir(parents=True)
        layers = f"lowerdir={tree},upperdir={work / name / 'upper'},workdir={work / name / 'work'}"
        command("mount", "-t", "overlay", "overlay", "-o", layers, str(self.root))
        command("mount", "-t", "tmpfs", "-o", f"size={JOURNAL_DISK}", "tmpfs", str(self.journal_disk))
        self.write("/etc/machine-id", f"{uuid.uuid4().hex}\n")
        self.write("/etc/hostname", f"{name}\n")
        self.write("/etc/resolv.conf", "")
        self.path("/var/log/journal").mkdir(exist_ok=True)

    def path(self, inside: str) -> Path:
        """Where a file of the host is, seen from here."""
        return self.root / inside.lstrip("/")

    def write(self, inside: str, text: str) -> None:
        """Write a file of the host: the file itself, not another in its place, so its mode and
        owner stay.
        """
        path = self.path(inside)
        if path.is_symlink():
            path.unlink()
        path.write_text(text)

    def follow(self, example: str, place: str, apply: str, shows_it: Callable[[Self], object]) -> None:
        """Put an example of the package in its place and apply it: it shows at once and at boot.

        Remove it again.
        """
        self.write(place, (EXAMPLES / example).read_text())
        self.run("chmod", "0600" if "netplan" in place else "0644", place)
        self.sh(apply)
        shows_it(self)
        self.lose_power()
        self.boot()
        shows_it(self)
        self.run("rm", place)

    def append(self, inside: str, text: str) -> None:
        """Append to a file of the host."""
        with open(self.path(inside), "a") as file:
            file.write(text)

    def trust(self, certificate: str) -> None:
        """Take in a certificate as an administrator does: it is in the system's folder and in its
        bundle then.
        """
        self.write("/usr/local/share/ca-certificates/zone.crt", certificate)
        command("chroot", str(self.root), "env", f"PATH={ENVIRONMENT['PATH']}", "update-ca-certificates")

    # -- power ----------------------------------------------------------------------------------------------------------

    @property
    def powered(self) -> bool:
        """Whether it is switched on."""
        return self._nspawn is not None

    def boot(self) -> None:
        """Switch it on, and wait until systemd has started everything."""
        plug(self.name, True)
        groups = self._groups()
        for group in groups:
            group.mkdir(parents=True, exist_ok=True)
        nspawn = [
            *("--quiet", "--directory", str(self.root), "--machine", self.name, "--register=no", "--keep-unit"),
            *("--network-namespace-path", f"/run/netns/{self.name}", "--capability=CAP_NET_ADMIN"),
            *("--resolv-conf=off", "--timezone=off", "--link-journal=no", "--console=pipe", "--boot"),
            *("--bind", f"{self.journal_disk}:/var/log/journal"),
        ]
        with open(self._layers / "console", "ab") as console:
            self._nspawn = subprocess.Popen(
                ["sh", "-c", STARTER, "sh", "\n".join(map(str, groups)), *nspawn],
                env=ENVIRONMENT | {"UNIFIED_CGROUP_HIERARCHY": "1"},
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )
        until(self._booted, f"{self.name} has started", BOOTS, why=self._console)

    def lose_power(self) -> None:
        """Switch it off: from one moment to the next it runs nothing and answers nothing."""
        if self._nspawn is None:
            return
        plug(self.name, False)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._leader or self._nspawn.pid, signal.SIGKILL)
        self._nspawn.wait(ENDS)
        self._nspawn, self._leader = None, 0
        forget(self.name)
        until(self._left_groups, f"the processes of {self.name} are gone", ENDS)

    def close(self) -> None:
        """Switch it off for good."""
        self.lose_power()
        # The kernel lets go of what the machine had mounted only a moment after its last process.
        command("umount", "--lazy", str(self.root), str(self.journal_disk))
        until(self._removed, f"the disks of {self.name} are removed", ENDS)

    def _left_groups(self) -> bool:
        """Remove the control groups that it made, and kill what is left in them: if it had not
        started yet, its PID 1 outlives its manager. False while one has a process, dying or not.
        """
        folders = [path for group in self._groups() for path in (group, *group.rglob("*")) if path.is_dir()]
        for folder in sorted(folders, reverse=True):
            with contextlib.suppress(OSError):  # both may be gone meanwhile
                for process in (folder / "cgroup.procs").read_text().split():
                    os.kill(int(process), signal.SIGKILL)
                folder.rmdir()
        return not folders

    def _removed(self) -> bool:
        """Remove its disks; false while something in them is still being removed by the kernel."""
        shutil.rmtree(self._layers, ignore_errors=True)
        return not self._layers.exists()

    def _booted(self) -> bool:
        assert self._nspawn is not None
        assert self._nspawn.poll() is None, f"{self.name} does not start: {self._console()}"
        try:
            (child,) = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text().split()
            name = Path(f"/proc/{child}/comm").read_text().strip()
        except (ValueError, OSError):  # none yet, two, or it ended while we looked
            return False
        if name != "systemd":  # first there is a helper, whose child becomes the container's PID 1
            return False
        self._leader = int(child)
        return self.ask("systemctl", "is-system-running").strip() in ("running", "degraded")

    def _console(self) -> str:
        return (self._layers / "console").read_text(errors="replace")[-2000:]

    def _groups(self) -> list[Path]:
        """A control group of its own in the hierarchy of systemd (version 1) and in the unified one
        (version 2), as far as there.
        """
        own = dict(line.split(":", 2)[1:] for line in Path("/proc/self/cgroup").read_text().splitlines())
        groups = []
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            found = re.fullmatch(r"\S+ \S+ \S+ \S+ (\S+) .* - (cgroup2?) \S+ (\S+)", line)
            if found is not None and (found[2] == "cgroup2" or "name=systemd" in found[3]):
                below = own["" if found[2] == "cgroup2" else "name=systemd"].strip("/")
                groups.append(Path(found[1], below, os.environ["EXOIP_HOSTS_GROUP"], self.name))
        return groups

    # -- commands -------------------------------------------------------------------------------------------------------

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a command on the host."""
        return subprocess.Popen(
            ["nsenter", "--target", str(self._leader), "--all", "--", "env", "--chdir=/root", *words],
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def ask(self, *words: str) -> str:
        """What a command on the host prints, however it ends."""
        return self._end(words)[1]

    def run(self, *words: str) -> str:
        """What a command on the host prints; it must succeed."""
        code, told = self._end(words)
        assert code == 0, f"{self.name}: {' '.join(words)}: {code}: {told}"
        return told

    def _end(self, words: tuple[str, ...]) -> tuple[int, str]:
        """Run a command; its exit code, and what it printed."""
        with self.start(*words) as process:
            try:
                told = process.communicate(timeout=COMMAND)[0]
            except subprocess.TimeoutExpired:
                process.kill()
                told = process.communicate()[0]
                raise AssertionError(f"{self.name}: {' '.join(words)}: not done in {COMMAND:g} s: {told}") from None
            return process.returncode, told

    def sh(self, script: str) -> str:
        """What a line of shell on the host prints; it must succeed."""
        return self.run("sh", "-c", script)

    def show(self, name: str, unit: str) -> str:
        """A property of a unit."""
        return self.run("systemctl", "show", "--value", "--property", name, unit).rstrip("\n")

    def signal(self, name: str, unit: str) -> None:
        """Send a signal to a unit's main process."""
        self.run("systemctl", "kill", "--kill-who=main", "--signal", name, unit)

    # -- the journal ----------------------------------------------------------------------------------------------------

    def journal(self, *which: str) -> list[Entry]:
        """Entries of its journal, oldest first; also while the host has no power."""
        told = self._journalctl("--output=json", "--quiet", *which)
        return [json.loads(line) for line in told.splitlines() if line.startswith("{")]

    def recent(self, lines: str) -> str:
        """The last entries of and about its daemons, for a person."""
        about = ["SYSLOG_IDENTIFIER=exoip", "+", "_SYSTEMD_SLICE=exoip.slice", "+", "UNIT=exoip@web.service"]
        return self._journalctl("--output=short-precise", "--lines", lines, *about)

    def _journalctl(self, *options: str) -> str:
        read = ["journalctl", "--no-pager", *options]
        return self.run(*read) if self.powered else command(*read, "--directory", str(self.journal_disk))

    @contextlib.contextmanager
    def full_disk(self) -> Iterator[None]:
        """Its journal's disk is full."""
        filler = self.journal_disk / "filler"
        with open(filler, "wb") as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(1 << 16))
                file.flush()
        try:
            yield
        finally:
            filler.unlink()
