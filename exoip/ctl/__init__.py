"""The command `exoipctl`: query and control the exoip daemons of this host.

In: answers from control sockets, journal entries, the configuration file and the API. Out: text or
JSON, and an exit code. `client` sends requests, `status` formats a daemon's state, `check` examines
all that a daemon needs, `history` and `failovers` rebuild from the journal who held the Elastic IP.
"""
