"""The files that outlive a restart: starts, topology, results of checks, `held` and `drained`.

All but the last are in $RUNTIME_DIRECTORY, which the unit preserves over a restart. A planned stop
removes them; a planned restart (SIGQUIT) removes the starts, and writes `held`. `drained` is in
$STATE_DIRECTORY and also outlives a boot. Without these variables nothing is kept. A file that is
missing or damaged never stops a start. Shown by tests/unit/daemon/test_state_files.py.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from exoip.config.options import OPTIONS, Config
from exoip.core.peers import UNFIT
from exoip.core.snapshot import Snapshot
from exoip.exoscale.topology import Member, Topology
from exoip.telemetry.log import log

START_WINDOW = 60.0  # seconds that a start counts as recent
UNFIT_STARTS = 3  # recent starts, this one included, that make the node unfit
PAUSED_STARTS = 5  # recent starts from which the daemon pauses first; it is unfit, so no peer waits for it
START_PAUSE = 1.0  # seconds of that pause
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
DRAINED_FOR_UNKNOWN_REASON = "drained, reason unknown"

_LONGEST_REASON = 1000  # bytes that are read of the file `drained`


def path_in(environ: Mapping[str, str], variable: str, name: str) -> Path | None:
    """Return the path of `name` in the first directory that $`variable` lists, or None."""
    directory = environ.get(variable, "").split(":")[0]
    return Path(directory, name) if directory else None


class StateFile:
    """The file `name` in a directory that systemd provides (see `path_in`)."""

    def __init__(self, environ: Mapping[str, str], variable: str, name: str) -> None:
        self.path = path_in(environ, variable, name)
        self._variable = variable

    def read(self, most: int = -1) -> str | None:
        """Return the text, of at most `most` bytes, or None if there is no file. Raises OSError."""
        if self.path is None:
            return None
        try:
            with self.path.open("rb") as file:
                return file.read(most).decode("utf-8", "replace")
        except FileNotFoundError:
            return None

    def write(self, text: str) -> str:
        """Replace the whole file at once. Return why that failed, or ""."""
        if self.path is None:
            return f"${self._variable} is not set"
        new = self.path.with_suffix(".new")
        try:
            new.write_text(text, encoding="utf-8")
            new.replace(self.path)
        except OSError as error:
            return f"{self.path} cannot be written: {error.strerror}"
        return ""

    def forget(self) -> str:
        """Remove the file. Return why that failed, or ""."""
        try:
            if self.path is not None and self.path.exists():  # a read-only directory refuses even without it
                self.path.unlink(missing_ok=True)
        except OSError as error:
            return f"{self.path} cannot be removed: {error.strerror}"
        return ""


@dataclass(frozen=True, slots=True)
class StartVerdict:
    """Until when a node that starts is unfit, and until when it pauses.

    Both are the time of the start if all is well.
    """

    unfit_until: float
    pause_until: float


def judge(recent: int, now: float) -> StartVerdict:
    """Judge a start at `now` after `recent` others within START_WINDOW.

    A daemon in a crash loop must neither keep the EIP from a healthy node nor use up a processor.
    """
    return StartVerdict(
        unfit_until=now + START_WINDOW if recent + 1 >= UNFIT_STARTS else now,
        pause_until=now + START_PAUSE if recent + 1 >= PAUSED_STARTS else now,
    )


class StartHistory(StateFile):
    """The times of recent starts on the clock of this boot, one a line."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ, "RUNTIME_DIRECTORY", "starts")

    def record(self, now: float) -> StartVerdict:
        """Add a start at `now`, and judge it."""
        if self.path is None:
            return judge(0, now)
        try:
            stamps = [float(line) for line in (self.read() or "").split()]
        except (OSError, ValueError):
            stamps = []
        recent = [stamp for stamp in stamps if now - START_WINDOW < stamp <= now]
        if problem := self.write("".join(f"{stamp:.3f}\n" for stamp in [*recent[-10:], now])):
            log(logging.WARNING, "this start is not counted: %s", problem)
        verdict = judge(len(recent), now)
        if verdict.pause_until > now:
            log(logging.WARNING, "start %d within a minute: pausing for %g s", len(recent) + 1, START_PAUSE)
        return verdict


