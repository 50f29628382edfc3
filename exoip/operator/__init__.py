"""What an operator plugs in or asks for: health checks, hooks, and requests on the control socket.

In: results of checks, requests of `exoipctl`. Out: reasons to step aside, calls of the operator's
program, answers. `health` owns rise and fall, `hooks` when the program is called, `child_process` how
one is run and killed, `control_protocol` the requests, `control_server` the socket, `control_commands`
what each request does, and `successor` to whom a node fails over.
"""
