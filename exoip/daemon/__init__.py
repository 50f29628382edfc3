"""The process: threads, systemd, signals, reload, and the state that outlives a restart.

In: a `Config` and signals. Out: an exit code. `daemon` starts, discovers and stops; `running_node`
holds the node with its threads and applies a reload; `supervisor` has the main loop;
`heartbeat_threads` and `api_worker` are the threads; `addons` are health checks, hooks and the
metrics port.
"""
