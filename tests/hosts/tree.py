"""The Debian tree that every host is a layer over: made once, and kept between runs.

    python3 -m tests.hosts.tree RELEASE EXOIP.DEB [PACKAGE ...]

prints its path. It has what a cloud image has, and what the package depends on, so that the hosts
need no registry. It is kept under $EXOIP_HOSTS_CACHE (/var/cache/exoip-hosts), named by release and
packages, for a week after its last use; it comes from where this machine's own apt gets Debian.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

CLOUD_IMAGE = ("systemd", "systemd-sysv", "dbus", "libnss-systemd", "iproute2", "procps", "sudo", "ca-certificates")
NETWORKS = ("ifupdown", "psmisc", "netplan.io")  # what may give lo its address, and the stanza's killall
CLOCK = "libfaketime"  # gives one host's daemon a clock of its own
KEPT = 7 * 86400  # seconds since its last use after which a tree goes: tests of another checkout may run on it now
MIRROR = "http://deb.debian.org/debian"
# What of apt's own settings decides whether and how it reaches a registry.
SETTINGS = re.compile(r"^Acquire::(https?|Check-Valid-Until|Check-Date|Retries)\b.*")


def main() -> None:
    release, deb, *more = sys.argv[1:]
    packages = sorted({*CLOUD_IMAGE, *NETWORKS, CLOCK, *dependencies(deb), *more})
    cache = Path(os.environ.get("EXOIP_HOSTS_CACHE", "/var/cache/exoip-hosts"))
    key = hashlib.sha256("\n".join(packages).encode()).hexdigest()[:12]
    print(made(cache / f"{release}-{key}", release, packages))


def dependencies(deb: str) -> list[str]:
    """What the package depends on, without versions; of alternatives the first."""
    fields = [told("dpkg-deb", "-f", deb, field) for field in ("Depends", "Recommends")]
    words = [part.split("|")[0].split("(")[0].split(":")[0].strip() for field in fields for part in field.split(",")]
    return [word for word in words if word]


def made(tree: Path, release: str, packages: list[str]) -> Path:
    """The tree, after making it if it is not there; whoever comes second waits for whoever makes
    it.
    """
    tree.parent.mkdir(parents=True, exist_ok=True)
    with open(tree.parent / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if tree.is_dir():
            os.utime(tree)
            return tree
        for old in tree.parent.glob(f"{release}-*"):
            if time.time() - old.stat().st_mtime > KEPT:
                shutil.rmtree(old)
        sys.stderr.write(f"tests.hosts.tree: making {tree} of Debian {release}\n")
        unfinished = tree.with_name(f".{tree.name}")
        shutil.rmtree(unfinished, ignore_errors=True)
        options = [f"--aptopt={line}" for line in told("apt-config", "dump").splitlines() if SETTINGS.match(line)]
        source = f"deb {mirror()} {release} main"
        include = [f"--include={','.join(packages)}"] if packages else []
        command = ["mmdebstrap", "--quiet", "--variant=minbase", *include, *options, release, str(unfinished), source]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr)
        os.utime(unfinished)
        unfinished.rename(tree)
    return tree


def mirror() -> str:
    """Where this machine's apt gets Debian itself."""
    wanted = ("--format", "$(REPO_URI)", "Origin: Debian", "Label: Debian", "Component: main", "Created-By: Packages")
    found = told("apt-get", "indextargets", *wanted).split()
    return found[0].rstrip("/") if found else MIRROR


def told(*command: str) -> str:
    """What a command prints."""
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


if __name__ == "__main__":
    main()
