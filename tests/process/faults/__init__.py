"""Real daemons under many faults in a row: `script/chaos`, and a short part in `test_faults.py`.

A run is a number of *spells*. In each spell, a few faults hit one cluster of `exoip -W` processes
(`tests.support.cluster`) and end. Then the cluster must become quiet: the best-ranked running node
is the only master and the only holder, all nodes hear each other, and nothing moves for two dead
times. `chaos.Run` checks all the time what must hold always.

| part | its job |
| --- | --- |
| `plan.py` | pure: turns a seed into spells of faults; lists every kind in turn |
| `orders.py` | pure: the faults of the simulated API |
| `partition.py` | a network namespace for the run, and cuts in it with nftables |
| `node_probe.py` | watches one node from outside: what it logs, and what it uses |
| `actions.py` | injects the faults into the daemons, and ends them |
| `chaos.py` | carries out a plan and judges |
| `transcript.py` | merges faults, the zone's record and all logs in the order of time |
"""
