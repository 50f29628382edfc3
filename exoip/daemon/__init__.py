"""The process: threads, systemd, signals, reload, and the state that is kept across restarts.

In: a `Config` and signals. Out: an exit code. `daemon` puts the parts together, `supervisor` has the
main loop, `heartbeat_threads` the sender and the receiver, `api_worker` the threads that call the API.
"""
