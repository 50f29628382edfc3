"""A simulated Exoscale zone, for the demo, the tests and anybody's experiments. Production code never imports it."""
