"""How each event is told: its MESSAGE_ID in the journal, its level, and its sentence. Data only.

A MESSAGE_ID never changes and is never used for another event. A sentence may use the words eip, who (whom the event is about),
reason, trigger (of a change of role, in brackets) and every detail of the event.

No program reads a sentence: what one needs to know is a detail of the event, which the journal gives a field.
"""

from __future__ import annotations

import logging

from exoip.core.events import EventName

MESSAGE_IDS: dict[EventName, str] = {
    EventName.ROLE: "fcef4b6e8d2347529562dd53b2d096e1",
    EventName.PEER_ALIVE: "38f1e347b0d1481f85ccb8baa499e746",
    EventName.PEER_DEAD: "0f981f5459614ca598a64b6c920956b8",
    EventName.PEER_PRIORITY: "e229a21246f44cfa969e6aebf26d2b94",
    EventName.PEER_ADDED: "1963b360c4034481bf12df7e4252f010",
    EventName.PEER_REMOVED: "3a912785d74749c09ce7647fb55be5ad",
    EventName.ADVERTISED: "80288b882e8e4d318ebed1b3c996a2c1",
    EventName.STALLED: "a83dae998aa44af483c79ed1ece95de1",
    EventName.LEAVING: "5101bfda180345ecac524f34eabf3dd5",
    EventName.ATTACHING: "0e6e6351aee341498fc87464676bb799",
    EventName.ATTACHED: "36efe12782af41a9be8b0f601b1782a7",
    EventName.CLEARING: "6f4f83b44f62469baf14c293fea4a881",
    EventName.CLEARED: "108a80bb638348b3a095f9391823dd27",
    EventName.LETTING_GO: "07a12ae07bee43cd91b3b9108f49c543",
    EventName.LET_GO: "c05eda05c9814cc6bf10a33922cb23d7",
    EventName.FAILED: "6969c28cde5f49328717dbcb24cbf459",
    EventName.API_DEGRADED: "6a8a77bc0eca44319fb32d7ec3261530",
    EventName.API_RECOVERED: "7dd2fb539abe422c901688bd5c1c9537",
    EventName.UNFIT: "aeeff18d298c4b28a30bb70503455d7f",
    EventName.FIT: "112cee0ef95a4daf883c1ccb4ab8d2ab",
    EventName.HOLDS: "66e471b7e99d419fb5aa94713c0764ed",
    EventName.LOST: "e74fb44f1b49440fa0f4b5b0ed17c4c6",
    EventName.YIELDED: "5ca529437bf44cab9c4e58a5ef6b1b40",
    EventName.STAND_BACK_OVER: "6d965522566a43e5a02ead4c6f214a6b",
    EventName.OUTSIDER_HOLDS: "5a899c08dfa9467ab77e84737873bd72",
    EventName.FLAPPING: "16b7f11b2f33455c981312b493e7d4b5",
    EventName.CALM: "42ef440f76a24bd3b05046be855b2aba",
    EventName.CHECK_FAILING: "8530d80ba0dd4732ba98e66784b660a4",
    EventName.CHECK_PASSING: "05328f1379f04639b6bd61de60389343",
    EventName.HOOK_DONE: "2bd5e2045b7c46b5888f71f681617ee4",
    EventName.HOOK_FAILED: "17812d2c06a047c3ae8f07dc987fe449",
    EventName.DATAGRAM_REFUSED: "e5108469e6e440a3a76ce24ff8e698f7",
    EventName.FLOODED: "dbb6d6e7d1b04766b0795f6ec9fa8ceb",
    EventName.FLOOD_OVER: "1f2e2fe2dab04c48bea05f1caf274103",
    EventName.SEND_FAILED: "04da35a22e3142029c61793c0f25b7a2",
    EventName.SEND_RECOVERED: "b1d94c2048f347f6a57003b3c3accff2",
}

