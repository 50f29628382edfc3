"""Run each documented command as the first one in a fresh Debian tree, and say which fail.

    python3 -m tests.fresh [--release bookworm] [COMMAND ...]

A tree is Debian's minbase: no Python, no git, no make. Each command gets a container of its own
over it, with a copy of the tracked files, so it finds nothing that another command installed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.hosts.tree import made
from tests.support.paths import ROOT

RELEASES = ("bookworm", "trixie")
TREES = Path(os.environ.get("EXOIP_HOSTS_CACHE", "/var/cache/exoip-hosts"))
LONGEST = 1500  # seconds that one command may take, what it installs included
TAIL = 25  # last lines of a failed command's output that are shown, and four times as many of pytest's failures
CANNOT = 3  # a command says that this machine cannot run it, and why

# Every script once, with arguments that keep it short.
COMMANDS = (
    "script/setup",
    "script/test",
    "script/test core",
    "script/check",
    "script/deb",
    "script/pyz",
    "script/image",
    "script/demo",
    "script/simulate --seeds 20",
    "script/mutants equal",
    "script/fuzz --seconds 1",
    "script/test-alerts",
    "script/chaos --faults 4 --seed 1",
    "script/bench --short --only equals",
    "script/test-hosts",
    "script/test-containers",
    "script/test-release",
)
# What the others run, and what takes a key and a tag.
INSIDE = ("script/install-debian-packages", "script/test-fresh", "script/apt-repository", "script/release")


def main() -> int:
    """Return 1 if a command fails."""
    parser = argparse.ArgumentParser(prog="script/test-fresh", description=__doc__.split("\n\n", 1)[0])
    parser.add_argument("--release", action="append", choices=RELEASES, help="instead of all")
    parser.add_argument("command", nargs="*", help="instead of all, in quotes")
    options = parser.parse_args()
    rows = []
    for release in options.release or RELEASES:
        tree = made(TREES / f"{release}-minbase", release, [])
        for command in options.command or COMMANDS:
            print(f"script/test-fresh: {release}: {command}", flush=True)
            rows.append((release, command, *run(tree, command)))
    print(
        "\n".join(f"{release:<9} {command:<36} {seconds:>5.0f} s  {said}" for release, command, said, seconds in rows)
    )
    return any(said.startswith("FAIL") for _, _, said, _ in rows)


def run(tree: Path, command: str) -> tuple[str, float]:
    """Return how a command ended in a container of its own, and after how many seconds."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="exoip-fresh-") as folder:
        copy_tracked(Path(folder))
        words = [*container(tree, folder), "sh", "-c", f"cd /exoip && exec {command}"]
        try:
            done = subprocess.run(
                words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True, errors="replace", timeout=LONGEST,
            )  # fmt: skip
        except subprocess.TimeoutExpired as late:
            return f"FAIL: not done within {LONGEST} s: {str(late.output)[-500:]}", time.monotonic() - began
    took = time.monotonic() - began
    if done.returncode == 0:
        return "ok", took
    lines = done.stdout.strip().splitlines()
    if done.returncode == CANNOT:
        reasons = [line for line in lines if line.startswith("script/")]
        return f"cannot run here: {reasons[-1] if reasons else 'no reason given'}", took
    failures = next(
        (number for number, line in enumerate(lines) if " FAILURES " in line or " ERRORS " in line), len(lines)
    )
    print("\n".join([*lines[failures : failures + 4 * TAIL], *lines[-TAIL:]]), flush=True)
    return f"FAIL: exit {done.returncode}", took


def container(tree: Path, folder: str) -> Iterator[str]:
    """Return the words that run a command over the tree, with this machine's network and what its
    pip needs.
    """
    yield from ("systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--pipe", "--volatile=overlay")
    yield from (f"--directory={tree}", f"--bind={folder}:/exoip", "--resolv-conf=copy-host", "--setenv=LANG=C.UTF-8")
    if bundle := os.environ.get("PIP_CERT"):
        yield from (f"--bind-ro={bundle}:/run/pip-certificates.pem", "--setenv=PIP_CERT=/run/pip-certificates.pem")


def copy_tracked(folder: Path) -> None:
    """Copy the tracked files as they are now, and git's own folder: scripts ask it for the list, and
    a release is built from a commit.
    """
    subprocess.run(["git", "clone", "--quiet", "--no-checkout", ROOT, folder], check=True)
    subprocess.run(["git", "-C", folder, "reset", "--quiet"], check=True)  # its list is that of the commit
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


if __name__ == "__main__":
    sys.exit(main())
