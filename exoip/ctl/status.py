"""Format a daemon's state, the answer to a `status` request, as lines of at most 80 columns.

Pure but for the time zone.

Times in the state are Unix seconds; ages are counted from `at`, the daemon's own present. Shown by
tests/unit/ctl/test_status.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from exoip.core.peers import HOLDING_UNFIT, describe
from exoip.ctl.terminal import BOLD, COLORS, GREEN, RED, WIDTH, YELLOW, Style, duration, local_time, wrap
from exoip.exoscale.models import one_line, printable

State = dict[str, Any]
_EVENT_COLORS = {"warning": YELLOW, "error": RED, "critical": RED}


@dataclass(frozen=True, slots=True)
class Block:
    """One fact, as lines. `spans`: (text, SGR parameter) that make its first line, if that has
    several styles; else all lines have the style `sgr`.
    """

    lines: tuple[str, ...]
    sgr: str = ""
    spans: tuple[tuple[str, str], ...] = ()

    def styled(self, style: Style) -> Iterator[str]:
        """Yield the lines in their styles."""
        if self.spans:
            yield "".join(style(text, sgr) if sgr else text for text, sgr in self.spans)
        yield from (style(line, self.sgr) if self.sgr else line for line in self.lines[bool(self.spans) :])


def lines(name: str, state: State, style: Style, events: int = 0) -> Iterator[str]:
    """Yield the lines for the daemon of that name, with its last events."""
    for block in blocks(name, state, events):
        yield from block.styled(style)


def blocks(name: str, state: State, events: int = 0, *, short: bool = False) -> Iterator[Block]:
    """Yield role and level, the reasons for the level, facts, peers, events.

    `short`: without the configuration, and with one line for each event.
    """
    level, color = state["health"]["level"], COLORS[state["health"]["level"]]
    role = state.get("role", state["daemon"]["phase"]).upper()
    yield header((printable(name), BOLD), (state["eip"], ""), (role, BOLD), (level, color))
    for reason in state["health"]["reasons"]:
        yield Block(tuple(wrap(f"  ! {printable(reason)}", 4)), color)
    facts = list(_facts(state)) if "role" in state else []
    facts += [] if short else _configuration(state["configuration"])
    yield from (_fact(title, fact) for title, fact in facts)
    for peer in state.get("peers", ()):
        alive = YELLOW if (peer["priority"] or 0) >= HOLDING_UNFIT else GREEN
        for title, fact in zip(("peer", ""), _peer(peer, state["at"]), strict=True):
            yield Block(_fact(title, fact).lines, alive if peer["alive"] else RED)
    yield from _last_events(state, events, cut=short)


def header(*words: tuple[str, str]) -> Block:
    """Return the first line about a daemon: words, each with its style."""
    spans = tuple(span for word in words for span in (("  ", ""), word))[1:]
    return Block(("".join(text for text, _ in spans),), spans=spans)


def _last_events(state: State, count: int, *, cut: bool) -> Iterator[Block]:
    """Yield the last events, the newest last; `cut`: each on one line."""
    now = local_time(state["at"])
    shown = state.get("events", ())[-count:] if count else ()
    for number, event in enumerate(shown):
        day, _, clock = local_time(event["at"]).partition(" ")
        text = f"{clock if now.startswith(day) else f'{day} {clock}'}  {printable(event['message'])}"
        title = "events" if number == 0 else ""
        block = _fact(title, one_line(text, WIDTH - 12) if cut else text)
        yield Block(block.lines, _EVENT_COLORS.get(event["level"], ""))


def _fact(title: str, fact: str) -> Block:
    return Block(tuple(wrap(f"  {title.ljust(9)} {printable(fact)}")))


def _facts(state: State) -> Iterator[tuple[str, str]]:
    """Yield (title, fact); an empty title continues the fact before."""
    now = state["at"]
    yield "role", f"{state['role']} for {duration(now - state['since'])}, since {local_time(state['since'])}"
    yield "", state["reason"]
    yield "holder", _holder(state)
    configured, advertised = state["priority"]["configured"], state["priority"]["advertised"]
    yield "priority", f"{configured}" + ("" if configured == advertised else f", now {describe(advertised)}")
    for one in state["aside"]:
        yield "unfit", f"{one['why']}{_end(one, now)}"
    for check in state["checks"]:
        why = f": {check['why']}" if check["health"] == "failing" and check["why"] else ""
        yield "check", f"{check['name']} {check['health']} for {duration(now - check['since'])}{why}"
    if (until := state["stand_back_until"]) is not None:
        yield "waiting", "an instance that is not heard holds the Elastic IP"
        yield "", f"for another {duration(until - now)}, or until it is heard"
    if mute := state.get("mute"):  # a daemon of an older version does not say this
        yield "mute", f"no heartbeat of this node can be sent: {mute}"
    flapping = state["flapping"]
    if flapping["delay"]:
        yield "damping", f"a better node waits {duration(flapping['delay'])}"
        yield "", f"ends in {duration((flapping['until'] or now) - now)} unless the role changes"
    yield from _api(state["api"], now)
    if state["refused"]:
        counts = ", ".join(f"{count} {cause}" for cause, count in state["refused"].items())
        yield "dropped", f"datagrams by cause: {counts}"


def _end(reason: State, now: float) -> str:
    """Return when a reason to be unfit ends, if known: at a time, or by `exoipctl undrain`."""
    if reason["until"] is not None:
        return f", for another {duration(reason['until'] - now)}"
    return ", until `exoipctl undrain`" if reason.get("cause") == "operator" else ""


def _holder(state: State) -> str:
    """Return the holders according to the last reads, and how old these are."""
    now, master = state["at"], state["master"]
    holders = []
    if state["holds"]:
        doubt = ", to be read again" if state["in_doubt"] else ""
        holders.append(f"this node{_age(state['read_at'], now)}{doubt}")
    for peer in state["peers"]:
        if peer["holds"]:
            holders.append(f"{peer_label(peer)}{_age(peer['read_at'], now)}")
        elif peer["presumed"]:
            holders.append(f"{peer_label(peer)} (was the master, not read since)")
    holders += [f"{outsider}, which is not a member" for outsider in state["outsiders"]]
    if holders:
        return " and ".join(holders)
    if master is None or master["instance"] == state["instance"]:
        if state["in_doubt"]:
            holder = "this node has to read whether it holds"
        elif any(peer["holds"] is None for peer in state["peers"]):
            holder = "not known; this node does not hold it"
        else:
            holder = "no node"
        return f"{holder}{_age(state['read_at'], now)}"
    peer = next((peer for peer in state["peers"] if peer["instance"] == master["instance"]), None)
    checked = "this node has not checked whether it holds"
    if peer and peer["holds"] is False:
        checked = f"it does not hold{_age(peer['read_at'], now)}"
    return f"{peer_label(peer) if peer else master['instance']} is the master; {checked}"


def _age(read_at: float | None, now: float) -> str:
    return "" if read_at is None else f" (read {duration(now - read_at)} ago)"


def peer_label(peer: State) -> str:
    """Return a peer's name, or else its instance id, with its address if it is known."""
    name = peer["name"] or peer["instance"]
    return f"{name} ({peer['address']})" if peer["address"] else str(name)


