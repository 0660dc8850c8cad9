"""Octets from the network: received, made durable, and decoded into records; never interpreted."""
