CREATE INDEX ix_desired_service_target ON desired_service (target) WHERE target <> 'active';
CREATE INDEX ix_directory_entry_pooled ON directory_entry (match) WHERE kind = 'membership' AND target <> match;
CREATE INDEX ix_command_pending ON command (requested_at, command_id) WHERE outcome = 'pending' AND settled_at IS NULL;
