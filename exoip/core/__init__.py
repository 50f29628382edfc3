"""The state machine: who should hold the Elastic IP, who holds it, and which API call is next.

In: heartbeats, outcomes of calls, the time. Out: events, the advertised priority, the next call.
Pure, apart from the one lock in `node`; times are seconds of one steady clock. `election` decides
who should hold, with `peers` and `flap_damping`; `ownership` makes it true: `observed` is what is
known, `mutations` attaches and detaches, `reads` asks the API, `split_brain` asks who holds and
stands back, `relief` takes a master's place, `backoff` and `unfit` decide when to retry and when
this node is unfit. `advert_timer` times the heartbeats.
"""
