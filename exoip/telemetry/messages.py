"""How each event is told: its MESSAGE_ID in the journal, its level, and its sentence. Data only.

A MESSAGE_ID never changes and is never used for another event. A sentence may use the words eip, who (whom the event is about),
reason, trigger (of a change of role, in brackets) and every detail of the event.

No program reads a sentence: what one needs to know is a detail of the event, which the journal gives a field.
"""

from __future__ import annotations

import logging

from exoip.core.events import What

MESSAGE_IDS: dict[What, str] = {
    What.ROLE: "fcef4b6e8d2347529562dd53b2d096e1",
    What.PEER_ALIVE: "38f1e347b0d1481f85ccb8baa499e746",
    What.PEER_DEAD: "0f981f5459614ca598a64b6c920956b8",
    What.PEER_PRIORITY: "e229a21246f44cfa969e6aebf26d2b94",
    What.PEER_ADDED: "1963b360c4034481bf12df7e4252f010",
    What.PEER_REMOVED: "3a912785d74749c09ce7647fb55be5ad",
    What.ADVERTISED: "80288b882e8e4d318ebed1b3c996a2c1",
    What.STALLED: "a83dae998aa44af483c79ed1ece95de1",
    What.LEAVING: "5101bfda180345ecac524f34eabf3dd5",
    What.ATTACHING: "0e6e6351aee341498fc87464676bb799",
    What.ATTACHED: "36efe12782af41a9be8b0f601b1782a7",
    What.CLEARING: "6f4f83b44f62469baf14c293fea4a881",
    What.CLEARED: "108a80bb638348b3a095f9391823dd27",
    What.LETTING_GO: "07a12ae07bee43cd91b3b9108f49c543",
    What.LET_GO: "c05eda05c9814cc6bf10a33922cb23d7",
    What.FAILED: "6969c28cde5f49328717dbcb24cbf459",
    What.API_DEGRADED: "6a8a77bc0eca44319fb32d7ec3261530",
    What.API_RECOVERED: "7dd2fb539abe422c901688bd5c1c9537",
    What.UNFIT: "aeeff18d298c4b28a30bb70503455d7f",
    What.FIT: "112cee0ef95a4daf883c1ccb4ab8d2ab",
    What.HOLDS: "66e471b7e99d419fb5aa94713c0764ed",
    What.LOST: "e74fb44f1b49440fa0f4b5b0ed17c4c6",
    What.YIELDED: "5ca529437bf44cab9c4e58a5ef6b1b40",
    What.STAND_BACK_OVER: "6d965522566a43e5a02ead4c6f214a6b",
    What.OUTSIDER_HOLDS: "5a899c08dfa9467ab77e84737873bd72",
    What.FLAPPING: "16b7f11b2f33455c981312b493e7d4b5",
    What.CALM: "42ef440f76a24bd3b05046be855b2aba",
    What.CHECK_FAILING: "8530d80ba0dd4732ba98e66784b660a4",
    What.CHECK_PASSING: "05328f1379f04639b6bd61de60389343",
    What.HOOK_DONE: "2bd5e2045b7c46b5888f71f681617ee4",
    What.HOOK_FAILED: "17812d2c06a047c3ae8f07dc987fe449",
    What.DATAGRAM_REFUSED: "e5108469e6e440a3a76ce24ff8e698f7",
    What.FLOODED: "dbb6d6e7d1b04766b0795f6ec9fa8ceb",
    What.FLOOD_OVER: "1f2e2fe2dab04c48bea05f1caf274103",
    What.SEND_FAILED: "04da35a22e3142029c61793c0f25b7a2",
    What.SEND_RECOVERED: "b1d94c2048f347f6a57003b3c3accff2",
}

