"""Show a cluster as one of its nodes sees it: one row for each node. Pure but for the time zone.

All of it is in that node's own status: what it hears of the others, and what it last read from the
API. Shown by tests/unit/ctl/test_cluster.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from exoip.core.peers import HOLDING_UNFIT, LEAVING, PROTECTED, UNFIT
from exoip.ctl.status import Block, State, header, peer_label
from exoip.ctl.terminal import BOLD, COLORS, FAINT, GREEN, RED, YELLOW, columns, duration, wrap
from exoip.exoscale.models import printable

_ADVERTISES = {HOLDING_UNFIT: "yes", UNFIT: "yes", LEAVING: "stopping"}
_COLUMNS = ("node", "address", "role", "priority", "heard", "holds", "aside")


def nodes(state: State) -> list[dict[str, Any]]:
    """Return what is known about each node: this one first, then its peers, then outsiders."""
    found = [_own(state)]
    if "role" in state:
        found += [_peer(peer, state["master"]) for peer in sorted(state["peers"], key=peer_label)]
        found += [_node(instance=one, role="no member", holds=True) for one in state["outsiders"]]
    return found


def _node(**known: Any) -> dict[str, Any]:
    unknown = dict.fromkeys(("instance", "name", "address", "role", "priority", "heard_at", "holds", "read_at"))
    return {**unknown, "own": False, "aside": [], **known}


def _own(state: State) -> dict[str, Any]:
    if "role" not in state:
        return _node(own=True, role=state["daemon"]["phase"], aside=state["health"]["reasons"][:1])
    shared = {name: state.get(name) for name in ("instance", "name", "address", "read_at")}
    aside = [one["why"] for one in state["aside"]]
    aside += ["waits for a holder that is not heard"] if state["stand_back_until"] is not None else []
    aside += [f"cannot send heartbeats ({state['mute']})"] if state.get("mute") else []
    aside += ["stopping"] if state["daemon"]["phase"] == "leaving" else []
    holds, priority = None if state["in_doubt"] else state["holds"], state["priority"]["configured"]
    return _node(**shared, own=True, role=state["role"], priority=priority, holds=holds, aside=aside)


def _peer(peer: State, master: State | None) -> dict[str, Any]:
    shared = {name: peer[name] for name in ("instance", "name", "address", "priority", "heard_at", "holds", "read_at")}
    alive, priority, aside = peer["alive"], peer["priority"], []
    if alive and priority >= HOLDING_UNFIT:
        aside.append(_ADVERTISES[priority])
    if peer["denied"]:
        aside.append(f"its heartbeats are dropped ({peer['denied']})")
    if peer.get("elsewhere"):  # a daemon of an older version does not say this
        aside.append(f"sends from {peer['elsewhere']}")
    if peer.get("never_heard"):
        aside.append("runs, but was never heard")
    if not peer["member"]:
        aside.append("no longer a member")
    role = "dead" if not alive else "master" if master and master["instance"] == peer["instance"] else "backup"
    return _node(**shared, role="leaving" if alive and priority == LEAVING else role, aside=aside)


def blocks(name: str, state: State) -> Iterator[Block]:
    """Yield a heading and the table."""
    level = state["health"]["level"]
    yield header((printable(name), BOLD), (state["eip"], ""), (level, COLORS[level]))
    found, now = nodes(state), state["at"]
    heading, *rows = columns([_COLUMNS, *(_row(node, now) for node in found)])
    yield Block((f"  {heading}",), FAINT)
    for node, row in zip(found, rows, strict=True):
        yield Block(tuple(wrap(f"  {row}", 6)), RED if node["role"] == "dead" else YELLOW if node["aside"] else GREEN)


def _row(node: dict[str, Any], now: float) -> tuple[str, ...]:
    def ago(at: float | None) -> str:
        return "never" if at is None else f"{duration(now - at)} ago"

    holds = {True: "yes", False: "no", None: "unknown"}[node["holds"]]
    if node["read_at"] is not None and node["holds"] is not None:
        holds += f", {ago(node['read_at'])}"
    role = str(node["role"])
    cells = (
        node["name"] or (f"{node['instance'][:8]}…" if node["instance"] else "this node"),
        node["address"] or "",
        role.upper() if role in ("master", "backup", "listening") else role,
        _priority(node["priority"]),
        "-" if node["own"] or role == "no member" else ago(node["heard_at"]),
        holds,
        "; ".join(node["aside"]),
    )
    return tuple(map(printable, cells))


def _priority(priority: int | None) -> str:
    """Return what a node advertises, if that is a priority."""
    if priority is None or priority >= HOLDING_UNFIT:
        return ""
    return "protected" if priority == PROTECTED else str(priority)