def _api(api: State, now: float) -> Iterator[tuple[str, str]]:
    answered = api["answered_at"]
    last = "no good answer yet" if answered is None else f"last good answer {duration(now - answered)} ago"
    yield "API", f"{api['endpoint']}, {last}"
    for one in api["failing"]:
        detail = f": {one['detail']}" if one["detail"] else ""
        yield "", f"{one['call']} has failed for {duration(now - one['since'])} ({one['failure']}{detail})"
    for one in api["again"]:
        yield "", f"{one['job']} again in {duration(one['at'] - now)}"


def _configuration(configuration: State) -> Iterator[tuple[str, str]]:
    interval, delay = configuration["advertisement_interval"], configuration["preempt_delay"]
    dead = interval * configuration["dead_ratio"]
    group, mode = configuration["peer_group"], configuration["auth_mode"]
    members = f"group {group}" if group else f"peers {', '.join(configuration['peers'])}"
    signed = f"signed ({mode})" if mode else "not signed"
    preemption = (
        "no preemption" if delay is None else f"preemption after {delay:g} s" if delay else "preemption at once"
    )
    yield "config", configuration["file"] or "no file"
    yield "", f"heartbeats at {configuration['bind_address']} every {interval:g} s, dead after {dead:g} s"
    yield "", f"{members}, {signed}, {preemption}"


def _peer(peer: State, now: float) -> Iterator[str]:
    """Yield what is known about a peer: its state and heartbeats, then whether it holds."""
    state = "alive" if peer["alive"] else f"dropped ({peer['denied']})" if peer["denied"] else "dead"
    priority, heard_at = peer["priority"], peer["heard_at"]
    facts = [state, *([] if priority is None else [describe(priority)])]
    facts.append("never heard" if heard_at is None else f"heard {duration(now - heard_at)} ago")
    facts += [] if peer["member"] else ["no longer a member"]
    yield f"{peer_label(peer)}: {', '.join(facts)}"
    read_at = peer["read_at"]
    if peer["holds"] is None:
        last = "not yet read" if read_at is None else f"last read {duration(now - read_at)} ago"
        yield f"unknown whether it holds ({last})"
    else:
        yield f"{'holds' if peer['holds'] else 'does not hold'}{_age(read_at, now)}"
