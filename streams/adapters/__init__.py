"""Where topics, state and positions live: SQLite on one machine."""
