"""Which rules of the protocol document a run exercised, by the events and calls that only they cause.

A rule that no run reaches is not proven. The constants that time the rules are watched as well: one
is exercised when the core reckons with it or compares something with it.
"""

from __future__ import annotations

import inspect
import sys
from collections import Counter
from collections.abc import Callable, Mapping

from exoip.core.calls import Call, Failure, Kind, Lane, Purpose
from exoip.core.events import Cause, Event, EventName
from exoip.core.peers import HOLDING_UNFIT, LEAVING, PROTECTED, UNFIT, Role
from tests.simulation.host import Host
from tests.simulation.world import World

Seen = Callable[[Host, Event], bool]


def _is(**details: object) -> Seen:
    return lambda host, event: all(event.details.get(name) == value for name, value in details.items())


def _number(event: Event, name: str) -> float:
    return float(str(event.details.get(name, 0.0)))


def _over(name: str, least: float) -> Seen:
    return lambda host, event: _number(event, name) >= least


def _role(role: Role, *causes: EventName | Cause) -> Seen:
    return lambda host, event: event.details["role"] == role and (not causes or event.details["cause"] in causes)


def _anything(host: Host, event: Event) -> bool:
    return True


def _rival(*, lower: bool) -> Seen:
    return lambda host, event: (
        event.details.get("cause") == Cause.SILENT_RIVAL and (host.id < event.instance_id) == lower
    )


def _failed(least: float, most: float, *failures: Failure) -> Seen:
    return lambda host, event: (
        least <= _number(event, "again") <= most and (not failures or event.details.get("failure") in failures)
    )


# By event: the rule, and when the event shows it.
EVENTS: Mapping[EventName, tuple[tuple[str, Seen], ...]] = {
    EventName.PEER_DEAD: (("dead time", _anything),),
    EventName.STALLED: (("listening: a node that slept listens anew", _anything),),
    EventName.PEER_PRIORITY: (
        ("a rise from 0 counts after one dead time", lambda h, e: e.details["old"] == 0 < e.details["priority"] < 253),  # type: ignore[operator]
        ("advertised 253: unfit, last known to hold", _is(priority=HOLDING_UNFIT)),
        ("advertised 254: unfit, or letting go", _is(priority=UNFIT)),
        ("advertised 255: leaving", _is(priority=LEAVING)),
    ),
    EventName.ROLE: (
        ("a death makes a master", _role(Role.MASTER, EventName.PEER_DEAD)),
        ("an unfit master is relieved", _role(Role.MASTER, EventName.PEER_PRIORITY)),
        ("listening for one dead time", _role(Role.MASTER, Cause.TIME)),
        ("a better node takes back", _role(Role.BACKUP, EventName.PEER_ALIVE, EventName.PEER_PRIORITY)),
        ("members decide", lambda h, e: e.details["cause"] == Cause.MEMBERS),
        ("a reload decides", lambda h, e: e.details["cause"] == Cause.CONFIGURATION),
    ),
    EventName.ADVERTISED: (("preemption delay", _is(priority=PROTECTED)),),
    EventName.FLAPPING: (
        ("flap damping", _anything),
        ("flap damping, at its longest", _is(**{"for": 600.0})),
    ),
    EventName.CALM: (("flap damping ends", _anything),),
    EventName.UNFIT: (
        ("health check", _is(cause="health check")),
        ("crash loop", _is(cause="starts")),
        ("unfit to attach", _is(cause="attach")),
        ("unfit to clear", _is(cause="detach")),
        ("unfit for long, after failing again and again", _over("for", 320.0)),
    ),
    EventName.ATTACHING: (("attach", _anything),),
    EventName.ATTACHED: (
        ("attach, done soon", lambda h, e: _number(e, "duration") <= 5.0),
        ("attach, read back before a clear because it took long", lambda h, e: _number(e, "duration") > 5.0),
    ),
    EventName.CLEARING: (
        ("clear of a silent holder, at once", _is(cause=Cause.SILENT)),
        ("clear of a heard holder", _is(cause=Cause.HEARD)),
        ("clear of a silent rival by the lower id", _rival(lower=True)),
        ("clear of a silent rival by the higher id", _rival(lower=False)),
    ),
    EventName.LETTING_GO: (
        ("release: the master holds and is heard", lambda h, e: bool(e.details.get("successor"))),
        ("leave: no peer can take over", lambda h, e: e.details.get("successor") == ""),
    ),
    EventName.LEAVING: (("leave", _anything),),
    EventName.FAILED: (
        (
            "an attach is tried again within 5 s",
            lambda h, e: e.details["call"] == Kind.ATTACH and _failed(4, 5.1)(h, e),
        ),
        ("a forbidden call is tried again", _is(failure=Failure.FORBIDDEN)),
        ("a call or its operation times out", _is(failure=Failure.TIMEOUT)),
        ("already so: confirmed by a read", _is(failure=Failure.NOT_SO)),
        ("an operation fails", _is(failure=Failure.OPERATION)),
    ),
    EventName.LOST: (("lost: ask who holds before attaching again", _anything),),
    EventName.HOLDS: (("own state: a read shows that it holds", _anything),),
    EventName.YIELDED: (
        ("stand back", _anything),
        ("stand back for long, after doing so again and again", _over("for", 480.0)),
    ),
    EventName.STAND_BACK_OVER: (
        ("stand back: the time is over", _is(cause=Cause.TIME)),
        ("stand back: the holder is heard", _is(cause=EventName.PEER_ALIVE)),
        ("stand back: a look shows that nobody holds", _is(cause=Cause.NOBODY_HOLDS)),
    ),
    EventName.PEER_ADDED: (("members: one joins", lambda h, e: e.at > 1.0),),
    EventName.PEER_REMOVED: (("members: one leaves", _anything),),
    EventName.OUTSIDER_HOLDS: (("an outsider holds", _anything),),
    EventName.DATAGRAM_DROPPED: (("a heartbeat of no member is dropped", _anything),),
    EventName.API_DEGRADED: (("own health: a kind of call fails", _anything),),
}
# By the kind of a call, and else by its purpose: the rule that wants it.
KINDS: Mapping[Kind, str] = {Kind.POLL: "an operation is polled", Kind.REFRESH: "the group is read"}
LISTED = "verify: the holder lists who else holds"
CALLS: Mapping[Purpose, str] = {
    Purpose.OWN_STATE: "own state: a doubt is read",
    Purpose.SUCCESSOR: "release: the successor is read",
    Purpose.HOLDER: "the question who holds",
    Purpose.VERIFY: "verify",
}
RULES = (*(rule for rows in EVENTS.values() for rule, _ in rows), *CALLS.values(), *KINDS.values(), LISTED)


