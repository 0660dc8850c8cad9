"""Queries on the business database, scoped to a branch."""
