CREATE TABLE balance_bucket (
    rating_key TEXT NOT NULL,
    bucket_id TEXT NOT NULL,
    unit TEXT NOT NULL,
    meter_id TEXT NOT NULL,
    priority BIGINT NOT NULL,
    amount BIGINT NOT NULL,
    spent BIGINT NOT NULL,
    rolled_over BIGINT NOT NULL,
    expired BIGINT NOT NULL,
    valid_from_at BIGINT NOT NULL,
    valid_until_at BIGINT,
    is_final BOOLEAN NOT NULL,
    CONSTRAINT pk_balance_bucket PRIMARY KEY (rating_key, bucket_id)
);
CREATE INDEX ix_balance_bucket_is_final_unit ON balance_bucket (is_final, unit);
