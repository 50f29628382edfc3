"""Every event as one log entry: to the journal with fields of its own, or as the same line to stderr or stdout.

An entry has a MESSAGE_ID that stands for its kind of event (`messages.MESSAGE_IDS`), a syslog priority, a sentence, and upper-case fields:

    EXOIP_TIME (Unix seconds of the event itself, however late it is written)
    EXOIP_EIP  EXOIP_INSTANCE (this node)  EXOIP_EVENT  EXOIP_REASON  EXOIP_ROLE  EXOIP_OLD_ROLE
    EXOIP_PEER_INSTANCE (whom it is about)  EXOIP_PEER (its name and address)  EXOIP_DURATION_MS  EXOIP_API_CALL  EXOIP_FAILURE  …

Logging never makes anything wait: the library's own way to journald holds Python's global lock while journald is stopped or slow,
which would stop every heartbeat. So `Outlet` speaks the journal's datagram protocol itself, from a thread of its own with a bounded
queue; when that is full, entries are dropped and counted, and the count is told later. stderr and stdout are written by the same thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from exoip.core.events import Event, What, named
from exoip.telemetry.messages import CURES, LEVELS, MESSAGE_IDS, OTHER_MASTER, SENTENCES

_LOGGER = logging.getLogger("exoip")
_FIELDS = {
    "role": "ROLE",
    "old_role": "OLD_ROLE",
    "call": "API_CALL",
    "failure": "FAILURE",
    "address": "ADDRESS",
    "priority": "PRIORITY",
    "check": "CHECK",
}


class Journal:
    """Tells events. `label` gives a person's words for an instance id, `wall` the Unix time of an event's moment."""

    def __init__(
        self, eip: str, own_id: str, label: Callable[[str], str], wall: Callable[[float], float] = float
    ) -> None:
        self._eip, self._own_id, self._label, self._wall = eip, own_id, label, wall

    def tell(self, event: Event) -> None:
        """Log one event."""
        if event.what is What.FAILED and event.details.get("failure") == "refused":
            return  # told once, as API_DEGRADED; it is tried again every 30 s
        level = LEVELS.get(event.what, logging.INFO)
        if event.what is What.API_DEGRADED and event.details.get("failure") == "refused":
            level = logging.ERROR
        _LOGGER.log(level, "%s", self.sentence(event), extra=self.fields(event))

    def sentence(self, event: Event) -> str:
        """Return the event as one sentence."""
        who = "this instance" if event.instance_id == self._own_id else self._label(event.instance_id) or "none"
        words = {"reason": event.reason, "cure": CURES.get(event.reason, ""), **event.details}
        words = {name: self.named(word) if isinstance(word, str) else word for name, word in words.items()}
        same_role = event.what is What.ROLE and event.details["role"] == event.details["old_role"]
        template = OTHER_MASTER if same_role else SENTENCES[event.what]
        return template.format_map({"eip": self._eip, "who": who, **words})

    def explain(self, event: Event) -> str:
        """Return why it came about, in a person's words; where it has no reason, the whole sentence."""
        return self.named(event.reason) or self.sentence(event)

    def named(self, text: str) -> str:
        """Put people's words in the place of instance ids."""
        return named(text, self._label)

    def fields(self, event: Event) -> dict[str, str]:
        """Return the event's journal fields."""
        fields = {
            "MESSAGE_ID": MESSAGE_IDS[event.what],
            "EXOIP_EVENT": str(event.what),
            "EXOIP_EIP": self._eip,
            "EXOIP_INSTANCE": self._own_id,
            "EXOIP_REASON": event.reason,
            "EXOIP_TIME": f"{self._wall(event.at):.6f}",
        }
        if event.instance_id:
            fields |= {"EXOIP_PEER_INSTANCE": event.instance_id, "EXOIP_PEER": self._label(event.instance_id)}
        duration = event.details.get("duration")
        if isinstance(duration, float):
            fields["EXOIP_DURATION_MS"] = f"{duration * 1000:.0f}"
        return fields | {f"EXOIP_{_FIELDS[k]}": str(v) for k, v in event.details.items() if k in _FIELDS}
