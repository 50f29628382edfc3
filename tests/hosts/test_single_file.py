"""exoip.pyz as a service, by the commands of docs/installing.md, on a host without python-systemd."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from exoip.telemetry.log import NO_FIELDS
from tests.hosts.cluster import Cluster
from tests.hosts.network import EIP
from tests.support.paths import ROOT
from tests.support.waiting import until

UNIT = "exoip@eip.service"


def commands() -> str:
    """The commands of the chapter, one script."""
    text = (ROOT / "docs/installing.md").read_text()
    chapter = re.search(r"^## One file: exoip.pyz\n(.*?)^## ", text, re.M | re.S)
    assert chapter
    blocks = re.findall(r"^```sh\n(.*?)^```$", chapter[1], re.M | re.S)
    return "".join(blocks).replace("python3 exoip.pyz exoipctl status\n", "")  # nothing runs yet


def test_it_runs_as_a_service_and_says_what_it_lacks(hosts: Cluster) -> None:
    a = hosts.hosts["a"]
    a.sh("rm -r /usr/lib/python3/dist-packages/systemd")
    shutil.copy(Path(os.environ["EXOIP_HOSTS_PYZ"]), a.path("/root/exoip.pyz"))
    a.write("/root/eip.conf", hosts.zone.configuration("a"))
    a.sh(f"set -eu; {commands()}")
    until(lambda: hosts.zone.holders() == {"a"}, "it holds", 60.0)
    assert f"MASTER of {EIP}" in a.show("StatusText", UNIT)
    assert f"eip  {EIP}  MASTER" in a.ask("/usr/local/bin/exoipctl")
    entries = {str(entry["MESSAGE"]): entry for entry in a.journal(f"--unit={UNIT}")}
    assert entries[NO_FIELDS]["PRIORITY"] == "4"
    attached = next(entry for text, entry in entries.items() if text.startswith(f"attached {EIP}"))
    assert attached["PRIORITY"] == "6"
    assert attached["SYSLOG_IDENTIFIER"] == "exoip"
    a.run("systemctl", "stop", UNIT)
    assert hosts.zone.holders() == frozenset()
    assert a.show("Result", UNIT) == "success"
