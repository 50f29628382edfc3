"""Bytes in and out; knows nothing of the election.

In: datagrams. Out: `Heartbeat`s with a `Proof`, or a `WireError` with its cause. `wire` owns the
bytes, `authentication` the signed trailer and which stamps are accepted, `flood_filter` what the
kernel drops during a flood, `udp` the one socket, and `socket_address` how host and port are
written.
"""
