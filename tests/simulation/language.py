"""The commands of a scenario, each a method: `node a prio=10`, `advance 3s`, `drop a->b`, `kill a`,
`expect holders b`.

`README.md` beside this file lists them for those who write scenarios.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from exoip.heartbeat.wire import Heartbeat, decode, encode
from exoip.sandbox.model import INSTANCE_STATES
from tests.simulation.expectations import Expectations
from tests.simulation.host import Host
from tests.simulation.words import CommandError, mode, seconds, share, terms
from tests.simulation.world import instance_id

SLOWEST = 1.5  # seconds that a call of an able node takes at most
_KINDS = ("all", "attach", "detach", "poll", "read", "holders", "refresh")


class Commands(Expectations):
    """A world and what may be done to it."""

    def run(self, line: str) -> list[str]:
        """Carry out one command; return what it says (`state`)."""
        word, *arguments = line.split()
        method: Callable[..., list[str] | None] | None = getattr(self, f"do_{word.replace('-', '_')}", None)
        if method is None:
            raise CommandError(f"{word!r} is no command")
        try:
            said = method(*arguments)
        except TypeError as error:
            raise CommandError(f"{line!r}: {error}") from error
        self.world.look()
        return said or []

    # -- nodes and their hosts ----------------------------------------------------------------------------------------

    def do_node(self, name: str, *config: str) -> None:
        claims = "".join(word[3:] for word in config if word.startswith("as="))
        words = tuple(word for word in config if not word.startswith("as="))
        self.world.add(name, claims=claims, **terms(words)).counts_starts = True

    def do_reload(self, name: str, *config: str) -> None:
        for host in self.hosts(name):
            host.config = replace(host.config, **terms(config))
            host.run(lambda host=host: host.node.set_config(host.config, self.world.verify_interval, host.now))

    def do_start(self, *names: str) -> None:
        for host in self.hosts(names):
            if host.node is not None:
                raise CommandError(f"{host.name} runs already")
            host.up = True
            host.start()

    def do_crash(self, *names: str) -> None:
        for host in self.hosts(names):
            self.world.note(f"{host.name}  crashes")
            host.crash()

    def do_upgrade(self, name: str, after: str) -> None:
        """Stop for a restart (SIGQUIT), and be started again after a while."""
        self.world.hosts[name].keep_held()
        self.do_restart(name, after)

    def do_restart(self, name: str, after: str) -> None:
        """Crash, and be started again after a while."""
        self.do_crash(name)
        host = self.world.hosts[name]

        def again() -> None:
            if host.up and host.node is None:
                host.start()
                self.world.look()

        self.world.after(seconds(after), again)

    def do_revive(self, *names: str) -> None:
        """Start the host, if it still exists, and its daemon, if that does not run."""
        for host in self.hosts(names):
            if not self.world.exists(host):
                continue
            host.up = True
            self.world.zone.set_state(host.id, "running", self.world.now)
            if host.node is None:
                host.start()

    def do_able(self, *names: str) -> None:
        """Heal these for good: they run, are healthy, reach the API, and know and hear each other;
        no heartbeat is lost.
        """
        world = self.world
        world.loss, world.delay = 0.0, (0.001, min(0.05, world.delay[1]))
        able = {host.name for host in self.hosts(names) if world.exists(host)}
        world.cut -= {(one, other) for one in able for other in able}
        world.unknown -= {(one, other) for one in able for other in able}
        world.gone -= able
        for name in sorted(able):
            host = world.hosts[name]
            host.api.heal()
            host.api.operation = min(host.api.operation, (1.0, 1.0))
            host.api.latency = min(host.api.latency, (SLOWEST, SLOWEST))
            host.set_health("")
            if host.leaving:
                host.crash()
        self.do_revive(*sorted(able))
        if not world.refresh:
            world.regroup()

    def do_kill(self, *names: str) -> None:
        for host in self.hosts(names):
            host.kill()

    def do_instance(self, name: str, state: str) -> None:
        """Let the API show a state. A stopped or destroyed instance is also dead."""
        if state not in INSTANCE_STATES:
            raise CommandError(f"an instance is {', '.join(sorted(INSTANCE_STATES))}, not {state}")
        for host in self.hosts(name):
            if state == "destroyed":
                self.world.destroy_instance(host)
            elif state == "stopped":
                self.world.stop_instance(host)
            elif self.world.exists(host):
                self.world.zone.set_state(host.id, state, self.world.now)

    def do_leave(self, *names: str) -> None:
        for host in self.hosts(names):
            host.leave()

    def do_stall(self, *words: str) -> None:
        self._sleep(words)

    def do_suspend(self, *words: str) -> None:
        self._sleep(words, deaf=True)

    def do_freeze(self, *words: str) -> None:
        self._sleep(words, deaf=True, frozen=True)

    def _sleep(self, words: tuple[str, ...], **how: bool) -> None:
        for host in self.hosts(words[:-1]):
            host.stall(seconds(words[-1]), **how)
        self.world.after(seconds(words[-1]), self.world.look)

    def do_health(self, name: str, state: str) -> None:
        for host in self.hosts(name):
            host.set_health({"ok": "", "bad": "the health check fails"}[state])

    # -- the group ----------------------------------------------------------------------------------------------------

    def do_group(self, how: str) -> None:
        """`refreshed`: daemons started from now on read their group from the API, every 5 minutes."""
        self.world.refresh = {"refreshed": True, "fixed": False}[how]

    def do_member(self, name: str, how: str, *to: str) -> None:
        for host in self.hosts(to):
            change = {"unknown-to": self.world.unknown.add, "known-to": self.world.unknown.discard}[how]
            change((host.name, name))

    def do_remove(self, name: str) -> None:
        """Take an instance out of the group; who reads the group next learns of it."""
        self.world.gone.add(name)

    def do_insert(self, name: str) -> None:
        """Put it back."""
        self.world.gone.discard(name)

    # -- the network --------------------------------------------------------------------------------------------------

    def do_drop(self, *links: str) -> None:
        for link in links:
            self.world.cut.update(self._links(link))

    def do_mend(self, *links: str) -> None:
        for link in links:
            self.world.cut.difference_update(self._links(link))

    def do_address(self, name: str, how: str) -> None:
        """Take a host's own address away, or give it back."""
        {"lost": self.world.mute.add, "back": self.world.mute.discard}[how](name)

    def do_heal(self) -> None:
        self.world.cut.clear()

    def do_split(self, *groups: str) -> None:
        self.world.split(*groups)

    def _links(self, text: str) -> set[tuple[str, str]]:
        """`a->b`, `a-b` (both ways), `a->*`, `*->a`."""
        one_way = "->" in text
        left, _, right = text.partition("->" if one_way else "-")
        names = {side: list(self.world.hosts) if side == "*" else [side] for side in (left, right)}
        pairs = {(a, b) for a in names[left] for b in names[right] if a != b}
        if not pairs or not set(names[left] + names[right]) <= self.world.hosts.keys():
            raise CommandError(f"{text!r} is no link: write a->b, a-b, a->* or *->b")
        return pairs if one_way else pairs | {(b, a) for a, b in pairs}

    def do_loss(self, part: str) -> None:
        self.world.loss = share(part)

    def do_duplicates(self, part: str) -> None:
        self.world.duplicates = share(part)

    def do_delay(self, least: str, most: str) -> None:
        self.world.delay = seconds(least), seconds(most)

    def do_forge(self, source: str, link: str, identity: str, priority: str) -> None:
        """`forge from=x to=a as=b prio=1`: one heartbeat in b's name reaches a from x's address."""
        sender, target, name, number = (word.partition("=")[2] for word in (source, link, identity, priority))
        heartbeat = decode(encode(Heartbeat(int(number), self.world.eip, instance_id(name))))
        for host in self.hosts(target):
            self.world.note(f"{sender} sends to {target} in the name of {name}, priority {number}")
            host.hear(heartbeat, f"host-{sender}", forged=True)

    # -- the API ------------------------------------------------------------------------------------------------------

    def do_api(self, name: str, kind: str, *words: str) -> None:
        """`api b attach fail`, `api b attach fail once`, `api all all hang`, `api b read:c fail`, `api b ok`.

        Or a reply in detail: `api b attach failure=unavailable effect=no retry=120s`, `api b read
        lag=30s rate=50%`, with the words of `api.Reply`.
        """
        for host in self.hosts(name):
            if kind == "ok":
                host.api.heal()
                continue
            if kind.partition(":")[0] not in _KINDS:
                raise CommandError(f"kinds are {', '.join(_KINDS)}")
            if words[-1] == "once":
                host.api.once[kind] = mode(words[:-1])
            else:
                host.api.modes[kind] = mode(words)
                host.api.rate[kind] = next((share(w[5:]) for w in words if w.startswith("rate=")), 1.0)

    def do_latency(self, name: str, time: str) -> None:
        for host in self.hosts(name):
            host.api.latency = (seconds(time),) * 2

    def do_operation(self, name: str, time: str) -> None:
        for host in self.hosts(name):
            host.api.operation = (seconds(time),) * 2

    def do_date(self, name: str, how: str, *kinds: str) -> None:
        """`date b 7s`: of all answers, by servers whose clock is ahead; `date b none read`, `date b still`."""
        if not {*kinds} <= {*_KINDS}:
            raise CommandError(f"kinds are {', '.join(_KINDS)}")
        for host in self.hosts(name):
            host.api.dates |= dict.fromkeys(kinds or ("all",), how if how in ("none", "still") else seconds(how))

    def do_attach_by_hand(self, name: str) -> None:
        for host in self.hosts(name):
            self.world.zone.force(host.id, True, self.world.now)

    def do_detach_by_hand(self, name: str) -> None:
        for host in self.hosts(name):
            self._detach_by_hand(host)

    def do_detach_holders_by_hand(self) -> None:
        for holder in sorted(self.world.zone.holders(self.world.now)):
            self._detach_by_hand(self.world.by_id[holder])

    def _detach_by_hand(self, host: Host) -> None:
        self.world.zone.force(host.id, False, self.world.now)
        host.detached_at = host.now

    def do_kill_holders_but(self, *names: str) -> None:
        for name in sorted(self.world.holders & self.world.hosts.keys() - set(names)):
            self.world.hosts[name].kill()

    # -- time, looks, expectations ------------------------------------------------------------------------------------

    def do_seed(self, number: str) -> None:
        """Draw what is random by another seed; before the first node."""
        self.world.reseed(int(number))

    def do_eip(self, eip: str) -> None:
        """`eip 2001:db8:0:1::/96`: keep this one, an address or a prefix; before the first node."""
        self.world.use(eip)

    def do_verify(self, time: str) -> None:
        """`verify 10s`: the verify interval of daemons started from now on."""
        self.world.verify_interval = seconds(time)

    def do_advance(self, time: str) -> None:
        self.world.advance(seconds(time))

    def do_measure(self) -> None:
        """Holes, moves, mutations, calls and events count from here."""
        self.meter.reset()

    def do_state(self) -> list[str]:
        lines = []
        for host in self.world.hosts.values():
            words = [f"{host.name:<2} {'holds' if host.name in self.world.holders else '-':<6}"]
            if host.node is None:
                words.append("no daemon" if host.up else "dead")
            else:
                view = host.node.snapshot(host.now)
                words.append(f"{view.role:<9} {view.advertised:>3} ")
                words += [word for word in ("yielded", "unfit", "in_doubt", "leaving") if getattr(view, word)]
                words += ["degraded"] if host.api_health.view().degraded else []
            lines.append(" ".join(words).rstrip())
        return lines
