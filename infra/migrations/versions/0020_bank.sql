CREATE TABLE bank_entry (
    entry_id TEXT NOT NULL,
    branch_id TEXT NOT NULL,
    bank_account TEXT NOT NULL,
    booked_on TEXT NOT NULL,
    amount_minor BIGINT NOT NULL,
    currency TEXT NOT NULL,
    reference TEXT NOT NULL,
    end_to_end_id TEXT NOT NULL,
    remittance TEXT NOT NULL,
    payer TEXT NOT NULL,
    payer_account TEXT NOT NULL,
    is_reversal BOOLEAN NOT NULL,
    remark TEXT NOT NULL,
    status TEXT NOT NULL,
    reason TEXT NOT NULL,
    suggestion TEXT NOT NULL,
    account_id TEXT,
    payment_id TEXT,
    imported_at BIGINT NOT NULL,
    resolved_at BIGINT,
    resolved_by TEXT NOT NULL,
    CONSTRAINT pk_bank_entry PRIMARY KEY (entry_id),
    CONSTRAINT ck_bank_entry_status CHECK (status IN ('matched', 'unmatched', 'reversed', 'outgoing', 'ignored')),
    CONSTRAINT fk_bank_entry_branch_id_branch FOREIGN KEY(branch_id) REFERENCES branch (branch_id),
    CONSTRAINT fk_bank_entry_account_id_account FOREIGN KEY(account_id) REFERENCES account (account_id),
    CONSTRAINT fk_bank_entry_payment_id_payment FOREIGN KEY(payment_id) REFERENCES payment (payment_id)
);
CREATE INDEX ix_bank_entry_branch_id_payer_account ON bank_entry (branch_id, payer_account);
CREATE INDEX ix_bank_entry_branch_id_status_entry_id ON bank_entry (branch_id, status, entry_id);
CREATE INDEX ix_bank_entry_payment_id ON bank_entry (payment_id);
