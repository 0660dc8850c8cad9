"""Reports: pure functions from rows (polars frames) to frozen tables that tie out to the ledger."""
