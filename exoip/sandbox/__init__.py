"""The command `exoip-sandbox`: a simulated Exoscale zone over HTTP, for demos and tests on
loopback.

In: signed requests, faults to inject. Out: the API's responses, and a record of every call.

It shares no code with the client that it tests (`exoip.exoscale`), not even models or signing:
written from the API's description alone, the two check each other. The daemon never imports it.

`inventory` and `zone` are the state, `faults` the faults and rights, `routes` and `json_views` the
API, `call_lifecycle` what happens to a call from its arrival to its response: all pure, with time
as an argument. `server`, `connection` and `traffic` are the sockets, `control` and `client` the
control interface.
"""
