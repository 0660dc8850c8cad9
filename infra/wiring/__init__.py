"""Where adapters are chosen, and nowhere else: settings in, ports out.

One module per process, so that each loads only what it runs: `paths` says where things lie,
`logs` `engine` `office` `store` `web` build what the process of that name needs. Embedded mode:
SQLite for state, topics and business data, segments for raw logs, chDB behind the store's endpoint.
"""
