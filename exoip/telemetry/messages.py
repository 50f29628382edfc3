"""One row per event: its name, MESSAGE_ID, level and sentence. Data only.

A MESSAGE_ID never changes and is never used again for another event. A sentence may use `eip`,
`who` (the instance that the event is about), `reason`, every detail of the event, and the words
that `journal` takes from the tables below. No program reads a sentence: what a program needs is a
detail of the event with a journal field. To add an event, add a member to `EventName`, a row here
and a text to systemd/exoip.catalog. Shown by tests/docs/test_catalog.py.
"""

from __future__ import annotations

from logging import CRITICAL, DEBUG, INFO, WARNING
from typing import NamedTuple

from exoip.core.calls import Failure
from exoip.core.events import Cause, EventName


class Message(NamedTuple):
    """How one event is written. `level` is one of logging's, `sentence` a format string."""

    name: EventName
    message_id: str
    level: int
    sentence: str


# fmt: off
_ROWS = (
    Message(EventName.ROLE, "fcef4b6e8d2347529562dd53b2d096e1", INFO,
            "role {role} (was {old_role}): {reason}{trigger}"),
    Message(EventName.PEER_ALIVE, "38f1e347b0d1481f85ccb8baa499e746", INFO, "{who} is alive, {reason}"),
    Message(EventName.PEER_DEAD, "0f981f5459614ca598a64b6c920956b8", WARNING, "{who} is dead: {reason}"),
    Message(EventName.NEVER_HEARD, "71d07aa6ca8749f2a1472613baed8816", WARNING,
            "{who} was never heard, although the API shows it running: {reason}"),
    Message(EventName.PEER_PRIORITY, "e229a21246f44cfa969e6aebf26d2b94", INFO, "{who} is now {reason}"),
    Message(EventName.PEER_ADDED, "1963b360c4034481bf12df7e4252f010", INFO, "{who} is now a member"),
    Message(EventName.PEER_REMOVED, "3a912785d74749c09ce7647fb55be5ad", INFO, "{who} is no longer a member"),
    Message(EventName.ADVERTISED, "80288b882e8e4d318ebed1b3c996a2c1", DEBUG, "this node is now {reason}"),
    Message(EventName.STALLED, "a83dae998aa44af483c79ed1ece95de1", WARNING,
            "this node was {reason}; listening again before acting"),
    Message(EventName.LEAVING, "5101bfda180345ecac524f34eabf3dd5", INFO, "this node is stopping: {reason}"),
    Message(EventName.ATTACHING, "0e6e6351aee341498fc87464676bb799", INFO,
            "attaching {eip} to this instance: {reason}"),
    Message(EventName.ATTACHED, "36efe12782af41a9be8b0f601b1782a7", INFO,
            "attached {eip} to this instance in {duration:.2f} s"),
    Message(EventName.CLEARING, "6f4f83b44f62469baf14c293fea4a881", INFO, "detaching {eip} from {who}: {reason}"),
    Message(EventName.CLEARED, "108a80bb638348b3a095f9391823dd27", INFO,
            "detached {eip} from {who} in {duration:.2f} s"),
    Message(EventName.LETTING_GO, "07a12ae07bee43cd91b3b9108f49c543", INFO,
            "detaching {eip} from this instance: {reason}"),
    Message(EventName.LET_GO, "c05eda05c9814cc6bf10a33922cb23d7", INFO,
            "detached {eip} from this instance in {duration:.2f} s"),
    Message(EventName.FAILED, "6969c28cde5f49328717dbcb24cbf459", INFO,
            "{call} of {who} failed: {problem}; tried again in {again:.1f} s, if still wanted: {detail}"),
    Message(EventName.API_DEGRADED, "6a8a77bc0eca44319fb32d7ec3261530", WARNING, "{call} failed: {problem} ({reason})"),
    Message(EventName.API_RECOVERED, "7dd2fb539abe422c901688bd5c1c9537", INFO,
            "the failure of {call} is over: {reason}"),
    Message(EventName.UNFIT, "aeeff18d298c4b28a30bb70503455d7f", WARNING,
            "stepping aside if another node can serve: {reason}"),
    Message(EventName.FIT, "112cee0ef95a4daf883c1ccb4ab8d2ab", INFO, "no longer stepping aside"),
    Message(EventName.HOLDS, "66e471b7e99d419fb5aa94713c0764ed", INFO, "this instance holds {eip}, {reason}"),
    Message(EventName.LOST, "e74fb44f1b49440fa0f4b5b0ed17c4c6", WARNING,
            "this instance no longer holds {eip}, {reason}"),
    Message(EventName.YIELDED, "5ca529437bf44cab9c4e58a5ef6b1b40", WARNING, "leaving {eip} to {who}: {reason}"),
    Message(EventName.STAND_BACK_OVER, "6d965522566a43e5a02ead4c6f214a6b", INFO, "no longer standing back: {reason}"),
    Message(EventName.OUTSIDER_HOLDS, "5a899c08dfa9467ab77e84737873bd72", WARNING,
            "{eip} is attached to {who}, which is not a member; exoip does not touch it, detach it by hand"),
    Message(EventName.FLAPPING, "16b7f11b2f33455c981312b493e7d4b5", WARNING, "{reason}"),
    Message(EventName.CALM, "42ef440f76a24bd3b05046be855b2aba", INFO, "a better node no longer has to wait: {reason}"),
    Message(EventName.CHECK_FAILING, "8530d80ba0dd4732ba98e66784b660a4", WARNING,
            "health check {check} fails: {reason}"),
    Message(EventName.CHECK_PASSING, "05328f1379f04639b6bd61de60389343", INFO, "health check {check} passes: {reason}"),
    Message(EventName.HOOK_DONE, "2bd5e2045b7c46b5888f71f681617ee4", INFO,
            "the notify program finished in {duration:.2f} s: {reason}"),
    Message(EventName.HOOK_FAILED, "17812d2c06a047c3ae8f07dc987fe449", WARNING,
            "the notify program failed ({reason}), {then}: {detail}"),
    Message(EventName.SAME_ID, "17b99fdb5a4e482e8949850d06a4e7ab", CRITICAL,
            "heartbeats with this instance's id come from {address}: two hosts have one id; correct -i, or on a clone "
            "remove /var/lib/cloud/data/instance-id"),
    Message(EventName.DATAGRAM_DROPPED, "e5108469e6e440a3a76ce24ff8e698f7", WARNING,
            "dropped a datagram from {address} ({reason}{cure}; {count} so far for this reason)"),
    Message(EventName.FLOODED, "dbb6d6e7d1b04766b0795f6ec9fa8ceb", WARNING,
            "flooded: {reason}; until that is over, the kernel drops what cannot be from a member"),
    Message(EventName.FLOOD_OVER, "1f2e2fe2dab04c48bea05f1caf274103", INFO, "no longer flooded: {reason}"),
    Message(EventName.SEND_FAILED, "04da35a22e3142029c61793c0f25b7a2", WARNING,
            "heartbeats to {address}{others} cannot be sent: {reason}"),
    Message(EventName.SEND_RECOVERED, "b1d94c2048f347f6a57003b3c3accff2", INFO,
            "heartbeats to {address}{others} can be sent again; {count} were lost"),
)
# fmt: on

