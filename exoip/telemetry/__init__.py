"""Turn events and state into journal entries, metrics and status.

In: `Event`s and `Snapshot`s. Out: log entries, Prometheus text, JSON. `messages` has one row per
event and `journal` its fields; `log` writes without making anybody wait. `counters`, `metrics` and
`exporter` serve Prometheus. `api_health` watches which calls fail. `assessment` decides between
healthy, degraded and critical, and `status` describes a node as JSON, and in one line;
`addon_views` is what they show of health checks and the hook.
"""
