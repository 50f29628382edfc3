"""Give the run a network namespace, and cut its loopback between addresses with nftables.

The namespace ends with its last process, and all its processes end with the first one, which is
its init: the kernel kills the others.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence

from tests.support.partition import Partition, PartitionError
from tests.support.paths import ROOT

_NEW = ("--net", "--pid", "--fork", "--kill-child", "--mount-proc")
_WAYS = (
    ("unshare", *_NEW),
    ("unshare", "--user", "--map-root-user", *_NEW),
)  # as root; as any user, if that is allowed
_PROBE = "from tests.process.faults.partition import loopback_up; loopback_up()"
_INSIDE = "EXOIP_FAULTS_NAMESPACE"  # set in a process that runs in the namespace
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1


def inside() -> bool:
    """Whether this process runs in a namespace that `enter` made."""
    return _INSIDE in os.environ


def enter(command: Sequence[str]) -> None:
    """Replace this process by `command`, in a new namespace.

    Raises PartitionError if no namespace can be made, or if its loopback cannot be brought up: root
    in a container may lack that right.
    """
    if shutil.which("unshare") is None:
        raise PartitionError("there is no command unshare (util-linux)")
    why = ""
    for way in _WAYS:
        tried = subprocess.run(
            [*way, sys.executable, "-c", _PROBE], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        if tried.returncode == 0:
            os.execvpe(way[0], [*way, *command], {**os.environ, _INSIDE: "1"})  # noqa: S606
        why = why or tried.stderr.strip().split("\n")[-1]
    raise PartitionError(f"no network namespace can be made: {why or 'unshare fails'}")


def loopback_up() -> None:
    """Bring up the loopback, which is down in a new namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh14x", b"lo", 0)
        (flags,) = struct.unpack("16xh14x", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request))
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))


def possible() -> None:
    """Raise PartitionError if this process cannot cut."""
    with Partition(["127.0.0.2"], ["127.0.0.3"], 9):
        pass
