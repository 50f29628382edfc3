"""Ask Exoscale's metadata service, or else this machine's files, which instance this is, and where.

The service answers in plain text below `URL/latest/meta-data/`. An instance without a public
address cannot reach it. There cloud-init has left the id in a file, and the hypervisor has put it
into the firmware (readable by root only). The file of a cloned disk is that of another instance, so
files are read only after the service was asked several times. A third place, the file `meta-data`
on the volume labelled cidata, would have to be mounted first: the error message names it.
Shown by tests/unit/exoscale/test_metadata.py.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import requests

from exoip.errors import ConfigError, MetadataUnavailable
from exoip.exoscale.models import one_line, uuid
from exoip.exoscale.transport import Transport

IDENTITY_FILES = (Path("/var/lib/cloud/data/instance-id"), Path("/sys/class/dmi/id/product_uuid"))
TIMEOUT = 2.0  # seconds for one question
TRIES = 3  # because at boot the network may need some seconds
PAUSE = 1.0  # seconds between two tries
_LIMIT = 1024  # bytes of an answer or a file
_ZONE = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")

Sleep = Callable[[float], None]


def instance_id(url: str, files: Sequence[Path] = IDENTITY_FILES, sleep: Sleep = time.sleep) -> str:
    """Return this instance's id. `url`: of the service, without `/latest`. Raises ConfigError.

    If the service does not answer several times, `files` are read.
    """
    return _ask(url, "instance-id", uuid, files, sleep)


def zone(url: str, sleep: Sleep = time.sleep) -> str:
    """Return the name of the zone that this instance is in, like "ch-gva-2". Raises ConfigError."""
    return _ask(url, "availability-zone", _zone_name, (), sleep)


def _ask(url: str, item: str, parse: Callable[[str], str], files: Sequence[Path], sleep: Sleep) -> str:
    where = f"{url.rstrip('/')}/latest/meta-data/{item}"
    problem, kind = "", ConfigError
    for attempt in range(TRIES):
        if attempt:
            sleep(PAUSE)
        try:
            return parse(_get(where))
        except (requests.RequestException, ValueError) as error:
            problem = one_line(str(error))
            kind = MetadataUnavailable if isinstance(error, requests.RequestException) else ConfigError
    for file in files:
        with contextlib.suppress(OSError, ValueError), file.open("rb") as opened:
            return parse(opened.read(_LIMIT).decode("ascii").strip())
    raise kind(
        f"the metadata service (-xm) gives no {item}: GET {where}: {problem}; give the instance's id with -i "
        "(IF_EXOSCALE_INSTANCE_ID) and its zone with -xz (IF_EXOSCALE_ZONE) to do without the service; on an instance "
        "without a public address both are in the file meta-data of the volume /dev/disk/by-label/cidata"
    )


def _get(url: str) -> str:
    """Return the body. Raises RequestException if the service does not work, or ValueError."""
    with contextlib.closing(Transport(limit=_LIMIT)) as transport:
        request = requests.Request("GET", url, headers={"Accept": "text/plain"}).prepare()
        response = transport.send(request, TIMEOUT)
    if response.status_code >= 500 or response.status_code in (408, 429):  # it answers later
        raise requests.HTTPError(f"status {response.status_code}", response=response)
    if response.status_code != 200:
        raise ValueError(f"status {response.status_code}")
    return response.content.decode("ascii", "replace").strip()


def _zone_name(text: str) -> str:
    if not _ZONE.fullmatch(text):  # it becomes part of a host name
        raise ValueError(f"{one_line(text, 60)!r} is not the name of a zone")
    return text
