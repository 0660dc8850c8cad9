CREATE INDEX ix_desired_service_decided_at ON desired_service (decided_at);
