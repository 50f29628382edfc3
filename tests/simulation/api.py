"""What the API makes of the calls of one host: an adversary that may do all that it may by contract.

For each call it chooses, apart from each other, whether the call takes effect and when, whether an
operation ends and how, what the caller is told and when, and how old and how complete what it reads
is. A `Reply` is one such choice; `Choices` leave each of its fields to the seed, call by call. A
site is a host and a kind of call.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

from exoip.core.calls import Failure, Kind

EPOCH = 1_700_000_000.0  # Unix time at which a world begins


@dataclass(frozen=True, slots=True)
class Reply:
    """What the API makes of one call. Times in seconds.

    `effect`: it reaches the zone, `lands` after it was made (None: halfway to the answer). One that
    does not is answered all the same: a mutation is then said to be done, a poll to be pending, a
    list of holders is empty, a refresh shows what the host knew. `failure`: what the caller gets
    instead of the zone's answer, with `retry_after` if the API names any. Some say that a
    call had no effect; a mutation that has one gets UNAVAILABLE instead. `takes`: time to the answer; None:
    the host's latency; inf: none comes within the time-out. `operation`: time that the operation
    takes; None: the host's; inf: it never ends. `operation_fails`: a mutation is accepted, its
    operation fails. `lag`: a read or list shows the zone as it was so long ago. `lists`: the share
    of the members and holders that a list names.
    """

    effect: bool = True
    failure: Failure | None = None
    retry_after: float = 0.0
    takes: float | None = None
    lands: float | None = None
    operation: float | None = None
    operation_fails: bool = False
    lag: float = 0.0
    lists: float = 1.0

    def untrue(self, answered_first: bool) -> bool:
        """Whether an answer without a failure says what is not so, or not yet."""
        return answered_first or not self.effect or self.lag > 0.0 or self.lists < 1.0


MODES = {
    "ok": Reply(),
    "fail": Reply(effect=False, failure=Failure.UNAVAILABLE),  # 503
    "refuse": Reply(effect=False, failure=Failure.FORBIDDEN),  # 403
    "unreachable": Reply(effect=False, failure=Failure.UNREACHABLE, takes=0.001),
    "hang": Reply(effect=False, takes=math.inf),
    "lost": Reply(failure=Failure.UNAVAILABLE),  # it takes effect, the connection drops before the answer
    "late": Reply(takes=math.inf),  # it takes effect, the answer does not come in time
    "operation": Reply(operation_fails=True),
}


@dataclass(frozen=True, slots=True)
class Choices:
    """The replies of a site that misbehaves at random: of each row of fields with values, each call
    gets one.
    """

    rows: tuple[tuple[tuple[str, object], ...], ...]

    def reply(self, rng: random.Random | None) -> Reply:
        """Return what happens to one call; without `rng` each row has one value."""
        return Reply(**dict(rng.choice(row) if rng else row[0] for row in self.rows))  # type: ignore[arg-type]


Mode = Reply | Choices | str  # a str is a name in MODES


@dataclass(slots=True)
class Api:
    """How the API treats one host: by kind of call (or "all") what it makes of each call.

    A mode of `read:a`, of the reads of one instance, goes before that of all reads. A mode in
    `once` is for the next such call only, and goes before both. `rate`: how often a site that
    misbehaves does so; otherwise the call works. `rng`: of this host's calls alone, so
    that one call more or less elsewhere changes nothing here.
    `dates`: by kind of call (or "all") the seconds by which the clock of the servers is ahead,
    "none" for answers without a Date, "still" for the Date of an answer before (`told`).
    """

    rng: random.Random
    modes: dict[str, Mode] = field(default_factory=dict)
    once: dict[str, Mode] = field(default_factory=dict)
    rate: dict[str, float] = field(default_factory=dict)
    latency: tuple[float, float] = (0.1, 0.1)
    operation: tuple[float, float] = (0.2, 0.2)
    dates: dict[str, float | str] = field(default_factory=dict)
    told: float = EPOCH

    def reply(self, kind: Kind, name: str) -> Reply:
        """Return what happens to a call that is about `name`."""
        found: Mode = "ok"
        sites = (f"{kind}:{name}", kind, "all")
        key = next((key for key in sites if key in self.once), None)
        if key is not None:
            found = self.once.pop(key)
        elif (key := next((key for key in sites if key in self.modes), None)) is not None:
            rate = self.rate.get(key, 1.0)
            found = self.modes[key] if rate >= 1.0 or self.rng.random() < rate else "ok"
        found = MODES[found] if isinstance(found, str) else found
        return found.reply(self.rng) if isinstance(found, Choices) else found

    @property
    def kinds(self) -> set[str]:
        """The kinds of calls, or "all", of which some may misbehave."""
        return {key.partition(":")[0] for key in (*self.modes, *self.once)}

    def date(self, kind: Kind, now: float) -> float | None:
        """Return the Date of an answer."""
        how = self.dates.get(kind, self.dates.get("all", 0.0))
        if isinstance(how, float):
            self.told = math.floor(EPOCH + now + how)
        return None if how == "none" else self.told

    def heal(self) -> None:
        """Answer every call from now on as the zone does."""
        self.modes, self.once, self.rate = {}, {}, {}
