"""Events and state become journal entries, metrics and status.

In: `Event`s and `Snapshot`s. Out: log entries, Prometheus text, JSON. `messages` has one row per event,
`journal` the fields, `log` the writer that never blocks; `counters`, `metrics` and `exporter` serve
Prometheus; `assessment` judges healthy, degraded or critical, and `status` is the report as JSON.
"""
