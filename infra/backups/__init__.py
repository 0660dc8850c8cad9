"""Backups: one folder with a manifest, from a running Flowrate, restored only into emptiness."""
