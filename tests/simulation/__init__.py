"""Many nodes, a network and a zone in virtual time: the production election and ownership,
everything else simulated.
"""
