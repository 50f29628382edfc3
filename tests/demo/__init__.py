"""The demo: three real nodes and a simulated zone on this machine, real failures, and a verdict at
the end.

timing     pure: the times of the demo, and the bound of each kind of move
verdict    pure: where the Elastic IP was after an event, and whether that was right
report     pure: the table at the end
events     pure: what a node's journal entries mean to the demo
instance   one instance: the daemon and a web server (web) as child processes
client     sends requests to the Elastic IP all the time and counts the lost ones
cluster    the zone and the instances, and all that happens to them in order
runner     waits until the cluster has settled after an act, and judges it
scenario   the acts
display    the timeline and, on a terminal, the live state of each node
__main__   the command
"""
