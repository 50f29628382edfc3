"""Real daemons under real faults, many in a row: what `script/chaos` runs, and `test_faults.py` a
short part of.

A run is a number of *spells*. In each, a few faults hit one cluster of `exoip -W` processes
(`tests.support.cluster`), are undone, and then there has to be quiet: one master, the best-ranked
node that runs, and it alone holds, all hear each other, and no more move for two dead times.
Whatever else must hold is looked at all the time: `chaos.Run`.

| part | its job |
| --- | --- |
| `plan.py` | pure: from a seed to spells of faults; and every kind once, in turn |
| `orders.py` | pure: what the simulated API can be ordered to do wrong |
| `partition.py` | a network namespace of the run's own, and cuts in it with nftables |
| `node_probe.py` | one node watched from outside: what it logs, and what it uses |
| `actions.py` | does to the daemons what a plan says, and undoes it |
| `chaos.py` | carries a whole plan out, and judges |
| `transcript.py` | faults, the zone's record and all logs as one text, in the order of time |
"""
