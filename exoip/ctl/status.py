"""The state of a daemon as lines for people, from what it tells. Pure but for the time zone.

Times in what it tells are Unix seconds, and all of them are looked at from `at`, the daemon's own present.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from exoip.ctl.terminal import BOLD, COLOURS, FAINT, GREEN, RED, YELLOW, Paint, columns, moment, plain, span

Status = dict[str, Any]

_ADVERTISED = {0: "protected", 253: "aside, holding", 254: "aside or letting go", 255: "leaving"}


def lines(name: str, told: Status, paint: Paint) -> Iterator[str]:
    """Return the lines for one daemon."""
    level = told["health"]["level"]
    role = told.get("role", told["daemon"]["phase"]).upper()
    yield "  ".join((paint(plain(name), BOLD), told["eip"], paint(role, BOLD), paint(level, COLOURS[level])))
    for reason in told["health"]["reasons"]:
        yield "  " + paint(f"! {plain(reason)}", COLOURS[level])
    facts = list(_facts(told)) if "role" in told else []
    facts += list(_configured(told["configuration"]))
    for title, fact in facts:
        yield f"  {title.ljust(9)} {plain(fact)}"
    if told.get("peers"):
        yield from _peers(told, paint)


def _facts(told: Status) -> Iterator[tuple[str, str]]:
    now = told["at"]
    yield "role", f"{told['role']} for {span(now - told['since'])}, since {moment(told['since'])}: {told['reason']}"
    yield "holder", _holder(told)
    configured, advertised = told["priority"]["configured"], told["priority"]["advertised"]
    also = "" if configured == advertised else f", advertises {advertised} ({_ADVERTISED.get(advertised, 'changing')})"
    yield "priority", f"{configured}{also}"
    for one in told["aside"]:
        until = "until it is taken back" if one["until"] is None else f"for another {span(one['until'] - now)}"
        yield "aside", f"{one['why']}, {until}"
    for check in told["checks"]:
        why = f": {check['why']}" if check["health"] == "failing" and check["why"] else ""
        yield "check", f"{check['name']} {check['health']} for {span(now - check['since'])}{why}"
    if told["stand_back_until"] is not None:
        yield "standing", f"back for another {span(told['stand_back_until'] - now)}, or until the other one is heard"
    flapping = told["flapping"]
    if flapping["delay"]:
        left = span((flapping["until"] or now) - now)
        yield "damping", f"a better node waits {span(flapping['delay'])}; this ends in {left} without another change"
    yield "API", _api(told["api"], now)
    for one in told["api"]["again"]:
        yield "", f"{one['job']} again in {span(one['at'] - now)}"
    if told["refused"]:
        counts = ", ".join(f"{count} {cause}" for cause, count in told["refused"].items())
        yield "refused", f"{counts} (datagrams, by cause)"


def _holder(told: Status) -> str:
    """Who holds, as last read, and when that was."""
    now = told["at"]
    held = []
    if told["holds"]:
        doubt = ", to be read again" if told["in_doubt"] else ""
        held.append(f"this node{_read(told['read_at'], now)}{doubt}")
    for peer in told["peers"]:
        if peer["holds"]:
            held.append(f"{called(peer)}{_read(peer['read_at'], now)}")
        elif peer["presumed"]:
            held.append(f"{called(peer)} (it was the master, not read since)")
    held += [f"{outsider}, which is no member" for outsider in told["outsiders"]]
    if held:
        return " and ".join(held)
    master = told["master"]
    if master is None or master["instance"] == told["instance"]:
        return f"nobody, as far as was read{_read(told['read_at'], now)}"
    name = next((called(peer) for peer in told["peers"] if peer["instance"] == master["instance"]), master["instance"])
    return f"not read from here; {name} is the master and should"


def _read(at: float | None, now: float) -> str:
    return "" if at is None else f" (read {span(now - at)} ago)"


def called(peer: Status) -> str:
    """Return what a person calls a peer."""
    name = peer["name"] or peer["instance"]
    return f"{name} ({peer['address']})" if peer["address"] else str(name)


def _api(api: Status, now: float) -> str:
    answered = "no good answer yet" if api["answered_at"] is None else f"answered {span(now - api['answered_at'])} ago"
    failing = [
        f"{one['call']} fails for {span(now - one['since'])} ({one['failure']}{': ' * bool(one['detail'])}{one['detail']})"
        for one in api["failing"]
    ]
    return "; ".join([*failing, answered, api["endpoint"]])


def _configured(configuration: Status) -> Iterator[tuple[str, str]]:
    interval, ratio = configuration["advertisement_interval"], configuration["dead_ratio"]
    delay = configuration["preempt_delay"]
    members = configuration["peer_group"] and f"group {configuration['peer_group']}"
    parts = [
        configuration["file"] or "no file",
        f"heartbeats at {configuration['bind_address']} every {interval:g} s, dead after {interval * ratio:g} s",
        members or f"peers {', '.join(configuration['peers'])}",
        f"signed, {configuration['auth_mode']}" if configuration["auth_mode"] else "not signed",
        "no preemption" if delay is None else f"preemption after {delay:g} s" if delay else "preemption at once",
    ]
    yield "config", "; ".join(parts)


def _peers(told: Status, paint: Paint) -> Iterator[str]:
    rows = [_peer(peer, told["at"]) for peer in told["peers"]]
    for line, peer in zip(columns(rows), told["peers"], strict=True):
        colour = GREEN if peer["alive"] and (peer["priority"] or 0) < 253 else YELLOW if peer["alive"] else RED
        yield "  " + paint("peer     ", FAINT if paint.coloured else "") + " " + paint(line, colour)


def _peer(peer: Status, now: float) -> tuple[str, ...]:
    heard = "never heard" if peer["heard_at"] is None else f"heard {span(now - peer['heard_at'])} ago"
    priority = peer["priority"]
    advertises = "" if priority is None else f"priority {priority}"
    if priority in _ADVERTISED:
        advertises += f" ({_ADVERTISED[priority]})"
    holds = {True: "holds", False: "does not hold", None: "not read"}[peer["holds"]] + _read(peer["read_at"], now)
    member = "" if peer["member"] else "no longer a member"
    state = "alive" if peer["alive"] else f"refused ({peer['denied']})" if peer["denied"] else "dead"
    cells = (peer["name"] or peer["instance"], peer["address"] or "", state)
    return tuple(map(plain, (*cells, advertises, heard, holds, member)))
