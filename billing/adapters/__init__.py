"""Billing's IO: the business database, CoA over UDP, notification channels, PDF."""
