"""Seeded simulations against an independent auditor (DESIGN §3, STYLE 14)."""
