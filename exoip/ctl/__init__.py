"""`exoipctl`: what a person does with running daemons of this host. Production code never imports it."""
