"""The single faults of `single`: what is done, and what is expected of it.

H is the present holder, N the node that is to take over, W the worst one, M the one after N. SHORT,
MOST and LONG are times of a part, of most, and of more than a dead time; UPTO60 is any time up to
60 s; RISE is a dead time if a preemption delay protects H, otherwise 0. The names in formulas are
those of the protocol document; T is the rounding of a measurement. `flap` stands for a service that
fails again and again, `join 5` for a new node of that priority.
"""

from __future__ import annotations

from tests.simulation.fault import ALONE, CUT, CUT_UP, FAST, FOUR, MORE, NOTHING, QUIET, TAKEN, THREE, TWO, Fault, T
from tests.simulation.histories import HISTORIES


def _unable(name: str, how: str, costs: str) -> Fault:
    """The next best node cannot attach when the holder dies; it costs so much."""
    within = f"expect hole <= D + d + A + {costs} + {T}"
    return Fault(name, (*(f"api N {each}" for each in how.split(" + ")), "kill H", "advance 60s", within), MORE)


FAULTS = (
    Fault("the holder dies", ("kill H", ALONE, TAKEN, "advance 40s", "expect moves == 1")),
    Fault("another node dies", ("kill W", *NOTHING)),
    Fault("the holder's daemon crashes", ("crash H", ALONE, "expect no hole")),
    Fault("a daemon restarts at once", ("restart H 300ms", *NOTHING)),
    Fault("another daemon restarts", ("restart W 5s", *NOTHING)),
    Fault("the holder is stopped", ("leave H", f"expect within 2*d + A + {T}: moves == 1", "expect within 12: holders N",
                                    "expect no hole", "expect within 1: exited H", "advance 40s", "expect moves == 1")),
    Fault("all are stopped but one", ("leave W", "advance 20s", "expect no hole", "expect mutations == 0")),
    Fault("stopped before it has listened", ("restart H 300ms", "advance 700ms", "leave H", "advance 40s", "expect no hole")),
    Fault("the holder's service fails", ("health H bad", f"expect within 2*d + A + {T}: moves == 1",
                                         "expect within 15: holders N", "expect no hole", "advance 40s", "expect moves == 1")),
    Fault("the service fails everywhere", ("health all bad", *NOTHING)),
    Fault("the holder fails, then leaves", ("health all bad", "advance 9s", "leave H", f"expect within 2*d + A + {T}: moves == 1",
                                            "expect within 12: settled-but H", "expect no hole")),
    Fault("a short stall", ("stall H SHORTs", *NOTHING)),
    Fault("a long stall", ("stall H LONGs", "advance 60s", "expect no hole", "expect moves <= 2")),
    Fault("a suspended machine", ("suspend H LONGs", "advance 60s", TAKEN)),
    Fault("a suspended machine, not the holder", ("suspend W LONGs", "advance 60s", "expect no hole", "expect mutations == 0")),
    Fault("a cut", ("drop H->* *->H", "advance 120s", "expect no hole", "expect moves <= 2 + log2(1 + 120/60)")),
    Fault("a short cut", ("drop H->* *->H", "advance LONGs", "heal", "advance 60s", "expect no hole", "expect moves <= 3")),
    Fault("a one-way cut", ("drop N->H", "advance 120s", "expect no hole", "expect moves <= 1")),
    Fault("the other one-way cut", ("drop H->N", "advance 120s", "expect no hole", "expect moves <= 6")),
    Fault("attached by hand", ("attach-by-hand W", "expect within 100 + 5*L: settled-but x", "expect no hole")),
    Fault("detached by hand", ("detach-by-hand H", "advance 60s", f"expect hole <= 30 + RISE + 2.5*L + A + {T}", "expect moves == 1")),
    Fault("detached by hand again and again", ("detach-by-hand H", "advance 40s", "detach-by-hand H", "advance 40s",
                                               "detach-by-hand H", "advance 40s", "expect mutations <= 8")),
    Fault("a holder may not release", ("api H detach refuse", "health H bad", "advance 20s", "expect calls N detach H == 0",
                                       "expect within 120: holders N", "expect no hole")),
    Fault("a forged heartbeat", ("forge from=x to=N as=H prio=254", "forge from=x to=H as=N prio=0", *NOTHING)),
    Fault("forged heartbeats of a dead node", ("kill H", "forge from=x to=N as=H prio=1", "advance 1s",
                                               "forge from=x to=N as=H prio=1", "advance 60s", TAKEN)),
    Fault("heartbeats of a stranger as the holder dies", (
        "kill H", *("forge from=x to=N as=x prio=1", "advance SHORTs") * 4, "advance 60s", TAKEN)),
    Fault("a service that fails for a moment", (
        *("health H bad", "advance UPTO6s", "health H ok", "advance 20s") * 4, "expect no hole", "expect moves <= 8")),
    Fault("another node sleeps for long", ("stall N LONGs", *NOTHING)),
    Fault("a crash loop", (*("restart H 300ms", "advance 4s") * 3, "expect within 15: holders N", "expect no hole")),
    Fault("an attach is lost from sight", (
        "api N attach lost", "health H bad", "advance 500ms", "health H ok", "expect within 75 + 4*L: settled-but x",
        "expect no hole")),
    Fault("a former holder cannot read itself", (
        "health H bad", "advance UPTO6s", "api H read hang", "api H poll hang", "api H holders hang", "advance 1s",
        "health H ok", "advance 300ms", "kill N", "advance 60s", f"expect hole <= D + d + 10 + 2 + 2.5 + A + {T}")),
    Fault("a better node comes back to a protected holder", (
        "kill H", "advance 30s", "revive H", "measure", "advance 4s", "expect moves == 0", "expect no hole"), needs=("delay=5s",)),
    Fault("a protected holder's daemon restarts", (
        "kill H", "advance 40s", "reload H delay=never", "reload N delay=never", "revive H", "advance 4s", "measure",
        "restart N 300ms", "advance 4s", "expect moves == 0", "expect no hole", "reload H delay=5s", "reload N delay=5s"),
        needs=("delay=5s",)),
    Fault("a cut ends, and the taker is protected", (
        CUT, "expect within 90: yielded H", "measure", "heal", "advance 4s", "expect moves == 0"), needs=("delay=5s",)),
    Fault("a better node dies while it waits", (
        "kill H", "advance 30s", "revive H", "advance UPTO3s", "crash H", "advance LONGs", "start H", "measure", "advance 4s",
        "expect mutations == 0"), needs=("delay=5s",)),
    Fault("a stall of most of a dead time", (
        *("stall N MOSTs", "advance LONGs") * 6, "expect events N peer-dead == 0", *NOTHING), needs=("ratio=2",)),
    # N takes over three times and H as often takes it back; those are six changes, so N keeps it the fourth time
    Fault("a service flaps, and stops doing so", (
        "flap", "expect moves <= 3 + 3 + 1", "expect no hole", "advance 30m", "expect events * calm >= 1"),
        needs=("damping=yes", "delay=0")),
    # N may be about to release it when H fails again, so each of the other n - 1 may have to take over three times
    Fault("a flapping service, and a better node waits", (
        "flap", "expect moves <= (3 + 3)*(n - 1) + 1", "expect no hole"), needs=("damping=yes", "delay=5s")),
    Fault("the API is away for long, then the holder dies", (
        "api all all unreachable", "advance 90s", "kill H", "advance 45s", "api all ok", "measure", "advance 30s",
        f"expect hole <= 5 + L + A + 1 + {T}")),
    Fault("the API is away as the holder dies", (
        "api all all unreachable", "kill H", "advance 45s", "api all ok", "measure", "advance 30s",
        f"expect hole <= 5 + L + A + 1 + {T}")),
    Fault("reads hang as the holder dies", ("api N read hang", "kill H", "advance 20s", TAKEN)),
    Fault("the answer of an attach is lost", ("api N attach lost once", "kill H", "advance 40s", "expect hole <= D + d + A + 0.1")),
    Fault("an answer comes late", ("api N attach late once", "kill H", "advance 60s", "expect hole <= D + d + A + 0.1",
                                   "expect within 60: settled-but H")),
    _unable("the next one is refused", "attach refuse", "L + d"),
    _unable("the next one gets 5xx", "attach fail", "1.9 + 3*L + d"),
    _unable("the next one gets 5xx once", "attach fail once", "0.6 + L"),
    _unable("the next one's call hangs", "attach hang", "10 + d"),
    _unable("the next one's operation fails", "attach operation", "1.9 + 3*(A + S) + d"),
    _unable("the next one is told to wait", "attach effect=no failure=unavailable retry=300s", "L + d"),
    _unable("the next one's operation never ends", "attach operation=never + read hang + poll hang", "12 + d"),
    Fault("the master cannot clear", ("api N detach hang", "kill H", "expect within D + d + A + 20 + 15 + 12 + 2*S: settled-but H",
                                      TAKEN), MORE),
    Fault("the new holder dies soon", (
        "kill H", ALONE, "advance UPTO5s", "measure", "kill N",
        f"expect within D + d + A + S + 0.6 + 3*L + A + {T}: settled-but N", TAKEN), MORE),
    Fault("a cut, and the clear is late", (
        "api N detach fail", CUT, "advance LONGs", "advance UPTO40s", "api N detach operation=9s", *QUIET)),
    Fault("a cut, and reads are late", (
        "api H read hang", CUT, "advance UPTO120s", "api H ok", "api all detach operation=9s", *QUIET)),
    Fault("a cut, then an outage", (  # of more nodes those on one side may move it, which the other cannot know
        "api N detach fail", CUT, "advance LONGs", "advance UPTO30s", "api all all fail", "advance 45s", "advance UPTO120s",
        "api all ok", "api all detach operation=9s", *QUIET), TWO),
    Fault("a cut, and everything takes eight seconds", (
        "api N all takes=8s lands=4s", "advance 60s", "api N attach takes=8s lands=4s operation=9s", "drop N->* *->N",
        "api all detach operation=9s", *QUIET)),
    Fault("a cut, and the answer of the attach is lost", (
        "api N attach effect=yes failure=timeout", "api N read fail", "api N holders fail", CUT, "advance UPTO60s",
        "api H detach operation=9s", "advance UPTO10s", "api N ok", *QUIET)),
    Fault("a cut, and the predecessor has attached again", (
        "api H detach operation=8s once", "health H bad", "advance UPTO8s", "health H ok", "advance UPTO6s", "drop H-N", *QUIET)),
    Fault("a one-way cut, and reads are late", (
        "drop H->N", "api N read hang", "advance UPTO120s", "api N ok", "api all detach operation=3s", *QUIET)),
    Fault("a cut, and somebody detaches one", (
        CUT, "api H detach fail", "advance LONGs", "advance UPTO30s", "detach-by-hand H", "api H ok", *QUIET)),
    Fault("a cut, and somebody detaches one as it ends", (
        "api all detach fail", CUT, "advance LONGs", "advance UPTO6s", "detach-by-hand H", "api all ok", "heal", "advance 30s",
        "expect no hole")),
    Fault("a node hears nobody", ("drop *->W", "advance 600s", "expect no hole", "expect moves <= 2*(2 + log2(1 + 600/60))"), MORE),
    Fault("the release ends after a restart", (
        "api H detach operation=5s once", "health H bad", "advance UPTO6s", "health H ok", "restart H 400ms", "advance 40s",
        "expect no hole")),
    Fault("the taker dies as it takes", ("health H bad", "advance UPTO3s", "kill N", "advance 130s", f"expect hole <= D + d + A + {T}")),
    Fault("the taker dies as the holder leaves", (
        "leave H", "advance UPTO1s", "kill N", "advance 60s", f"expect hole <= D + d + A + {T}"), MORE),
    Fault("a node cannot send", (
        "address N lost", "advance 120s", "expect mutations == 0", "expect events N yielded <= 1", "address N back", *NOTHING)),
    Fault("a stand-back whose checks fail", (
        CUT, "expect within 90: yielded H", "api H read fail", "api H holders fail", "advance UPTO40s", "expect yielded H")),
    Fault("the taker's instance is stopped", (
        CUT, "expect within 90: yielded H", "advance UPTO20s", "measure", "instance N stopped", "advance 40s",
        f"expect hole <= 5 + 3*L + A + {T}"), TWO),
    Fault("a frozen machine", ("freeze H LONGs", "advance 90s", "expect hole <= D + d + A + 0.1")),
    Fault("a better node joins", ("join better", "expect within 32: moves == 1", "expect no hole"),
          needs=("group=refreshed", "delay=0", "damping=no")),
    Fault("the holder is taken out of the group", (
        "remove H", "forge from=x to=all as=x prio=1", "advance 90s", "expect events N role >= 1", "expect no hole"),
        needs=("group=refreshed",)),
    Fault("a member is out of the group for a moment", (
        "remove W", "forge from=x to=all as=x prio=1", "advance UPTO20s", "insert W", *NOTHING), needs=("group=refreshed",)),
    Fault("a node joins that the holder does not know", (
        "api all refresh takes=1.9s lists=0% once", "join worse", *NOTHING), needs=("group=refreshed",)),
    Fault("a member sends with the id of a node that starts", (
        "crash N", "advance 10ms", "start N", *("forge from=W to=N as=N prio=20", "advance SHORTs") * 60,
        "expect role N BACKUP", *NOTHING), MORE),
    Fault("a stranger sends with the id of a node that starts", (
        "kill H", "crash N", "advance 10ms", "start N", *("forge from=x to=N as=N prio=20", "advance SHORTs") * 60,
        "expect hole <= max(10 + h, 2*D) + d + A + 0.02")),
    Fault("a daemon restarts, and its reads are slow", (
        "kill W", "advance 60s", "measure", "api H read takes=4s", "restart H 300ms", "advance 60s",
        "expect moves == 0"), MORE, ("delay=0",)),
    Fault("detached by hand, after one failed read", (
        "kill W", "advance UPTO8s", "api H read effect=no failure=unavailable retry=300s once", "advance UPTO8s", "measure",
        "detach-by-hand H", "advance 60s", f"expect hole <= 30 + RISE + 2.5*L + A + {T}"), MORE),
    Fault("detached by hand, while lists fail", (
        "api H holders fail", "advance UPTO60s", "measure", "detach-by-hand H", "advance 60s",
        f"expect hole <= 30 + RISE + 2.5*L + A + {T}")),
    Fault("detached by hand, while reads fail", (
        "api H read fail", "advance UPTO60s", "measure", "detach-by-hand H", "advance 60s",
        f"expect hole <= 30 + RISE + 2.5*L + A + {T}")),
    Fault("detached by hand, while the API fails", (
        "api H all fail", "advance 90s", "measure", "detach-by-hand H", "advance 90s",
        f"expect hole <= 36 + 36 + 8*L + A + {T}")),
    Fault("an attach without effect", (
        "api N attach effect=no", "kill H", "advance 60s", f"expect hole <= D + d + 20 + {T}"), MORE),
    Fault("a clear without effect", (
        "api N detach effect=no", "kill H", "expect within 30 + D: settled-but H", TAKEN), MORE),
    Fault("a clear is told to wait", (
        "api N detach effect=no failure=unavailable retry=300s once", "kill H",
        f"expect within D + d + A + S + 6 + 3*L + A + {T}: holders N", TAKEN)),
    Fault("the master cannot read itself before a clear", (
        "api N attach late once", "api N read hang", "kill H",
        "expect within D + d + A + 10 + 15 + 12 + 2*S + 2*A: settled-but H"), MORE),
    Fault("a taker dies while its clear is pending", (
        "api N detach operation=9s once", "suspend H LONGs", "advance LONGs", "kill N", "advance 120s",
        "expect hole <= 10 + S + D + A")),
    Fault("cut off with a hanging API, then heard again", (
        "api H all hang", CUT, "advance LONGs", "advance UPTO20s", "heal", "advance 30s", "expect no hole")),
    Fault("a stray holder dies", (
        "api W all late", "drop W->* *->W", "advance LONGs", "advance UPTO20s", "kill W", "heal",
        "expect within 30 + 10 + 2*L + A + 100 + L: settled-but W", "expect no hole"), MORE),
    Fault("attached by hand to one that cannot let go", (
        "api W all fail", "attach-by-hand W", "expect within 30 + 100 + 5*L + A: settled-but W", "expect no hole"), MORE),
    Fault("an API that needs three seconds", (
        "api all all takes=3s", "advance 120s", "measure", "health H bad", "expect within 2*h + 4 + 9 + 2*A: holders N",
        "expect no hole", "advance 120s", "expect mutations == 2")),
    Fault("an API that needs eight seconds", (
        "api all all takes=8s", "advance 180s", "measure", "health H bad", "expect within 2*h + 8 + 24 + 2*A: holders N",
        "expect no hole", "advance 180s", "expect mutations == 2")),
    Fault("a cut while all start", (
        "crash all", "advance 1s", "detach-holders-by-hand", "start all", "advance 50ms", CUT,
        "expect within D + 5: holders H N", "measure", *QUIET)),
    Fault("a former master that released, and cuts", (
        "health H bad", "advance 2s", "advance UPTO8s", "drop H->N N->H", "advance LONGs", CUT_UP, *QUIET), MORE, FAST),
    Fault("an unfit holder is cut off from its successor, then all are", (
        "health H bad", "advance UPTO1s", "drop H->N N->H", "advance LONGs", CUT_UP, *QUIET), MORE, FAST),
    Fault("all are cut off from each other", (CUT_UP, *QUIET), MORE, FAST),
    Fault("the holder moves, and long after all are cut off", (
        "health H bad", "advance 30s", "health H ok", "advance 120s", "advance UPTO120s", "measure", CUT_UP, *QUIET), MORE, FAST),
    Fault("another node is cut off", (
        "drop W->* *->W", "advance 300s", "expect no hole", "expect calls N attach N == 0",
        "expect moves <= 1 + log2(1 + 300/60)"), MORE, ("delay=0", "damping=no")),
    Fault("a cut that grows during a stand-back", (
        "drop N->* *->N", "expect within 90: yielded H", "advance 58s", "advance UPTO1s", CUT_UP, *QUIET), MORE,
        (*FAST, "ratio=3", "delay=0", "damping=no")),
    Fault("one that was read to hold and released, and cuts", (
        "health all bad", "health W ok", "advance 30s", "health H ok", "advance 12s", "health N ok", "advance 7s", "health H bad",
        "advance 6s", "drop H->N N->H", "advance 4s", CUT_UP, *QUIET), THREE, (*FAST, "ratio=3", "delay=0", "damping=no")),
    Fault("a cut right after a move", (
        "health H bad", "advance UPTO2s", CUT, *QUIET), MORE),
    Fault("the taker dies during a cut", (
        CUT, "expect within 90: yielded H", "advance UPTO20s", "measure", "kill N", "advance 70s", f"expect hole <= 60 + A + {T}")),
    Fault("the one that relieved the master dies", (
        "api H all fail", "advance 30s", "detach-by-hand H", "expect within 36 + 36 + 8*L + A: holders N", "advance 200s",
        "measure", "kill N", "instance N stopped", "expect within D + 36 + 12 + 8*L + A: holders M N"), MORE),
    Fault("detached by hand every two minutes", (
        *("detach-by-hand H", "advance 100s", "advance UPTO30s") * 4, f"expect hole <= 30 + 2.5*L + A + {T}", "expect moves == 4"),
        needs=("delay=0", "damping=no")),
    Fault("a clear fails, and the master cannot read itself", (
        "api N read hang", "api N detach effect=no failure=unavailable retry=5s once", "kill H", TAKEN,
        f"expect within D + d + A + 15 + 3*A + 2*S + {T}: settled-but H"), MORE),
    Fault("two masters die, the first one unread", (
        "api N all hang", "kill H", "advance 5s", "kill N", f"expect within D + d + A + S + {T}: calls M detach * >= 1",
        "expect within 10: events M failed >= 1", "api M read hang", "expect within 60: settled-but H"), FOUR,
        ("interval=1s", "ratio=5")),  # so that all listen when H first attaches, and read that it does not hold
    Fault("the last one is stopped", (
        "leave N", "expect within 12: exited N", "expect no hole", "advance 15s", "leave H", "expect within 10: holders nobody",
        "expect within 2: exited H"), TWO),
    Fault("all heartbeats of a dead time but one are lost, again and again", (
        *("drop H->*", "advance 1.75s", "heal", "advance 4s", "advance UPTO2s") * 12, "expect events * peer-dead == 0",
        "expect mutations == 0"), needs=("interval=1s", "ratio=3")),
    Fault("cut off with hanging reads, and the other dies after the heal", (
        "api H read hang", "api H holders hang", CUT, "advance LONGs", "heal", "advance 2.1s", "advance UPTO2s", "measure",
        "kill N", "advance 40s", f"expect hole <= max(D + d, h + 2.5) + 2*A + {T}"), needs=("delay=0", "damping=no")),
    Fault("moved by hand to one that is heard", (
        "detach-by-hand H", "attach-by-hand W", "expect within 30 + 100 + 5*L: settled-but W", "expect events H yielded == 0",
        "expect no hole"), needs=("delay=0", "damping=no")),
    Fault("attached by hand to the next best, and the holder is blind", (
        "api H read hang", "api H holders hang", "attach-by-hand N", "expect within 400: holders H", "expect no hole"), MORE,
        ("delay=0", "damping=no")),
    Fault("a rival is stopped, and later another cut", (
        CUT, "expect within 90: yielded H", "expect within 70: not yielded H", "expect within 300: yielded H",
        "advance UPTO20s", "instance N stopped", "advance 20s", "heal", "advance 60s", CUT, "advance 60s"), MORE),
    Fault("a better node joins as the holder dies", (
        "join better", "advance SHORTs", "kill H", "advance 60s", f"expect hole <= 2*D + d + A + {T}"),
        needs=("group=refreshed", "delay=0", "damping=no")),
    Fault("a member is migrating while the group is read", (
        "instance H migrating", "instance W starting", "forge from=x to=all as=x prio=1", "advance 60s", *NOTHING),
        needs=("group=refreshed",)),
    Fault("lists of the group that lack everybody", (
        "api all refresh lists=0%", "forge from=x to=all as=x prio=1", "advance 40s", "forge from=y to=all as=y prio=1", *NOTHING),
        needs=("group=refreshed",)),
    Fault("an API that answers 404", (
        "api all read effect=no failure=not-so", "api all holders effect=no", "api all refresh fail", "advance 150s",
        "expect no hole", "expect moves == 0", "expect events * lost == 0")),
    Fault("nobody else, and its attaches are not sent", (
        "api N all unreachable", "kill H", "advance 45s", "api N ok", "expect within 6 + 2*L + A: holders H N",
        f"expect within S + 2*L + A + {T}: holders N"), TWO),
    Fault("a holder waits for one that cannot hold, and is detached", (
        "latency H 2s", "api N attach effect=no", "api N read refuse", "reload H prio=250", "advance 240s", "expect holders H",
        "measure", "detach-by-hand H", "advance 240s", "expect hole <= 2*30 + 30 + 12 + 8*2 + A + 2"), TWO, ("delay=0",)),
    Fault("reads that are a little old, and the holder dies", (
        "api all read lag=300ms", "api all holders lag=300ms", "advance 60s", "measure", "kill H", TAKEN, "advance 60s",
        "expect events N lost == 0", "expect holders N")),
    Fault("slow attaches and old reads", (
        "api all read lag=500ms", "api all holders lag=500ms", "operation all 6s", "advance 60s", "measure", "kill H",
        "advance 120s", "expect events N yielded == 0", "expect holders N"), TWO),
    *HISTORIES,
)  # fmt: skip
