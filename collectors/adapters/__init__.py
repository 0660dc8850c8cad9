"""What touches the outside: sockets, the raw logs' segments, capture files."""
