"""Every counter of the runner and its meaning. Stages add their own under their names."""

COUNTERS: dict[str, str] = {
    "stream_steps": "steps executed, data or watermark",
    "stream_blocks_read": "raw log blocks taken by first stages",
    "stream_rows_read": "topic rows taken by stages",
    "stream_rows_appended": "topic rows appended by stages",
    "stream_records_trimmed": "topic records deleted after everyone consumed them",
    "stream_state_evicted": "state values that the cache had no room for; read again if asked",
    "stream_commits": "transactions committed by the runner",
}
