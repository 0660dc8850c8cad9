CREATE TABLE deposit (
    deposit_id TEXT NOT NULL,
    branch_id TEXT NOT NULL,
    account_id TEXT NOT NULL,
    amount_minor BIGINT NOT NULL,
    held_minor BIGINT NOT NULL,
    currency TEXT NOT NULL,
    reason TEXT NOT NULL,
    taken_at BIGINT NOT NULL,
    taken_by TEXT NOT NULL,
    CONSTRAINT pk_deposit PRIMARY KEY (deposit_id),
    CONSTRAINT ck_deposit_held CHECK (held_minor >= 0 AND held_minor <= amount_minor),
    CONSTRAINT fk_deposit_branch_id_branch FOREIGN KEY(branch_id) REFERENCES branch (branch_id),
    CONSTRAINT fk_deposit_account_id_account FOREIGN KEY(account_id) REFERENCES account (account_id)
);
CREATE INDEX ix_deposit_account_id ON deposit (account_id);
CREATE TABLE deposit_movement (
    deposit_id TEXT NOT NULL,
    number BIGINT NOT NULL,
    step BIGINT NOT NULL,
    credit_id TEXT NOT NULL,
    amount_minor BIGINT NOT NULL,
    moved_at BIGINT NOT NULL,
    moved_by TEXT NOT NULL,
    reason TEXT NOT NULL,
    CONSTRAINT pk_deposit_movement PRIMARY KEY (deposit_id, number),
    CONSTRAINT fk_deposit_movement_deposit_id_deposit FOREIGN KEY(deposit_id) REFERENCES deposit (deposit_id),
    CONSTRAINT fk_deposit_movement_credit_id_customer_credit FOREIGN KEY(credit_id) REFERENCES customer_credit (credit_id)
);
