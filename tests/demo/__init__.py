"""The demo: three real nodes against a simulated zone on this machine, real failures, and a verdict at the end.

pace       pure: the times that all goes by, and the bound of each kind of move
judge      pure: what happened to the Elastic IP after an event, and whether that was right
report     pure: the table at the end
view       pure: a node's state, from its journal entries
node       a daemon that also writes its journal entries as JSON lines
instance   one instance: the daemon and a tiny web server (web) as child processes
client     asks the Elastic IP all the time, and counts what is lost
partition  cuts the network in two, with nftables
cluster    the zone and the instances, and all that happens to them in order
scenario   the play
display    the timeline, and on a terminal the live state of each node
__main__   the command
"""
