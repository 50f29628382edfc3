"""The command `exoipctl`: it asks running daemons and the journal, and prints what they say.

In: the answers on control sockets, journal entries. Out: text or JSON, and an exit code.
"""
