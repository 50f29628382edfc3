"""Every event as one log entry: to the journal with fields of its own, or as the same line to stderr or stdout.

An entry has a MESSAGE_ID that stands for its kind of event (`messages.MESSAGE_IDS`), a syslog priority, a sentence, and upper-case fields:

    EXOIP_TIME (Unix seconds of the event itself, however late it is written)
    EXOIP_EIP  EXOIP_INSTANCE (this node)  EXOIP_EVENT  EXOIP_REASON  EXOIP_ROLE  EXOIP_OLD_ROLE
    EXOIP_PEER_INSTANCE (whom it is about)  EXOIP_PEER (its name and address)  EXOIP_DURATION_MS  EXOIP_API_CALL  EXOIP_FAILURE  …
    EXOIP_CAUSE  of role and stand-back-over: the event that triggered it, or one of `events.Cause`; of clearing and cleared: one of
        `events.Cause`; of unfit: see `unfit.UnfitReason`; of datagram-refused: the cause by which it is counted
    EXOIP_CAUSE_INSTANCE  of role and stand-back-over: the peer whose event that was
    EXOIP_SILENT_MS  of peer-dead: how long nothing had been heard of it
    EXOIP_SUCCESSOR  of letting-go and let-go: the instance that holds in place of this one; empty if none does

MESSAGE and EXOIP_REASON are for people, and may be worded in another way by the next version. Programs go by the other fields;
`exoipctl history` does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from exoip.core.events import Cause, Event, EventName, replace_ids
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
    "cause": "CAUSE",
    "peer": "CAUSE_INSTANCE",
    "successor": "SUCCESSOR",
}
_MILLISECONDS = {"duration": "DURATION_MS", "silent": "SILENT_MS"}


class Journal:
    """Tells events. `label` gives a person's words for an instance id, `wall` the Unix time of an event's moment."""

    def __init__(
        self, eip: str, own_id: str, label: Callable[[str], str], wall: Callable[[float], float] = float
    ) -> None:
        self._eip, self._own_id, self._label, self._wall = eip, own_id, label, wall

    def log(self, event: Event) -> None:
        """Log one event."""
        if event.name is EventName.FAILED and event.details.get("failure") == "refused":
            return  # told once, as API_DEGRADED; it is tried again every 30 s
        level = LEVELS.get(event.name, logging.INFO)
        if event.name is EventName.API_DEGRADED and event.details.get("failure") == "refused":
            level = logging.ERROR
        _LOGGER.log(level, "%s", self.sentence(event), extra=self.fields(event))

    def sentence(self, event: Event) -> str:
        """Return the event as one sentence."""
        who = "this instance" if event.instance_id == self._own_id else self._label(event.instance_id) or "none"
        words = {"reason": event.reason, "cure": CURES.get(str(event.details.get("cause")), ""), **event.details}
        words["trigger"] = _trigger(event)
        words = {name: self.replace_ids(word) if isinstance(word, str) else word for name, word in words.items()}
        same_role = event.name is EventName.ROLE and event.details["role"] == event.details["old_role"]
        template = OTHER_MASTER if same_role else SENTENCES[event.name]
        return template.format_map({"eip": self._eip, "who": who, **words})

    def explain(self, event: Event) -> str:
        """Return why it came about, in a person's words; where it has no reason, the whole sentence."""
        return self.replace_ids(event.reason + _trigger(event)) or self.sentence(event)

    def replace_ids(self, text: str) -> str:
        """Put people's words in the place of instance ids."""
        return replace_ids(text, self._label)

    def fields(self, event: Event) -> dict[str, str]:
        """Return the event's journal fields."""
        fields = {
            "MESSAGE_ID": MESSAGE_IDS[event.name],
            "EXOIP_EVENT": str(event.name),
            "EXOIP_EIP": self._eip,
            "EXOIP_INSTANCE": self._own_id,
            "EXOIP_REASON": event.reason,
            "EXOIP_TIME": f"{self._wall(event.at):.6f}",
        }
        if event.instance_id:
            fields |= {"EXOIP_PEER_INSTANCE": event.instance_id, "EXOIP_PEER": self._label(event.instance_id)}
        for detail, name in _MILLISECONDS.items():
            if isinstance(seconds := event.details.get(detail), float):
                fields[f"EXOIP_{name}"] = f"{seconds * 1000:.0f}"
        return fields | {f"EXOIP_{_FIELDS[k]}": str(v) for k, v in event.details.items() if k in _FIELDS}


def _trigger(event: Event) -> str:
    """Return what triggered a change of role, in brackets; the mere passing of time goes without saying."""
    cause = event.details.get("cause", Cause.TIME)
    if event.name is not EventName.ROLE or cause == Cause.TIME:
        return ""
    peer = event.details.get("peer")
    return f" ({peer} {cause})" if peer else f" ({cause})"