class TopologyCache(StateFile):
    """The discovered topology: a daemon that crashed needs it to send heartbeats again at once.

    Discovery takes several API calls. A restart must be shorter than the dead time, and must work
    while the API is down. The cache counts only for the configuration and the boot that it was
    saved for: after a boot this may be a copy of the disk, on another instance.
    """

    def __init__(self, environ: Mapping[str, str], boot_id: Path = BOOT_ID) -> None:
        super().__init__(environ, "RUNTIME_DIRECTORY", "topology.json")
        try:
            self._boot = boot_id.read_text().strip()
        except OSError:  # the unit hides it, and its directory does not outlive a boot
            self._boot = ""

    def load(self, config: Config) -> Topology | None:
        """Return the topology saved for this configuration, or None."""
        try:
            text = self.read()
            if text is None:
                return None
            kept = json.loads(text)
            fields = kept["topology"]
            if kept["for"] != _fingerprint(config, self._boot, fields):
                return None
            fields |= {name: tuple(fields[name]) for name in ("warnings", "shut_out", "asked")}
            fields["members"] = tuple(Member(**member) for member in fields["members"])
            return Topology(**fields)
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            log(logging.WARNING, "%s is ignored: %s", self.path, error)
            return None

    def save(self, config: Config, topology: Topology) -> None:
        """Keep `topology` for this configuration."""
        fields = dataclasses.asdict(topology)
        text = json.dumps({"for": _fingerprint(config, self._boot, fields), "topology": fields})
        if (problem := self.write(text)) and self.path is not None:
            log(logging.WARNING, "the topology is not kept: %s", problem)


class CheckResults(StateFile):
    """Which health checks pass and which do not, by their identity; one a line.

    If there is no file, nothing is known of any.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ, "RUNTIME_DIRECTORY", "checks")

    def load(self) -> dict[str, bool] | None:
        """Return whether each passes, or None if that is not known."""
        try:
            text = self.read()
        except OSError as error:
            log(logging.WARNING, "%s is ignored: %s", self.path, error.strerror)
            return None
        return None if text is None else {line[1:]: line[0] == "+" for line in text.split()}

    def save(self, passing: Mapping[str, bool]) -> None:
        """Keep whether each passes. If that fails, remove what was kept, which no longer counts."""
        text = "".join(f"{'+' if well else '-'}{identity}\n" for identity, well in passing.items())
        if (problem := self.write(text)) and self.path is not None:
            also = f"; {left}" if (left := self.forget()) else ""
            log(logging.WARNING, "which health checks fail is not kept: %s%s", problem, also)


class HeldFile(StateFile):
    """What a holder that is stopped for a restart knew: from when until when it counts, since when
    it was known, and whether it is in doubt.

    Times are seconds on the clock of this boot. It counts once, and only while no peer, whose dead
    time is that of the daemon before, can have missed a heartbeat too many.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ, "RUNTIME_DIRECTORY", "held")

    def save(self, node: Snapshot, until: float) -> str:
        """Keep until then that this node holds, if so. Return why a restart may move it, or "".

        A doubt that is only due to a heard peer is kept too.
        """
        if not node.holds and not node.in_doubt:
            return ""
        if not node.protected:
            return "it is not certain that this instance holds it"
        if node.mute:
            return f"no heartbeat of this node can be sent: {node.mute}"
        if node.advertised >= UNFIT or node.at >= until:
            return "this instance is detaching itself, or took too long to stop"
        return self.write(f"{node.at:.3f} {until:.3f} {node.known_at:.3f} {node.in_doubt:d}\n")

    def take(self, now: float) -> tuple[float, bool] | None:
        """Return when the node was known to hold, and whether in doubt, if that still counts."""
        try:
            text = self.read()
            self.forget()
            at, until, known_at, in_doubt = map(float, (text or "").split())
        except (OSError, ValueError):
            return None
        return (known_at, in_doubt != 0.0) if known_at <= at <= now < until else None


class DrainedFile(StateFile):
    """Says that an operator drained this node, and why.

    Whatever is in the file: a node that has it is drained.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ, "STATE_DIRECTORY", "drained")

    def load(self) -> str:
        """Return why this node is drained, or "" if it is not."""
        try:
            text = self.read(_LONGEST_REASON)
        except OSError as error:
            log(logging.WARNING, "%s cannot be read, so this node counts as drained: %s", self.path, error.strerror)
            text = ""
        if text is None:
            return ""
        text = text.strip()
        return text if text.isprintable() and text else DRAINED_FOR_UNKNOWN_REASON

    def save(self, why: str) -> str:
        """Keep the reason. Return why the drain will not outlive a restart, or ""."""
        problem = self.write(why + "\n")
        return problem if not self.load() else ""  # one with an older reason lasts as well


def _fingerprint(config: Config, boot: str, topology: Mapping[str, object]) -> str:
    """Return a hash of what decides whether the topology counts; of itself too, to see damage."""
    decides = [boot, *(str(getattr(config, option.field)) for option in OPTIONS if option.discovery)]
    return hashlib.sha256(json.dumps([topology, *decides]).encode()).hexdigest()