class Coverage:
    """Counts, in one run, how often each rule was exercised."""

    def __init__(self, world: World) -> None:
        self._counts: Counter[str] = Counter()
        world.listeners.append(self._heard)
        world.callers.append(self._called)

    def counts(self) -> Counter[str]:
        """Return how often each rule was exercised, and which watched constants were, since last asked."""
        self._counts.update(_touched)
        _touched.clear()
        return self._counts

    def _heard(self, host: Host, event: Event) -> None:
        for rule, seen in EVENTS.get(event.name, ()):
            if seen(host, event):
                self._counts[rule] += 1

    def _called(self, host: Host, lane: Lane, call: Call) -> None:
        if call.kind in KINDS:
            self._counts[KINDS[call.kind]] += 1
        elif call.kind is Kind.HOLDERS and call.purpose is Purpose.VERIFY:
            self._counts[LISTED] += 1
        elif lane is Lane.READS:
            self._counts[CALLS[call.purpose]] += 1


_touched: set[str] = set()  # constants that were reckoned with
_watched: set[str] = set()  # constants that are watched
_COUNTS = ("CHANGES", "TRIES", "MOST_LOOKS")  # constants that are no times
_OPERATORS = ("add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "neg", "lt", "le", "gt", "ge")


def watch_constants() -> None:
    """Let the constants of the core note in this process when they are reckoned with."""
    modules = [module for name, module in sorted(sys.modules.items()) if name.startswith("exoip.core.")]
    for module in modules:
        source = inspect.getsource(module)
        for name, value in list(vars(module).items()):
            home = f"{module.__name__.removeprefix('exoip.')}.{name}"
            timed = type(value) is float or name in _COUNTS
            if name.isupper() and timed and f"\n{name} = " in source and home not in _watched:
                _watched.add(home)
                instead = _noting(home, value)
                for other in modules:
                    if vars(other).get(name) is value:
                        setattr(other, name, instead)
                    for one in vars(other).values():
                        _replace_defaults(one, value, instead)


def _replace_defaults(owner: object, value: float, instead: float) -> None:
    """Let the methods of a class have the watched constant for a default too."""
    for method in vars(owner).values() if inspect.isclass(owner) else ():
        if defaults := getattr(method, "__defaults__", None):
            method.__defaults__ = tuple(instead if default is value else default for default in defaults)


def _noting(name: str, value: float) -> float:
    base = type(value)

    def noting(operator: str) -> Callable[[float, float], float]:
        method = getattr(base, operator)

        def note(self: float, *other: float) -> float:
            _touched.add(name)
            return method(self, *other)  # type: ignore[no-any-return]

        return note

    operators = {f"__{name}__": noting(f"__{name}__") for name in _OPERATORS}
    return type("Noting", (base,), operators)(value)  # type: ignore[no-any-return]


def table(runs: Mapping[str, int], seeds: int) -> str:
    """Return how many of the runs exercised each rule and each watched constant, the rarest first."""
    rows = sorted((runs.get(rule, 0), rule) for rule in {*RULES, *_watched})
    return "\n".join(["runs that exercised a rule:", *(f"  {count:>6} of {seeds}  {rule}" for count, rule in rows)])
