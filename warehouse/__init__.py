"""The warehouse: rated usage in ClickHouse, read by API, CLI and dashboards.

Read in the order data flows: `tables` (what is kept), `migrations`, `intents` and `sink` (how
`usage.rated` gets in exactly once), `engine`, `statements`, `http_protocol`, `endpoint` and
`store` (the process that owns chDB and speaks ClickHouse's HTTP), `connect` and `queries` (how
everybody reads).
"""
