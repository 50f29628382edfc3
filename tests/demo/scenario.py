"""The scenario: what is done to the cluster, each act after the one before has settled."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from exoip.sandbox.faults import Fault
from exoip.sandbox.zone import COMMANDS
from tests.demo.instance import Instance
from tests.demo.runner import Act, Failed, Runner
from tests.demo.verdict import Event
from tests.support.partition import Partition, PartitionError

FROZEN = 3.0  # seconds at least that a daemon stays frozen
REJECTIONS = 2  # attaches that the API rejects before it is back; a third makes the node unfit


class Scenario(Runner):
    """Runs all acts."""

    def play(self) -> None:
        """Run all acts. Raises Failed or InstanceError."""
        best, second, third = self.cluster.instances
        self._form()
        self._stop(
            best, second
        )  # first, because it is quick only if no node released lately (see `timing`, CALL_SETTLES)
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
        self.say("three nodes start; one must take the address")
        for instance in cluster.instances:
            instance.start()
        ready = self.ready_at(cluster.instances)
        best = cluster.instances[0]
        bound = ready - at + cluster.timing.returned(self._settling(best))
        self.begin(Act(Event("the cluster forms", at, best.id, bound, gapless=False), best))
        self.settle(cluster.instances)

    def _kill(self, holder: Instance, taker: Instance) -> None:
        self.say(f"{holder.name} dies: SIGKILL to its daemon and its web server")
        at = time.monotonic()
        holder.kill()
        self.begin(Act(Event(f"{holder.name} killed", at, taker.id, self.cluster.timing.lost()), taker, holder))
        self.settle(self._others(holder))

    def _bring_back(self, instance: Instance, start: Callable[[], None]) -> None:
        self.say(f"{instance.name} starts again")
        start()
        at = self.ready_at([instance])
        bound = self.cluster.timing.returned(self._settling(instance))
        self.begin(Act(Event(f"{instance.name} back", at, instance.id, bound), instance))
        self.settle(self.cluster.instances)

    def _stop(self, holder: Instance, taker: Instance) -> None:
        self.say(f"{holder.name} is stopped: SIGTERM to its daemon, its web server goes on; no request may be lost")
        at = time.monotonic()
        bound = self.cluster.timing.stopped(self._settling(taker))
        holder.stop_daemon()
        self.begin(Act(Event(f"{holder.name} stopped", at, taker.id, bound), taker, lossless=True))
        self.settle(self._others(holder), lambda: holder.exited_at is not None)
        if code := holder.daemon.wait():
            self.problems.append(f"{holder.name} was stopped and exited with {code}, not with 0")

    def _kill_without_api(self, holder: Instance, taker: Instance) -> None:
        cluster, server = self.cluster, self.cluster.server
        self.say(f"the API answers 503 to everything, and {holder.name} dies: SIGKILL")
        at = time.monotonic()
        with server.lock:
            fault = cluster.zone.add_fault(Fault("status", status=503), server.now())
        holder.kill()
        self.begin(Act(Event(f"API away, {holder.name} killed", at, None, 0.0), taker, holder))
        attach = COMMANDS["attach"]

        def rejected() -> list[float]:
            answers = [one for one in cluster.record() if one.kind == "answer" and one.operation == attach]
            return [one.time for one in answers if one.time >= at and one.status == 503]

        patience = cluster.timing.lost() + 3 * REJECTIONS
        if not self.wait(lambda: len(rejected()) >= REJECTIONS, at + patience):
            raise Failed(f"{taker.name} did not try to attach {REJECTIONS} times within {patience:.1f} s")
        self.say("the API is back")
        back = time.monotonic()
        with server.lock:
            cluster.zone.clear_faults(server.now(), fault)
        bound = cluster.timing.api_back(back - rejected()[0])
        self.begin(Act(Event("API back", back, taker.id, bound), taker, detected=False))
        self.settle(self._others(holder))

    def _freeze(self, holder: Instance, taker: Instance) -> None:
        timing = self.cluster.timing
        self.say(f"{holder.name} freezes: SIGSTOP to its daemon, its web server goes on")
        at = time.monotonic()
        holder.freeze()
        self.begin(Act(Event(f"{holder.name} frozen", at, taker.id, timing.lost()), taker, holder))
        self.settle(self._others(holder), lambda: time.monotonic() > at + FROZEN)
        self.say(f"{holder.name} thaws: SIGCONT")
        at = time.monotonic()
        holder.thaw()
        self.begin(Act(Event(f"{holder.name} thawed", at, holder.id, timing.returned(self._settling(holder))), holder))
        self.settle(self.cluster.instances)

    def _cut(self, holder: Instance, taker: Instance, one: Sequence[str], other: Sequence[str]) -> None:
        timing, at = self.cluster.timing, time.monotonic()
        try:
            with Partition(one, other, self.cluster.port) as partition:
                self.say(f"the network is cut: {holder.name} is alone, both sides reach the API")
                self.begin(Act(Event(f"{holder.name} cut off", at, taker.id, timing.lost()), taker, holder))
                self.settle(self._others(holder), lambda: holder.node.yielded)
                self.say("the network is whole again")
                at = time.monotonic()
                partition.close()
                self.begin(Act(Event("network healed", at, holder.id, timing.healed(self._settling(holder))), holder))
        except PartitionError as error:
            self.remarks.append(f"the network is not cut in two: {error}")
            self.say(self.remarks[-1])
            return
        self.settle(self.cluster.instances)

    def _others(self, instance: Instance) -> list[Instance]:
        return [one for one in self.cluster.instances if one is not instance]

    def _settling(self, taker: Instance) -> float:
        return self.cluster.timing.settling(self.cluster.last_unfit_advert(taker), time.monotonic())
