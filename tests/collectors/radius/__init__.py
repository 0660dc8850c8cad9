"""RADIUS accounting, without a socket."""