LEVELS: dict[EventName, int] = {
    EventName.ADVERTISED: logging.DEBUG,
    EventName.PEER_DEAD: logging.WARNING,
    EventName.STALLED: logging.WARNING,
    EventName.LOST: logging.WARNING,
    EventName.API_DEGRADED: logging.WARNING,
    EventName.UNFIT: logging.WARNING,
    EventName.YIELDED: logging.WARNING,
    EventName.OUTSIDER_HOLDS: logging.WARNING,
    EventName.FLAPPING: logging.WARNING,
    EventName.CHECK_FAILING: logging.WARNING,
    EventName.HOOK_FAILED: logging.WARNING,
    EventName.DATAGRAM_REFUSED: logging.WARNING,
    EventName.FLOODED: logging.WARNING,
    EventName.SEND_FAILED: logging.WARNING,
}  # the others: INFO

SENTENCES: dict[EventName, str] = {
    EventName.ROLE: "{role} now, was {old_role}: {reason}{trigger}",
    EventName.PEER_ALIVE: "{who} is alive, {reason}",
    EventName.PEER_DEAD: "{who} is dead: {reason}",
    EventName.PEER_PRIORITY: "{who} advertises another priority: {reason}",
    EventName.PEER_ADDED: "{who} is now a member",
    EventName.PEER_REMOVED: "{who} is no longer a member",
    EventName.ADVERTISED: "advertising another priority: {reason}",
    EventName.STALLED: "this node {reason}, listening anew",
    EventName.LEAVING: "leaving: {reason}",
    EventName.ATTACHING: "attaching {eip} to this instance: {reason}",
    EventName.ATTACHED: "attached {eip} to this instance in {duration:.2f} s",
    EventName.CLEARING: "detaching {eip} from {who}: {reason}",
    EventName.CLEARED: "detached {eip} from {who} in {duration:.2f} s",
    EventName.LETTING_GO: "detaching {eip} from this instance: {reason}",
    EventName.LET_GO: "detached {eip} from this instance in {duration:.2f} s",
    EventName.FAILED: "{call} of {who} failed ({failure}), again in {again:.1f} s: {detail}",
    EventName.API_DEGRADED: "the API fails at {call} ({failure}): {reason}",
    EventName.API_RECOVERED: "the API no longer fails at {reason}",
    EventName.UNFIT: "stepping aside if another can serve: {reason}",
    EventName.FIT: "no longer stepping aside: {reason}",
    EventName.HOLDS: "this instance holds {eip}, {reason}",
    EventName.LOST: "this instance no longer holds {eip}, {reason}",
    EventName.YIELDED: "yielding {eip} to {who}: {reason}",
    EventName.STAND_BACK_OVER: "no longer standing back: {reason}",
    EventName.OUTSIDER_HOLDS: "{eip} is attached to {who}, which is no member: exoip leaves it alone, detach it by hand",
    EventName.FLAPPING: "{reason}",
    EventName.CALM: "a better node need no longer wait: {reason}",
    EventName.CHECK_FAILING: "health check {check} fails: {reason}",
    EventName.CHECK_PASSING: "health check {check} passes: {reason}",
    EventName.HOOK_DONE: "the notify program was told in {duration:.2f} s: {reason}",
    EventName.HOOK_FAILED: "the notify program failed ({reason}), {then}: {detail}",
    EventName.DATAGRAM_REFUSED: "refused a datagram of {address} ({reason}{cure}; {count} so far for this reason)",
    EventName.FLOODED: "flooded: {reason}; the kernel drops what no member can have sent, until that is over",
    EventName.FLOOD_OVER: "no longer flooded: {reason}",
    EventName.SEND_FAILED: "heartbeats to {address} can not be sent: {reason}",
    EventName.SEND_RECOVERED: "heartbeats to {address} can be sent again",
}

CURES = {  # what to do about a member's heartbeats, by the cause for which they are refused
    "unsigned": ": give that node the auth-key, or this one auth-mode = accept while others have none yet",
    "signature": ": signed with another key, give all nodes the same auth-key",
    "clock": ": its clock or this one's is wrong, or it is a recording; a node is believed after two dead times at most",
    "replay": ": sent before, or that node restarted with its clock set back; look at the clocks (timedatectl)",
}

OTHER_MASTER = "{role} still, the best other node alive is now {who}: {reason}{trigger}"
