"""Acting, pure: desired service against live sessions becomes commands, and commands settle."""
