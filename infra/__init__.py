"""The frame around the product: settings, processes, clock, logs, metrics, wiring, command line."""
