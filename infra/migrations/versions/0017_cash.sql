CREATE TABLE cash_shift (
    shift_id TEXT NOT NULL,
    branch_id TEXT NOT NULL,
    cashier_id TEXT NOT NULL,
    cashier TEXT NOT NULL,
    currency TEXT NOT NULL,
    opened_at BIGINT NOT NULL,
    float_minor BIGINT NOT NULL,
    closed_at BIGINT,
    counted_minor BIGINT,
    expected_minor BIGINT,
    closing_number TEXT NOT NULL,
    note TEXT NOT NULL,
    CONSTRAINT pk_cash_shift PRIMARY KEY (shift_id),
    CONSTRAINT ck_cash_shift_float CHECK (float_minor >= 0),
    CONSTRAINT fk_cash_shift_branch_id_branch FOREIGN KEY(branch_id) REFERENCES branch (branch_id)
);
CREATE INDEX ix_cash_shift_branch_id_opened_at ON cash_shift (branch_id, opened_at);
CREATE UNIQUE INDEX ix_cash_shift_open ON cash_shift (cashier_id) WHERE closed_at IS NULL;
CREATE TABLE cash_movement (
    shift_id TEXT NOT NULL,
    number BIGINT NOT NULL,
    branch_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    amount_minor BIGINT NOT NULL,
    receipt_number TEXT NOT NULL,
    business_id TEXT NOT NULL,
    purpose TEXT NOT NULL,
    reason TEXT NOT NULL,
    moved_at BIGINT NOT NULL,
    CONSTRAINT pk_cash_movement PRIMARY KEY (shift_id, number),
    CONSTRAINT ck_cash_movement_kind CHECK (kind IN ('payment', 'refund', 'paid_in', 'paid_out')),
    CONSTRAINT fk_cash_movement_shift_id_cash_shift FOREIGN KEY(shift_id) REFERENCES cash_shift (shift_id),
    CONSTRAINT fk_cash_movement_branch_id_branch FOREIGN KEY(branch_id) REFERENCES branch (branch_id)
);
CREATE INDEX ix_cash_movement_business_id ON cash_movement (business_id);
