"""The metadata service of a simulated zone: it tells an instance who and where it is. Pure.

The real one knows who asks by the address that asks. So does this one where that address is an instance's public
one; nodes that all ask from one address are told apart by a prefix: `/metadata/INSTANCE-ID/latest/meta-data/…`.
"""

from __future__ import annotations

import re

from exoip.sandbox.answers import Answer
from exoip.sandbox.faults import Fault
from exoip.sandbox.model import Call, NotFound
from exoip.sandbox.service import Handler
from exoip.sandbox.zone import Zone

_PATH = re.compile(r"(?:/metadata/([^/]+))?/latest/meta-data/([a-z0-9-]*)")


def is_metadata(path: str) -> bool:
    return path.startswith(("/latest/", "/metadata/"))


def metadata_for(client: str) -> Handler:
    """A handler that answers the instance whose public address is `client`, unless the path names another."""

    def handle(zone: Zone, call: Call, now: float, _fault: Fault | None) -> Answer:
        found = _PATH.fullmatch(call.path)
        if found is None or call.method != "GET":
            raise NotFound(f"no such metadata: {call.method} {call.path}")
        named, item = found.groups()
        instances = zone.instances(now)
        asking = [i for i in instances if (named in (i.id, i.name) if named else i.public_ip == client)]
        if not asking:
            raise NotFound(f"no instance is {named or client}")
        values = {
            "instance-id": asking[0].id,
            "availability-zone": zone.name,
            "local-hostname": asking[0].name,
            "public-ipv4": asking[0].public_ip or "",
        }
        values[""] = "\n".join(sorted(values))
        if item not in values:
            raise NotFound(f"no such metadata: {item}")
        return Answer(200, values[item].encode(), "text/plain; charset=utf-8")

    return handle
