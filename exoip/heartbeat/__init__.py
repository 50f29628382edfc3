"""Bytes in and out, and which of them count; knows nothing of the election.

In: datagrams. Out: `Heartbeat`s with a `Proof`, or a `WireError` with its cause. `wire` owns the
bytes, `authentication` the signed trailer and which stamps are accepted, `admission` which
heartbeats count and what is reported of the others, `flood_filter` what the kernel drops during a
flood, `udp` the one socket, and `socket_address` how host and port are written.
"""
