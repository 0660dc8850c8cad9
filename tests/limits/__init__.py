"""Limits: full disks, hostile input, and that every buffer has a setting and a counter."""
