"""Tries to get out, by one way after the other, and prints as JSON what came of each: null if it
succeeded, else the error.

It is run in the service's own sandbox in the daemon's place, and outside of it as root, where each
way must be open to show anything: `python3 probe.py FOLDER`, a folder that everybody may write to.
Nothing of it needs the package.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import mmap
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWUSER, CLONE_NEWNS, PER_BSD = 0x10000000, 0x00020000, 0x0006
WAYS: dict[str, Callable[[Path], object]] = {}
Way = Callable[[Path], object]


def way(name: str) -> Callable[[Way], Way]:
    """Make a function a way out."""

    def add(function: Way) -> Way:
        WAYS[name] = function
        return function

    return add


def system(name: str, *arguments: object) -> int:
    """Call a function of libc; OSError when it fails."""
    result = int(getattr(LIBC, name)(*arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def write(path: str) -> None:
    with open(path, "a") as file:
        file.write("")


def run_from(folder: str) -> None:
    """Copy a program there and run it."""
    copy = Path(shutil.copy("/usr/bin/true", Path(folder, "probe-true")))
    try:
        copy.chmod(0o755)
        subprocess.run([copy], check=True)
    finally:
        copy.unlink()


way("write below /etc")(lambda _: write("/etc/probe"))
way("write below /usr")(lambda _: write("/usr/probe"))
way("write where everybody may")(lambda folder: write(str(folder / "probe")))
way("read below /root what everybody may")(lambda _: Path("/root/open/for-all").read_text())
way("read below /home what everybody may")(lambda _: Path("/home/open/for-all").read_text())
way("run a program of /tmp")(lambda _: run_from("/tmp"))  # noqa: S108
way("run a program of /var/tmp")(lambda _: run_from("/var/tmp"))  # noqa: S108
way("run a program of /dev/shm")(lambda _: run_from("/dev/shm"))  # noqa: S108
way("run a program of the state directory")(lambda _: run_from(os.environ.get("STATE_DIRECTORY", "/var/lib")))
way("run a program of the runtime directory")(lambda _: run_from(os.environ.get("RUNTIME_DIRECTORY", "/run")))
way("a packet socket")(lambda _: socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close())
way("a raw socket")(lambda _: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close())
way("a netlink socket")(lambda _: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close())
way("memory to write and to run")(
    lambda _: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()
)
way("load a module")(
    lambda _: system("syscall", ctypes.c_long(175), b"", ctypes.c_long(0), b"")
)  # init_module on x86-64
way("set the clock")(lambda _: time.clock_settime(time.CLOCK_REALTIME, time.time()))
way("set the host's name")(lambda _: socket.sethostname(socket.gethostname()))
way("mount")(lambda folder: system("mount", b"none", bytes(folder), b"tmpfs", 0, None))
way("another personality")(lambda _: system("personality", ctypes.c_ulong(PER_BSD)))
way("real-time scheduling")(lambda _: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)))
way("the kernel's settings")(lambda _: write("/proc/sys/kernel/domainname"))
way("control groups")(lambda _: write("/sys/fs/cgroup/cgroup.procs"))
way("the kernel's log")(lambda _: system("klogctl", 3, ctypes.create_string_buffer(16), 16))
way("see other users' processes")(lambda _: Path("/proc/1/status").read_text())
way("a device node")(lambda folder: os.mknod(folder / "node", 0o600 | 0o060000, os.makedev(1, 1)))


@way("a namespace of its own")
def _namespace(_: Path) -> None:
    """In a child, so that the other ways are not tried from inside of it."""
    child = os.fork()
    if not child:
        code = 1
        with contextlib.suppress(OSError):
            system("unshare", CLONE_NEWNS)
            code = 0
        os._exit(code)
    if os.waitpid(child, 0)[1]:
        raise PermissionError("refused")


@way("a program that runs as another user")
def _setuid(folder: Path) -> None:
    copy = Path(os.environ.get("STATE_DIRECTORY", str(folder)), "probe-setuid")
    shutil.copy("/usr/bin/true", copy)
    try:
        copy.chmod(0o4755)
        if not copy.stat().st_mode & 0o4000:
            raise PermissionError("the bit does not stay")
    finally:
        copy.unlink()


def needed(_: Path) -> dict[str, str | None]:
    """What the daemon does: none of it may fail, or the sandbox would be shown by a daemon that can
    do nothing.
    """
    done: dict[str, str | None] = {}
    for name, do in {
        "udp": lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).bind(("", 0)),
        "tcp": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM).close(),
        "unix": lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).close(),
        "a program of /usr/bin": lambda: subprocess.run(["/usr/bin/true"], check=True),
        "the state directory": lambda: write(os.environ["STATE_DIRECTORY"] + "/probe"),
        "the runtime directory": lambda: write(os.environ["RUNTIME_DIRECTORY"] + "/probe"),
        "/tmp": lambda: write("/tmp/probe"),  # noqa: S108
        "names": lambda: socket.getaddrinfo("localhost", 1),
    }.items():
        done[name] = tried(lambda _, do=do: do(), Path())
    return done


def tried(do: Way, folder: Path) -> str | None:
    """Try a way."""
    try:
        do(folder)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return f"{type(error).__name__}: {error}"
    return None


if __name__ == "__main__":
    place = Path(sys.argv[1])
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    facts = {name: status[name].strip() for name in ("CapEff", "CapBnd", "NoNewPrivs", "Seccomp", "Uid")}
    print(
        json.dumps(
            {
                "ways": {name: tried(do, place) for name, do in WAYS.items()},
                "needed": needed(place) if "STATE_DIRECTORY" in os.environ else {},
                "facts": facts,
            }
        )
    )
