"""Write every event as one log entry: in the journal with fields, or as a line on a stream.

An entry has the MESSAGE_ID of its event (`messages`), a syslog priority, a sentence and these
fields:

    EXOIP_TIME      Unix seconds of the event itself, however late it is written
    EXOIP_EIP, EXOIP_INSTANCE (this node), EXOIP_EVENT, EXOIP_REASON
    EXOIP_PEER_INSTANCE, EXOIP_PEER
                    the instance that the event is about: its id; its name and address
    EXOIP_ROLE, EXOIP_OLD_ROLE, EXOIP_PRIORITY, EXOIP_DURATION_MS, EXOIP_API_CALL, EXOIP_FAILURE,
    EXOIP_ADDRESS, EXOIP_CHECK
                    as far as the event has them
    EXOIP_CAUSE     of role and stand-back-over: the event that triggered it, or one of
                    `events.Cause`; of clearing and cleared: one of `events.Cause`; of attaching and
                    attached, and of holds: BLIND, or nothing; of unfit: see `unfit.UnfitReason`; of
                    datagram-refused: the cause by which it is counted
    EXOIP_CAUSE_INSTANCE
                    of role and stand-back-over: the peer whose event triggered it
    EXOIP_SILENT_MS of peer-dead: how long nothing was heard from it
    EXOIP_SUCCESSOR of letting-go and let-go: the instance that holds in place of this one, or ""

MESSAGE and EXOIP_REASON are for people, and the next version may word them in another way. Programs
use the other fields; so does `exoipctl history`. Shown by tests/simulation/test_rewording.py.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from exoip.core.calls import Failure
from exoip.core.events import Event, EventName
from exoip.heartbeat.admission import ADDRESS, REPORT_INTERVAL
from exoip.heartbeat.wire import UUID_PATTERN
from exoip.telemetry.messages import CURES, MESSAGES, OTHER_ADDRESS, OTHER_MASTER, PROBLEMS, TRIGGERS

_LOGGER = logging.getLogger("exoip")
_SAME_NAME = ("role", "old_role", "failure", "address", "priority", "check", "cause", "successor")
_FIELDS = {detail: detail.upper() for detail in _SAME_NAME} | {"call": "API_CALL", "peer": "CAUSE_INSTANCE"}
_MILLISECONDS = {"duration": "DURATION_MS", "silent": "SILENT_MS"}


RECENT = 50  # events that are kept for `exoipctl status`


@dataclass(frozen=True, slots=True)
class Told:
    """An event as it was logged, at Unix time `at`. `level`: its name in logging, in small
    letters.
    """

    at: float
    event: EventName
    level: str
    message: str


class Journal:
    """Writes the events of one node to the log. `recent`: the last ones, without debug entries.

    `display_name` gives the name and address of an instance id, `unix_time` the Unix time of a
    moment of the node's clock.
    """

    def __init__(
        self,
        eip: str,
        own_id: str,
        display_name: Callable[[str], str],
        unix_time: Callable[[float], float] = float,
    ) -> None:
        self._eip, self._own_id, self._display_name, self._unix_time = eip, own_id, display_name, unix_time
        self.recent: tuple[Told, ...] = ()
        self._stalls, self._stall_logged = 0, -math.inf  # since the last one that was logged, and when that was

    def log(self, event: Event) -> None:
        """Write one event.

        A forbidden call is an error, and logged once though it is retried. Stalls are logged once a
        minute at most; the next line counts those between.
        """
        if event.name is EventName.STALLED:
            self._stalls += 1
            if event.at - self._stall_logged < REPORT_INTERVAL:
                return
            if self._stalls > 1:
                event = replace(
                    event, reason=f"{event.reason} ({self._stalls} times in {event.at - self._stall_logged:.0f} s)"
                )
            self._stalls, self._stall_logged = 0, event.at
        level = MESSAGES[event.name].level
        if event.details.get("failure") == Failure.FORBIDDEN:
            if event.name is EventName.FAILED:
                return
            level = logging.ERROR
        sentence = self.sentence(event)
        _LOGGER.log(level, "%s", sentence, extra=self.fields(event))
        if level > logging.DEBUG:
            told = Told(self._unix_time(event.at), event.name, logging.getLevelName(level).lower(), sentence)
            self.recent = (*self.recent[1 - RECENT :], told)  # replaced as a whole: any thread may read it

    def sentence(self, event: Event) -> str:
        """Return the event as one sentence."""
        details = event.details
        words = {
            "reason": event.reason,
            "cure": CURES.get(str(details.get("cause")), ""),
            "problem": PROBLEMS.get(str(details.get("failure")), ""),
            "trigger": _trigger(event),
            **details,
        }
        words = {name: self.replace_ids(word) if isinstance(word, str) else word for name, word in words.items()}
        own = event.instance_id == self._own_id
        who = "this instance" if own else self._display_name(event.instance_id) or "none"
        same_role = event.name is EventName.ROLE and details["role"] == details["old_role"]
        sentence = OTHER_MASTER if same_role else MESSAGES[event.name].sentence
        if event.details.get("cause") == ADDRESS:
            sentence = OTHER_ADDRESS
        return sentence.format_map({"eip": self._eip, "who": who, **words})

    def explain(self, event: Event) -> str:
        """Return the reason of an event for people, or its whole sentence if it has none."""
        return self.replace_ids(event.reason + _trigger(event)) or self.sentence(event)

    def replace_ids(self, text: str) -> str:
        """Replace the instance ids in a text by names and addresses."""
        return replace_ids(text, self._display_name)

    def fields(self, event: Event) -> dict[str, str]:
        """Return the event's journal fields."""
        fields = {
            "MESSAGE_ID": MESSAGES[event.name].message_id,
            "EXOIP_EVENT": str(event.name),
            "EXOIP_EIP": self._eip,
            "EXOIP_INSTANCE": self._own_id,
            "EXOIP_REASON": event.reason,
            "EXOIP_TIME": f"{self._unix_time(event.at):.6f}",
        }
        if event.instance_id:
            fields |= {
                "EXOIP_PEER_INSTANCE": event.instance_id,
                "EXOIP_PEER": self._display_name(event.instance_id),
            }
        for detail, name in _MILLISECONDS.items():
            if isinstance(seconds := event.details.get(detail), float):
                fields[f"EXOIP_{name}"] = f"{seconds * 1000:.0f}"
        return fields | {f"EXOIP_{_FIELDS[k]}": str(v) for k, v in event.details.items() if k in _FIELDS}


def replace_ids(text: str, display_name: Callable[[str], str]) -> str:
    """Replace each instance id in `text` by its display name."""
    return UUID_PATTERN.sub(lambda found: display_name(found[0]), text)


def _trigger(event: Event) -> str:
    """Return what triggered a role event, in brackets; "" where the reason says it."""
    trigger = TRIGGERS.get(str(event.details.get("cause")), "") if event.name is EventName.ROLE else ""
    return f" ({trigger.format(peer=event.details.get('peer'))})" if trigger else ""
