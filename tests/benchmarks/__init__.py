"""How fast, and at what cost: real nodes on loopback against the simulated zone, and one node in
virtual time.
"""
