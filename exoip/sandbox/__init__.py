"""The command `exoip-sandbox`: a simulated Exoscale zone over HTTP, for demos and tests on loopback.

In: signed requests, faults to inject. Out: the API's answers, and a record of every call. The daemon
never imports it, and it shares no code with the client that it tests.
"""