LEVELS: dict[What, int] = {
    What.ADVERTISED: logging.DEBUG,
    What.PEER_DEAD: logging.WARNING,
    What.STALLED: logging.WARNING,
    What.LOST: logging.WARNING,
    What.API_DEGRADED: logging.WARNING,
    What.UNFIT: logging.WARNING,
    What.YIELDED: logging.WARNING,
    What.OUTSIDER_HOLDS: logging.WARNING,
    What.FLAPPING: logging.WARNING,
    What.CHECK_FAILING: logging.WARNING,
    What.HOOK_FAILED: logging.WARNING,
    What.DATAGRAM_REFUSED: logging.WARNING,
    What.FLOODED: logging.WARNING,
    What.SEND_FAILED: logging.WARNING,
}  # the others: INFO

SENTENCES: dict[What, str] = {
    What.ROLE: "{role} now, was {old_role}: {reason}{trigger}",
    What.PEER_ALIVE: "{who} is alive, {reason}",
    What.PEER_DEAD: "{who} is dead: {reason}",
    What.PEER_PRIORITY: "{who} advertises another priority: {reason}",
    What.PEER_ADDED: "{who} is now a member",
    What.PEER_REMOVED: "{who} is no longer a member",
    What.ADVERTISED: "advertising another priority: {reason}",
    What.STALLED: "this node {reason}, listening anew",
    What.LEAVING: "leaving: {reason}",
    What.ATTACHING: "attaching {eip} to this instance: {reason}",
    What.ATTACHED: "attached {eip} to this instance in {duration:.2f} s",
    What.CLEARING: "detaching {eip} from {who}: {reason}",
    What.CLEARED: "detached {eip} from {who} in {duration:.2f} s",
    What.LETTING_GO: "detaching {eip} from this instance: {reason}",
    What.LET_GO: "detached {eip} from this instance in {duration:.2f} s",
    What.FAILED: "{call} of {who} failed ({failure}), again in {again:.1f} s: {detail}",
    What.API_DEGRADED: "the API fails at {call} ({failure}): {reason}",
    What.API_RECOVERED: "the API no longer fails at {reason}",
    What.UNFIT: "stepping aside if another can serve: {reason}",
    What.FIT: "no longer stepping aside: {reason}",
    What.HOLDS: "this instance holds {eip}, {reason}",
    What.LOST: "this instance no longer holds {eip}, {reason}",
    What.YIELDED: "yielding {eip} to {who}: {reason}",
    What.STAND_BACK_OVER: "no longer standing back: {reason}",
    What.OUTSIDER_HOLDS: "{eip} is attached to {who}, which is no member: exoip leaves it alone, detach it by hand",
    What.FLAPPING: "{reason}",
    What.CALM: "a better node need no longer wait: {reason}",
    What.CHECK_FAILING: "health check {check} fails: {reason}",
    What.CHECK_PASSING: "health check {check} passes: {reason}",
    What.HOOK_DONE: "the notify program was told in {duration:.2f} s: {reason}",
    What.HOOK_FAILED: "the notify program failed ({reason}), {then}: {detail}",
    What.DATAGRAM_REFUSED: "refused a datagram of {address} ({reason}{cure}; {count} so far for this reason)",
    What.FLOODED: "flooded: {reason}; the kernel drops what no member can have sent, until that is over",
    What.FLOOD_OVER: "no longer flooded: {reason}",
    What.SEND_FAILED: "heartbeats to {address} can not be sent: {reason}",
    What.SEND_RECOVERED: "heartbeats to {address} can be sent again",
}

CURES = {  # what to do about a member's heartbeats, by the cause for which they are refused
    "unsigned": ": give that node the auth-key, or this one auth-mode = accept while others have none yet",
    "signature": ": signed with another key, give all nodes the same auth-key",
    "clock": ": its clock or this one's is wrong, or it is a recording; a node is believed after two dead times at most",
    "replay": ": sent before, or that node restarted with its clock set back; look at the clocks (timedatectl)",
}

OTHER_MASTER = "{role} still, the best other node alive is now {who}: {reason}{trigger}"
