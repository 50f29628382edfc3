"""More single faults: those that need a history, because of what a node knows from before.

The letters and times are those of `faults`.
"""

from __future__ import annotations

from tests.simulation.fault import CUT, CUT_UP, FAST, FOUR, MORE, QUIET, TAKEN, THREE, TWO, Fault, T

CALM = ("delay=0", "damping=no")
CLEARED = f"expect within D + d + A + S + A + {T}: settled-but"

HISTORIES = (
    Fault("a cut, and attaches without effect", (
        "api N attach effect=no", CUT, "advance 120s", f"expect hole <= 30 + 2.5*L + A + {T}", "expect holders H", "measure",
        "advance 240s", "expect no hole", "expect calls N detach H == 0"), TWO),
    Fault("a cut, and an attach without effect after the stand-back", (
        CUT, "expect within 90: yielded H", "api H attach effect=no", "measure", *QUIET, "expect calls H detach N == 0"), TWO),
    Fault("a cut that is over, and later the taker dies", (
        "latency all 400ms", "operation all 200ms", CUT, "expect within 90: yielded H", "heal", "advance 60s", "measure", "kill N",
        "expect within D + d: role H MASTER",
        f"expect within A + S + A + {T}: settled-but N", TAKEN), TWO, ("delay=never",)),
    Fault("slow operations, and reads that fail", (
        "operation N 8s", "api N read hang", "kill H", "advance 600s", "expect moves <= 12"), MORE),
    Fault("another node is better while one attaches", (
        "operation N 2s", "kill H", "expect within D + d: role N MASTER", "advance SHORTs", "reload M prio=1", "advance SHORTs",
        "reload M prio=200", "expect within d + A + S: role N MASTER", "expect within 2 + 2 + 2*S + A: settled-but H"), MORE, CALM),
    Fault("each node that starts is better, and long after all are cut off", (
        "crash all", "advance 1s", "detach-holders-by-hand", "start W", "advance 3s", "start N", "advance 3s", "advance UPTO1s",
        "start H", "advance 60s", "advance UPTO60s", "measure", CUT_UP, *QUIET), THREE, (*FAST, "ratio=3", *CALM)),
    Fault("one that was relieved holds again, and so may the one that relieved it", (
        "api H all fail", "detach-by-hand H", "expect within 36 + 36 + 8*L + A: holders N", "advance 60s", "kill N",
        "instance N stopped", "expect within D + 36 + 12 + 8*L + A: holders M N", "advance 60s", "revive N", "advance 100ms",
        "api H ok", "measure", "advance 60s", "expect holders H", "expect no hole", "expect calls H detach M == 0"), MORE, CALM),
    Fault("a master that could not attach dies, and the next one was unfit", (
        "health N bad", "advance 60s", "api H all fail", "detach-by-hand H", "advance 30s", "advance UPTO30s", "health N ok",
        "advance 100ms", "kill H", "measure", "advance 60s", "expect calls * attach * <= 1", "expect holders N"), MORE, CALM),
    Fault("two blips half a minute apart", (
        "latency all 300ms", "operation all 3s", "restart H 300ms", "advance 27.5s", "drop H->N", "advance 3.6s", "heal",
        "advance 26s", "advance UPTO1s", "drop H->N", "advance 10s", "heal", "advance 40s", "expect no hole", "expect holders H"),
        TWO, ("interval=1s", "ratio=3", "equal=yes", *CALM)),  # the lower id may clear first
    Fault("the next best node was unfit, and the holder is detached without any API", (
        "health N bad", "advance 180s", "health N ok", "api H all fail", "advance 10s", "measure", "detach-by-hand H",
        "advance 120s", f"expect hole <= 36 + 36 + 8*L + A + {T}", "expect holders N"), FOUR),
    Fault("the worst node restarts, and two holders die", (
        "restart W 5s", "advance 60s", "kill H", f"{CLEARED} H", "advance UPTO5s", "measure", "kill N", f"{CLEARED} N", TAKEN),
        THREE),
    Fault("a clear that fails takes effect late", (
        "api N detach refuse", "api H detach failure=unavailable operation=4s once", "attach-by-hand N",
        "expect within 30 + 100 + 3*L: calls H detach N 1", "advance 500ms", "measure", "health H bad", "advance 60s", "expect no hole",
        "expect holders N"), needs=CALM),
    Fault("a cut right after a move, and detaches are slow", (
        "latency H 100ms", "latency N 350ms", "operation all 50ms", "api H read lag=20s", "health H bad",
        "expect within 5: holders H N", "advance 4.2s", "drop H->*", "advance 1150ms", "drop *->H", "api H ok",
        "api H detach operation=5s", *QUIET),
        TWO, (*FAST, "ratio=3", *CALM)),
    Fault("detached by hand, while lists are told to wait", (
        "api H holders effect=no failure=unavailable retry=300s", "advance 60s", "advance UPTO60s", "measure",
        "detach-by-hand H", "expect within 30 + 2.5*L: events H lost 1", f"expect within L + A + d + {T}: holders H"), needs=CALM),
    Fault("a cut just as the predecessor attaches again", (
        "api H detach operation=8s once", "health H bad", "advance 5s", "health H ok", "advance 2s", "advance UPTO2s", "drop H-N",
        *QUIET), needs=("interval=1s", "ratio=3", *CALM)),
    Fault("the taker dies just after the holder wakes, and its clear is pending", (
        "api N detach operation=9s once", "suspend H 4s", "advance 5s", "kill N", "advance 120s", "expect hole <= 10 + S + D + A"),
        needs=("interval=1s", "ratio=3", *CALM)),
    Fault("a former master that was cleared came back as the worst, and cuts", (
        "health N bad", "api M attach fail", "crash H", "advance 4s", "health N ok", "api M ok", "advance 10s", "expect holders N",
        "reload H prio=250", "start H", "advance 6s", "drop H->N N->H", "advance 4s", "advance UPTO1s", CUT_UP, *QUIET), THREE,
        ("interval=1s", "ratio=3", *CALM)),
    Fault("a stray holder is dead, and the master can no longer read it", (
        "kill W", "advance 30s", "attach-by-hand W", "advance 31s", "api H read hang", "expect within 30 + 100 + 2*L + A: settled-but W",
        "expect no hole"), MORE, CALM),
    Fault("a daemon restarts while its clear is under way, and a cut ends", (
        "latency all 500ms", "operation all 5s", CUT, "expect within D + d + A + S + L: calls N detach H 1", "advance UPTO2s",
        "restart N 300ms", "advance 300ms", "heal", "advance 90s", "expect no hole"), TWO, ("interval=1s", "ratio=3", *CALM)),
    Fault("an API too slow to clear at once", (
        "api all all takes=4s operation=9s", "advance 200s", "measure", "kill H", "expect within D + d + 4 + 9: holders H N",
        "expect within 30 + 100 + 4 + 11: holders N", "expect events N unfit 0"), THREE, CALM),
    Fault("the holder is upgraded while the API is away", (
        "api all all fail", "advance 30s", "upgrade H 300ms", "advance 30s", "api all ok", "advance 60s", "expect moves == 0",
        "expect no hole", "expect events H unfit 0")),
    Fault("operations of seven seconds", (
        "operation all 7s", "kill H", "expect within D + d + A: holders H N", "expect within S + L + A: holders N", "advance 100s",
        "expect holders N", "expect events N unfit 0"), MORE),
)  # fmt: skip
