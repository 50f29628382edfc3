"""Break one rule of the protocol at a time, and check that a scenario or a random run notices.

A mutant that survives is a missing test. Each mutant replaces an exact text of a production module,
in a copy of the tree. Then the scenarios that should notice run, all scenarios (what they expect,
not their transcripts), the interrupted sequences and random seeds, until one fails.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.support.paths import ROOT

LONGEST = 300.0  # seconds for one mutant
KILLED = "KILLED BY "  # what `hunt` says
SURVIVE_CHANCE = 10  # random runs alone have to kill all but one of so many


@dataclass(frozen=True, slots=True)
class Mutant:
    """One broken rule: in `module`, `old` becomes `new`. `noticed`: the scenarios that should
    notice.
    """

    name: str
    module: str
    noticed: str
    old: str
    new: str


# fmt: off
MUTANTS = (
    # who should hold
    Mutant("equal priorities make two masters", "core/election", "39",
           "if own < best.rank:", "if own[0] <= best.rank[0]:"),
    Mutant("no stall guard", "core/node", "26c 26d",
           "slept := self._advert_timer.slept(self._election.config, now)", "slept := 0.0"),
    Mutant("acts from its first moment, without listening", "core/election", "04 39",
           "        self.listen_until = now + config.dead_time  # before", "        self.listen_until = now  # before"),
    Mutant("255 for unfit", "core/election", "21c 20",
           "return HOLDING_UNFIT if own.last_held else UNFIT", "return LEAVING"),
    Mutant("an unfit holder counts no better than any unfit node", "core/election", "20",
           "return HOLDING_UNFIT if own.last_held else UNFIT", "return UNFIT"),
    Mutant("no 254 while releasing", "core/election", "25",
           "        if own.releasing or (now", "        if False or (now"),
    Mutant("a rise from 0 counts at once", "core/election", "05",
           "peer.rise_effective_at = now + self.config.dead_time", "peer.rise_effective_at = None"),
    Mutant("the preemption delay is not kept through a doubt", "core/observed", "13b",
           "return self.held and (self.doubt_since is None or self.heard_only)",
           "return self.held and self.doubt_since is None"),
    Mutant("a death does not end the preemption delay's count", "core/election", "30",
           "peer.alive, peer.rise_effective_at, peer.better_since = False, None, None",
           "peer.alive, peer.rise_effective_at = False, None"),
    Mutant("deaths before what waits in the socket is read", "core/node", "26f",
           "        if (past_due := now >= self._deadline) or (socket_drained and",
           "        socket_drained = True\n        if (past_due := now >= self._deadline) or (socket_drained and"),
    Mutant("a failure to attach never makes unfit", "core/backoff", "02a",
           "if self._tries >= TRIES:", "if False:"),
    Mutant("unfit forever", "core/backoff", "02a 17",
           "self.until = now + self._length", "self.until = math.inf"),
    Mutant("the crash loop is ignored", "core/node", "33",
           '"started too often", quarantined_until', '"started too often", -math.inf'),
    Mutant("flapping is not damped", "core/flap_damping", "13c",
           "if excess >= 0 else 0.0", "if False else 0.0"),
    Mutant("the damping does not end", "core/flap_damping", "13c",
           "now + WINDOW if self.delay", "math.inf if self.delay"),
    # trust
    Mutant("the id in a packet is trusted, whoever sends it", "core/admission", "42",
           "(member is None or member[0] != address):", "member is None:"),
    Mutant("a stranger becomes a member by its packet", "core/node", "42",
           "            if cause := self.admission.judge(",
           "            if heartbeat.instance_id not in self._election.peers:\n"
           "                self.admission.set_members({**self.admission.members, heartbeat.instance_id: (address, 12345)}, now)\n"
           "                self._ownership.observed.set_members(frozenset(self.admission.members), now)\n"
           "                self._run_to_fixpoint(self._election.set_members(frozenset(self.admission.members), now), now)\n"
           "            if cause := self.admission.judge("),
    # attach
    Mutant("reads itself before it attaches", "core/mutations", "36 19e",
           "is not Role.MASTER or self.attach_paused:", "is not Role.MASTER or self.attach_paused or own.doubt and not own.held:"),
    Mutant("waits 30 s for an API that is away though nobody may hold", "core/backoff", "19f",
           "\nLONGEST_ATTACH_RETRY = 5.0 ", "\nLONGEST_ATTACH_RETRY = 30.0 "),
    Mutant("no backoff reset on a new decision", "core/ownership", "34 17 02",
           "            backoff.reset()\n", "            pass\n"),
    Mutant("what an attach that failed left behind is not read back", "core/mutations", "28b",
           "                own.doubted(now, attach_may_land=True)\n", "                pass\n"),
    Mutant("the dead master is not presumed to hold", "core/ownership", "01",
           "                last.presume(now)\n", "                pass\n"),
    # clear, release
    Mutant("detaches while the attach is pending", "core/mutations", "10",
           "        if role is Role.MASTER and (not own.holds or",
           "        if role is Role.MASTER and not own.held and (other := self._next_clear(now)[1]) and now >= self._next_clear(now)[0]:\n"
           "            return Call(Kind.DETACH, other.instance_id, why='beside the attach'), now\n"
           "        if role is Role.MASTER and (not own.holds or"),
    Mutant("the taker clears a heard holder at once", "core/mutations", "06 07",
           "            if peer is None or (not peer.alive and not peer.released_since(self._observed.own.attach_called)):\n",
           "            if True:\n"),
    Mutant("one that may have attached again is cleared as a predecessor", "core/mutations", "52f",
           " and not peer.released_since(self._observed.own.attach_called)", ""),
    Mutant("the taker never clears a heard holder", "core/mutations", "34a 12",
           "        return self._observed.turn(other,",
           "        if self._election.alive(other.instance_id):\n            return math.inf\n        return self._observed.turn(other,"),
    Mutant("no baseline: a rival is cleared at once", "core/observed", "09",
           "return max(other.since, attached_at) + turn", "return -math.inf"),
    Mutant("no baseline: a predecessor is cleared late", "core/mutations", "01",
           "if self._observed.predecessor(other) and now <", "if False and now <"),
    Mutant("who has taken clears at once without end", "core/mutations", "52b",
           "\nNEWCOMER_TIME = 17.0 ", "\nNEWCOMER_TIME = math.inf "),
    Mutant("a later attach begins the time of a newcomer anew", "core/observed", "70",
           "        if self.attach_rejected or not self.may_hold:\n", "        if True:\n"),
    Mutant("both ids clear after the same time", "core/observed", "52a",
           "\nSECOND_TURN = 80.0 ", "\nSECOND_TURN = 30.0 "),
    Mutant("graces go on through an outage", "core/observed", "52c",
           "\nUNSEEN = 45.0 ", "\nUNSEEN = math.inf "),
    Mutant("the lower id goes first though it is late", "core/observed", "52d",
           "\nTHIRD_TURN = 130.0 ", "\nTHIRD_TURN = 30.0 "),
    Mutant("the first turn has no end", "core/observed", "52e",
           "\nFIRST_TURN_ENDS = 55.0 ", "\nFIRST_TURN_ENDS = math.inf "),
    Mutant("only a late failed read of itself makes a holder attach again", "core/reads", "54c",
           "if call.kind is Kind.READ and mutations.again_at == math.inf:",
           "if call.instance_id == self._observed.own_id and now >= self._observed.own.known_at + BLIND_TIME:"),
    Mutant("a newcomer waits though it hears a deaf holder", "core/mutations", "12b",
           "            if other.holds and (at :=", "            if False and (at :="),
    Mutant("clears by knowledge of itself from before it was due", "core/mutations", "44",
           "oldest = max(due, since, now - OWN", "oldest = max(-math.inf, now - OWN"),
    Mutant("clears by old knowledge of itself", "core/mutations", "45",
           "self._observed.own_id if self._observed.own.known_at < oldest else", "self._observed.own_id if False else"),
    Mutant("releases without hearing the master after the read", "core/mutations", "16c 22a",
           "return peer.alive and peer.last_seen > other.read_end and", "return peer.alive and"),
    Mutant("releases without a read", "core/mutations", "27b",
           "if other is None or peer is None or other.holds is not True or other.read_at < self.release_reads_since:",
           "if other is None or peer is None:"),
    Mutant("releases by a read from before", "core/mutations", "43",
           "or other.holds is not True or other.read_at < self.release_reads_since:", "or other.holds is not True:"),
    Mutant("releases to a node that may be releasing", "core/mutations", "46",
           "\nDETACH_SETTLES = 6.0 ", "\nDETACH_SETTLES = 0.0 "),
    Mutant("a leaver detaches itself at once", "core/mutations", "21a",
           "if self.leaving and not successors:", "if self.leaving:"),
    Mutant("a leaver does not let go to an unfit peer", "core/mutations", "21c",
           "if p.alive and p.priority < LEAVING]", "if p.alive and p.priority < 253]"),
    # reads, stand back
    Mutant("no doubt after a heal", "core/ownership", "11 07",
           "            self.observed.own.doubted(now, heard=True)\n", "            pass\n"),
    Mutant("no yield", "core/split_brain", "07",
           "        length = self._double()\n        return self._begin(",
           "        return []\n        length = self._double()\n        return self._begin("),
    Mutant("a node that cannot send takes over", "core/split_brain", "53a",
           "if self.mute and not self._observed.own.held:", "if False:"),
    Mutant("a node that cannot send stands back for a time only", "core/split_brain", "53a",
           "return math.inf if self.mute else self.until", "return self.until"),
    Mutant("the stand-back is not doubled", "core/split_brain", "07b",
           "min(2 * self.length,", "min(1 * self.length,"),
    Mutant("a failed check ends the stand-back", "core/split_brain", "14d",
           "        if not self.active or not (holder or certain):\n", "        if not self.active:\n"),
    Mutant("an attach that does not last is repeated at once", "core/ownership", "32b",
           "if now - self.mutations.attached_at < ATTACH_LASTS:", "if False:"),
    Mutant("the stand-back has no end", "core/split_brain", "14a",
           "self.until, self._check_at = now + length,", "self.until, self._check_at = math.inf,"),
    Mutant("a node that stands back does not check", "core/split_brain", "14c",
           "self.until, self._check_at = now + length, now + HOLDER_CHECK_INTERVAL",
           "self.until, self._check_at = now + length, math.inf"),
    Mutant("yields to a dead master too", "core/split_brain", "69",
           " or holder in self._observed.successors_while_holding", ""),
    Mutant("yields to one that it hears", "core/holder_query", "12a 27b 26e",
           "if outcome.holds and outcome.running and not self._election.alive(instance_id):",
           "if outcome.holds and outcome.running:"),
    Mutant("a holder never checks whether it still holds", "core/reads", "32",
           "if not starting:", "if not starting and not holds:"),
    Mutant("a backup never checks whether it holds", "core/reads", "27a",
           "if not starting:", "if holds:"),
    Mutant("a heard holder is cleared by what was read half a minute ago", "core/mutations", "27a 34a",
           "and other.read_at < due", "and other.read_at < 0"),
    Mutant("a verification reads nobody that the list names", "core/reads", "27d 28a 34a",
           "if other.instance_id in suspects or other.instance_id in listed or not trusted", "if not trusted"),
    # membership
    Mutant("only running instances are members", "exoscale/security_group", "60a 60b",
           "if one.id != own.id])", "if one.id != own.id and one.running])"),
    Mutant("what a list lacks is gone", "exoscale/security_group", "61a",
           "for member in known if", "for member in () if"),
    Mutant("one list drops a member that is heard", "core/admission", "61b",
           "if now < since + CONFIRM_TIME", "if False"),
    Mutant("a stranger does not have the group read", "core/node", "29b 62a",
           "and self._strangers.look(address, now):", "and False:"),
    Mutant("a stranger has the group read only once", "core/admission", "62a",
           "\nFIRST_LOOK_AGAIN = 5.0 ", "\nFIRST_LOOK_AGAIN = math.inf "),
    Mutant("a node that starts takes from a holder that does not know it yet", "core/ownership", "62a",
           "\nLEARN_TIME = 10.0 ", "\nLEARN_TIME = 0.0 "),
    Mutant("a node that waits to be known blocks the others", "core/election", "18a",
           "own.releasing or (now >= self.listen_until and self._waits_to_be_known()):", "own.releasing:"),
    Mutant("a node whose id another host has takes part", "core/node", "63",
           "                    self._listen_on(now)\n", "                    pass\n"),
    # slow APIs
    Mutant("time-outs do not follow what is observed", "core/calls", "64a",
           "max(FIRST_TIMEOUT, PATIENCE * self._slowest) * (1 << self._late[kind])", "FIRST_TIMEOUT"),
    Mutant("deadlines do not follow what is observed", "core/calls", "64b",
           "return 2 * max(0.0, self._slowest - USUAL_ANSWER)", "return 0.0"),
    Mutant("anybody can keep a node that starts from taking part", "core/node", "63b",
           "cause == SAME_ID and self.admission.two_hosts(address, proof)", "cause == SAME_ID"),
    Mutant("a node that crashed waits until its peers learn of it", "core/ownership", "67",
           "-math.inf if known else now", "now"),
    # jobs have deadlines
    Mutant("a holder waits without end to read itself before a clear", "core/mutations", "48b",
           "CircuitBreaker(CLEAR_TIME)", "CircuitBreaker(math.inf)"),
    Mutant("a holder that cannot read itself does not attach again", "core/mutations", "54a 54b",
           "\nBLIND_TIME = 30.0 ", "\nBLIND_TIME = math.inf "),
    Mutant("an attach that took too long makes fit at once", "core/mutations", "68",
           "            if own.holds:  # else it took", "            if True:  # else it took"),
    Mutant("an attach without effect is no failure", "core/ownership", "57",
           "            self.mutations.attach_breaker.failed(Failure.OPERATION, now)\n", ""),
    Mutant("nobody takes the place of a master that does not hold", "core/ownership", "58a 58b",
           "            self._relieved, election.peers[master.instance_id].relieved = master.instance_id, True\n", "            pass\n"),
    Mutant("a master is relieved at the first look", "core/ownership", "08a",
           "max(o.lacks_since, since) + HOLD_TIME for o", "max(o.lacks_since, since) for o"),
    Mutant("a master is relieved though another may be alive and hold", "core/ownership", "08a 08b",
           "o.instance_id not in dead and", "o is master and"),
    Mutant("a predecessor that was not read is nobody's business", "core/observed", "48c",
           "(other.holding or other.read_at < attached_at)", "other.holding"),
    Mutant("a clear without effect is no failure", "core/reads", "59",
           "            self._mutations.clear_breaker.failed(Failure.OPERATION, outcome.ended)\n", ""),
    Mutant("a master waits forever to come to hold", "core/mutations", "47b 48a",
           "CircuitBreaker(HOLD_TIME)", "CircuitBreaker(math.inf)"),
    Mutant("a master in doubt waits for a read without end", "core/mutations", "50",
           "DOUBT_TIME = 2.5", "DOUBT_TIME = math.inf"),
    Mutant("a master that has to attach waits as long as the API asks", "core/backoff", "47a",
           "min(retry_after, self._most)", "min(retry_after, LONGEST_RETRY_AFTER)"),
    Mutant("a clear waits as long as the API asks", "core/mutations", "56",
           "(Backoff(rng, most=LONGEST_ATTACH_RETRY) for _ in range(2))", "(Backoff(rng) for _ in range(2))"),
    Mutant("an attach beside a dead holder doubles the stand-back", "core/split_brain", "55",
           "        self.rivals |= {x.instance_id for x", "        self._double()\n        self.rivals |= {x.instance_id for x"),
    Mutant("a long Retry-After counts as one failure of three", "core/mutations", "47a",
           "Failure.TIMEOUT if asks_too_much else failure", "failure"),
    Mutant("the question who holds needs a list", "core/holder_query", "49",
           "            return self.listed([], now)\n", "            return []\n"),
    Mutant("the question who holds waits for the next list", "core/reads", "49",
           "(mutations.attach_paused or self._may(Kind.HOLDERS, now))", "self._may(Kind.HOLDERS, now)"),
    Mutant("a leaver believes at once that nobody is there", "core/mutations", "51",
           "self._election.listen_until if alone else -math.inf", "-math.inf"),
)
# fmt: on


def apply(mutant: Mutant, tree: Path) -> None:
    """Break the rule in the copy at `tree`. Raises LookupError unless the text is there exactly
    once.
    """
    path = tree / "exoip" / f"{mutant.module}.py"
    source = path.read_text()
    if source.count(mutant.old) != 1:
        raise LookupError(
            f"{mutant.name!r}: found {source.count(mutant.old)} times in {mutant.module}, not once: {mutant.old!r}"
        )
    path.write_text(source.replace(mutant.old, mutant.new))


def kill(mutant: Mutant, seeds: int, *, at_random: bool = False, skipped: Sequence[int] = ()) -> str:
    """Return what killed the mutant, or "".

    `seeds`: random runs that it has to survive, without those `skipped`. `at_random`: nothing else
    is tried.
    """
    with tempfile.TemporaryDirectory(prefix="exoip-mutant-") as folder:
        tree = Path(folder)
        for part in ("exoip", "tests"):
            shutil.copytree(
                ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__", "hosts", "benchmarks")
            )
        apply(mutant, tree)
        command = [sys.executable, "-m", "tests.simulation.hunt", "--seeds", str(seeds)]
        command += ["--skip", ",".join(map(str, skipped))]
        command += ["--random"] if at_random else mutant.noticed.split()
        try:
            done = subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=LONGEST, check=False)
        except subprocess.TimeoutExpired:
            return f"not ending within {LONGEST:.0f} s"
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{mutant.name!r}: the hunt itself broke\n{done.stdout}\n{done.stderr}")
    lines = [line for line in done.stdout.splitlines() if line.startswith(KILLED)]
    return lines[0].removeprefix(KILLED) if lines else ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 1 when a mutant survives; with --random, when more than one of ten do."""
    parser = argparse.ArgumentParser(prog="script/mutants", description=__doc__.split("\n\n", 1)[0])
    parser.add_argument("--seeds", type=int, default=200, help="random runs that a mutant has to survive")
    parser.add_argument("--jobs", type=int, default=2, help="mutants at a time")
    parser.add_argument("--random", action="store_true", help="try random runs alone")
    parser.add_argument("--every", type=int, default=1, help="one mutant of so many")
    parser.add_argument("words", nargs="*", help="only the mutants whose names contain one of these")
    options = parser.parse_args(arguments)
    chosen = [m for m in MUTANTS if not options.words or any(word in m.name for word in options.words)]
    chosen = chosen[:: options.every]
    began, skipped = time.monotonic(), _wrong_already(options.seeds) if options.random else []
    with ThreadPoolExecutor(options.jobs) as pool:
        killers = list(
            pool.map(
                lambda mutant: _told(mutant, kill(mutant, options.seeds, at_random=options.random, skipped=skipped)),
                chosen,
            )
        )
    survivors = [mutant.name for mutant, killer in zip(chosen, killers, strict=True) if not killer]
    print(
        f"{len(chosen)} mutants in {time.monotonic() - began:.0f} s, {len(survivors)} survived{':' * bool(survivors)}"
    )
    for name in survivors:
        print(f"  {name}")
    return len(survivors) > (len(chosen) // SURVIVE_CHANCE if options.random else 0)


def _wrong_already(seeds: int) -> list[int]:
    """Return the seeds that show something wrong in the tree as it is: they prove nothing of a mutant."""
    from tests.simulation.simulate import one

    found = [seed for seed in range(seeds) if one(seed).violations]
    if found:
        print(f"seeds that show something wrong without any mutant do not count: {found}", flush=True)
    return found


def _told(mutant: Mutant, killer: str) -> str:
    print(f"{'killed  ' if killer else 'SURVIVED'}  {mutant.name:<55} {killer}", flush=True)
    return killer


if __name__ == "__main__":
    sys.exit(main())