MESSAGES = {row.name: row for row in _ROWS}

# The sentence of a role event that changes only the best other node.
OTHER_MASTER = "role {role} unchanged, the best other node is now {who}: {reason}{trigger}"

# The sentence of a dropped heartbeat with the id of a member, but from another address.
OTHER_ADDRESS = (
    "{address} sends heartbeats with the id of {who}, which are dropped: use {address} as its address, "
    "or bind its exoip to the address above (bind-address); {count} so far"
)

# What triggered a role event, if its reason does not say so already.
TRIGGERS: dict[str, str] = {
    EventName.PEER_ALIVE: "{peer} was heard",
    EventName.PEER_DEAD: "{peer} died",
    EventName.PEER_PRIORITY: "{peer} changed its priority",
    EventName.STALLED: "this node was paused",
    EventName.STAND_BACK_OVER: "this node no longer stands back",
    EventName.FIT: "this node no longer steps aside",
    EventName.FAILED: "a detach failed",
    EventName.LET_GO: "this node detached itself",
    EventName.HOLDS: "this node holds the Elastic IP",
    EventName.LOST: "this node lost the Elastic IP",
    Cause.DOUBT: "this node checked whether it holds the Elastic IP",
    Cause.MEMBERS: "the members changed",
    Cause.CONFIGURATION: "the configuration changed",
}

# What a failure of an API call means.
PROBLEMS: dict[str, str] = {
    Failure.TIMEOUT: "no result in time",
    Failure.UNREACHABLE: "the API cannot be reached",
    Failure.UNAVAILABLE: "the API is unavailable",
    Failure.FORBIDDEN: "the API forbids it",
    Failure.NOT_SO: "the API says not found, or a conflict",
    Failure.OPERATION: "the operation failed",
    Failure.INVALID: "the API rejects the request",
}

# What to do about heartbeats of a member that are dropped, by the cause.
CURES: dict[str, str] = {
    "unsigned": ": give that node the auth-key, or set auth-mode = accept here until all nodes have it",
    "signature": ": signed with another key, give all nodes the same auth-key",
    "clock": ": a clock is wrong, or it is a recording; a node is accepted after two dead times at most",
    "replay": ": received before, or that node restarted with its clock set back, which delays it by two dead times "
    "and 30 s, twice as long each time; check the clocks (timedatectl)",
    "echo": ": it has this instance's own id: somebody sends it back, or this host is a clone",
}
