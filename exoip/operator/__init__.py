"""Operators plug in health checks and hooks, and send requests to the control socket.

In: results of checks, events, requests of `exoipctl`. Out: reasons that make the node unfit, calls
of the operator's program, answers. `health` has rise and fall, `hooks` when the program is called,
`child_process` how a program is run and killed; `control_protocol` parses requests,
`control_server` serves the socket, `control_commands` carries requests out, and `successor`
predicts a failover.
"""
