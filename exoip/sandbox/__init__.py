"""A simulated Exoscale zone for tests, the demo and experiments. The daemon never imports it."""
