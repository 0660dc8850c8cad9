CREATE INDEX ix_account_event_result_outcome ON account_event_result (outcome);
CREATE INDEX ix_subscriber_status ON subscriber (status);
