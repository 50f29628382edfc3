"""Bytes in and out; knows nothing of the election.

In: datagrams. Out: `Heartbeat`s with a `Proof`, or a `WireError` with its cause. `wire` owns the 24
bytes, `authentication` the signed trailer and which stamps are believed, `flood_filter` what the
kernel drops during a flood, `socket_address` how an address and a port are written, and `udp` the
one socket.
"""
