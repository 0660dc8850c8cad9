CREATE TABLE voucher_batch (
    batch_id TEXT NOT NULL,
    branch_id TEXT NOT NULL,
    name TEXT NOT NULL,
    amount_minor BIGINT NOT NULL,
    currency TEXT NOT NULL,
    quantity BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    expires_at BIGINT,
    voided_at BIGINT,
    sold_at BIGINT,
    CONSTRAINT pk_voucher_batch PRIMARY KEY (batch_id),
    CONSTRAINT fk_voucher_batch_branch_id_branch FOREIGN KEY (branch_id) REFERENCES branch (branch_id)
);
CREATE INDEX ix_voucher_batch_branch_id_batch_id ON voucher_batch (branch_id, batch_id);
CREATE TABLE voucher (
    code_hash TEXT NOT NULL,
    batch_id TEXT NOT NULL,
    serial BIGINT NOT NULL,
    voided_at BIGINT,
    redeemed_at BIGINT,
    rating_key TEXT NOT NULL DEFAULT '',
    redemptions BIGINT NOT NULL DEFAULT 0,
    event_id TEXT NOT NULL DEFAULT '',
    CONSTRAINT pk_voucher PRIMARY KEY (code_hash),
    CONSTRAINT uq_voucher_batch_id_serial UNIQUE (batch_id, serial),
    CONSTRAINT fk_voucher_batch_id_voucher_batch FOREIGN KEY (batch_id) REFERENCES voucher_batch (batch_id)
);
CREATE TABLE voucher_attempt (
    rating_key TEXT NOT NULL,
    window_at BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    CONSTRAINT pk_voucher_attempt PRIMARY KEY (rating_key, window_at)
);
CREATE INDEX ix_voucher_attempt_window_at ON voucher_attempt (window_at);
