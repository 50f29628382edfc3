"""The play: what is done to the cluster, one event after another, each once the one before has settled."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from exoip.sandbox.faults import Fault
from exoip.sandbox.zone import COMMANDS
from tests.demo.instance import Instance
from tests.demo.judge import Event
from tests.demo.stage import Act, Failed, Stage
from tests.support.partition import Partition, PartitionError

FROZEN = 3.0  # seconds at least
REFUSALS = 2  # attaches that the API refuses before it is back: after the third the node would step aside for 10 s


class Scenario(Stage):
    """Plays everything."""

    def play(self) -> None:
        """Play from the start to the end. Raises Failed, InstanceError."""
        best, second, third = self.cluster.instances
        self._form()
        self._stop(best, second)  # first, while no node has let go lately: only then it is quick (see `pace`, SETTLES)
        self._bring_back(best, best.start_daemon)
        self._kill(best, second)
        self._bring_back(best, best.start)
        self._kill_without_api(best, second)
        self._bring_back(best, best.start)
        self._freeze(best, second)
        self._cut(best, second, [best.address], [second.address, third.address])
        self.end(time.monotonic())

    # The acts

    def _form(self) -> None:
        cluster, at = self.cluster, time.monotonic()
        self.say("three nodes start, and one has to take the address")
        for instance in cluster.instances:
            instance.start()
        ready = self.ready_at(cluster.instances)
        best = cluster.instances[0]
        bound = ready - at + cluster.pace.returned(self._settling(best))
        self.begin(Act(Event("the cluster forms", at, best.id, bound, gapless=False), best))
        self.settle(cluster.instances)

    def _kill(self, holder: Instance, taker: Instance) -> None:
        self.say(f"{holder.name} dies: SIGKILL for its daemon and its web server")
        at = time.monotonic()
        holder.kill()
        self.begin(Act(Event(f"{holder.name} killed", at, taker.id, self.cluster.pace.lost()), taker, holder))
        self.settle(self._others(holder))

    def _bring_back(self, instance: Instance, start: Callable[[], None]) -> None:
        self.say(f"{instance.name} starts again")
        start()
        at = self.ready_at([instance])
        bound = self.cluster.pace.returned(self._settling(instance))
        self.begin(Act(Event(f"{instance.name} back", at, instance.id, bound), instance))
        self.settle(self.cluster.instances)

    def _stop(self, holder: Instance, taker: Instance) -> None:
        self.say(
            f"{holder.name} is stopped as planned: SIGTERM for its daemon, the web server stays; no request may be lost"
        )
        at = time.monotonic()
        bound = self.cluster.pace.stopped(self._settling(taker))
        holder.stop_daemon()
        self.begin(Act(Event(f"{holder.name} stopped", at, taker.id, bound), taker, lossless=True))
        self.settle(self._others(holder), lambda: holder.daemon is None)
        if holder.exit_code != 0:
            self.problems.append(f"{holder.name} was stopped and exited with {holder.exit_code}, not with 0")

    def _kill_without_api(self, holder: Instance, taker: Instance) -> None:
        cluster, server = self.cluster, self.cluster.server
        self.say(f"the API answers 503 to everything, and {holder.name} dies: SIGKILL")
        at = time.monotonic()
        with server.lock:
            fault = cluster.zone.add_fault(Fault("status", status=503), server.now())
        holder.kill()
        self.begin(Act(Event(f"API away, {holder.name} killed", at, None, 0.0), taker, holder))
        attach = COMMANDS["attach"]

        def refused() -> list[float]:
            answers = [one for one in cluster.entries() if one.kind == "answer" and one.operation == attach]
            return [one.time for one in answers if one.time >= at and one.status == 503]

        patience = cluster.pace.lost() + 3 * REFUSALS
        if not self.wait(lambda: len(refused()) >= REFUSALS, at + patience):
            raise Failed(f"{taker.name} did not try to attach {REFUSALS} times within {patience:.1f} s")
        self.say("the API is back")
        back = time.monotonic()
        with server.lock:
            cluster.zone.clear_faults(server.now(), fault)
        bound = cluster.pace.api_back(back - refused()[0])
        self.begin(Act(Event("API back", back, taker.id, bound), taker, detected=False))
        self.settle(self._others(holder))

    def _freeze(self, holder: Instance, taker: Instance) -> None:
        pace = self.cluster.pace
        self.say(f"{holder.name} freezes: SIGSTOP for its daemon, the web server stays")
        at = time.monotonic()
        holder.freeze()
        self.begin(Act(Event(f"{holder.name} frozen", at, taker.id, pace.lost()), taker, holder))
        self.settle(self._others(holder), lambda: time.monotonic() > at + FROZEN)
        self.say(f"{holder.name} thaws: SIGCONT")
        at = time.monotonic()
        holder.thaw()
        self.begin(Act(Event(f"{holder.name} thawed", at, holder.id, pace.returned(self._settling(holder))), holder))
        self.settle(self.cluster.instances)

    def _cut(self, holder: Instance, taker: Instance, one: Sequence[str], other: Sequence[str]) -> None:
        pace, at = self.cluster.pace, time.monotonic()
        try:
            with Partition(one, other, self.cluster.port) as partition:
                self.say(f"the network is cut: {holder.name} is alone, both sides reach the API")
                self.begin(Act(Event(f"{holder.name} cut off", at, taker.id, pace.lost()), taker, holder))
                self.settle(self._others(holder), lambda: holder.view.yielded)
                self.say("the network is whole again")
                at = time.monotonic()
                partition.close()
                self.begin(Act(Event("network healed", at, holder.id, pace.healed(self._settling(holder))), holder))
        except PartitionError as error:
            self.remarks.append(f"cutting the network in two is skipped: {error}")
            self.say(self.remarks[-1])
            return
        self.settle(self.cluster.instances)

    def _others(self, instance: Instance) -> list[Instance]:
        return [one for one in self.cluster.instances if one is not instance]

    def _settling(self, taker: Instance) -> float:
        return self.cluster.pace.settling(self.cluster.let_go_at(taker), time.monotonic())
