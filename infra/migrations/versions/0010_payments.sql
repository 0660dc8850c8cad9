ALTER TABLE invoice ADD COLUMN written_off_minor BIGINT DEFAULT '0' NOT NULL;
CREATE TABLE payment_kept AS SELECT * FROM payment;
DROP TABLE payment;
CREATE TABLE payment (
    payment_id TEXT NOT NULL,
    branch_id TEXT NOT NULL,
    account_id TEXT NOT NULL,
    invoice_id TEXT,
    method TEXT NOT NULL,
    reference TEXT NOT NULL,
    amount_minor BIGINT NOT NULL,
    currency TEXT NOT NULL,
    received_at BIGINT NOT NULL,
    recorded_by TEXT NOT NULL,
    status TEXT DEFAULT 'settled' NOT NULL,
    settled_at BIGINT,
    reason TEXT DEFAULT '' NOT NULL,
    payer TEXT DEFAULT '' NOT NULL,
    shift_id TEXT DEFAULT '' NOT NULL,
    wanted TEXT DEFAULT '[]' NOT NULL,
    keeps_rest BOOLEAN DEFAULT false NOT NULL,
    CONSTRAINT pk_payment PRIMARY KEY (payment_id),
    CONSTRAINT uq_payment_branch_id_method_reference UNIQUE (branch_id, method, reference),
    CONSTRAINT ck_payment_status CHECK (status IN ('pending', 'settled', 'failed', 'reversed')),
    CONSTRAINT fk_payment_branch_id_branch FOREIGN KEY(branch_id) REFERENCES branch (branch_id),
    CONSTRAINT fk_payment_account_id_account FOREIGN KEY(account_id) REFERENCES account (account_id),
    CONSTRAINT fk_payment_invoice_id_invoice FOREIGN KEY(invoice_id) REFERENCES invoice (invoice_id)
);
CREATE INDEX ix_payment_invoice_id ON payment (invoice_id);
CREATE INDEX ix_payment_account_id_received_at ON payment (account_id, received_at);
CREATE INDEX ix_payment_pending ON payment (account_id) WHERE status = 'pending';
INSERT INTO payment (payment_id, branch_id, account_id, invoice_id, method, reference, amount_minor,
    currency, received_at, recorded_by, settled_at)
SELECT payment_id, branch_id, account_id, invoice_id, method, reference, amount_minor,
    currency, received_at, recorded_by, received_at FROM payment_kept;
DROP TABLE payment_kept;
CREATE TABLE customer_credit (
    credit_id TEXT NOT NULL,
    branch_id TEXT NOT NULL,
    account_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    amount_minor BIGINT NOT NULL,
    left_minor BIGINT NOT NULL,
    currency TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    CONSTRAINT pk_customer_credit PRIMARY KEY (credit_id),
    CONSTRAINT ck_customer_credit_kind CHECK (kind IN ('payment', 'credit_note')),
    CONSTRAINT ck_customer_credit_left CHECK (left_minor >= 0 AND left_minor <= amount_minor),
    CONSTRAINT fk_customer_credit_branch_id_branch FOREIGN KEY(branch_id) REFERENCES branch (branch_id),
    CONSTRAINT fk_customer_credit_account_id_account FOREIGN KEY(account_id) REFERENCES account (account_id)
);
CREATE INDEX ix_customer_credit_account_id_currency ON customer_credit (account_id, currency);
CREATE TABLE allocation (
    allocation_id TEXT NOT NULL,
    branch_id TEXT NOT NULL,
    account_id TEXT NOT NULL,
    credit_id TEXT NOT NULL,
    invoice_id TEXT NOT NULL,
    amount_minor BIGINT NOT NULL,
    recovered_minor BIGINT NOT NULL,
    currency TEXT NOT NULL,
    taken_minor BIGINT NOT NULL,
    taken_currency TEXT NOT NULL,
    rate TEXT NOT NULL,
    allocated_at BIGINT NOT NULL,
    allocated_by TEXT NOT NULL,
    CONSTRAINT pk_allocation PRIMARY KEY (allocation_id),
    CONSTRAINT fk_allocation_branch_id_branch FOREIGN KEY(branch_id) REFERENCES branch (branch_id),
    CONSTRAINT fk_allocation_account_id_account FOREIGN KEY(account_id) REFERENCES account (account_id),
    CONSTRAINT fk_allocation_credit_id_customer_credit FOREIGN KEY(credit_id) REFERENCES customer_credit (credit_id),
    CONSTRAINT fk_allocation_invoice_id_invoice FOREIGN KEY(invoice_id) REFERENCES invoice (invoice_id)
);
CREATE INDEX ix_allocation_credit_id ON allocation (credit_id);
CREATE INDEX ix_allocation_invoice_id ON allocation (invoice_id);
CREATE TABLE refund (
    refund_id TEXT NOT NULL,
    branch_id TEXT NOT NULL,
    account_id TEXT NOT NULL,
    method TEXT NOT NULL,
    reference TEXT NOT NULL,
    amount_minor BIGINT NOT NULL,
    currency TEXT NOT NULL,
    refunded_at BIGINT NOT NULL,
    refunded_by TEXT NOT NULL,
    reason TEXT NOT NULL,
    shift_id TEXT DEFAULT '' NOT NULL,
    CONSTRAINT pk_refund PRIMARY KEY (refund_id),
    CONSTRAINT uq_refund_branch_id_method_reference UNIQUE (branch_id, method, reference),
    CONSTRAINT fk_refund_branch_id_branch FOREIGN KEY(branch_id) REFERENCES branch (branch_id),
    CONSTRAINT fk_refund_account_id_account FOREIGN KEY(account_id) REFERENCES account (account_id)
);
CREATE INDEX ix_refund_account_id_refunded_at ON refund (account_id, refunded_at);
CREATE TABLE refund_part (
    refund_id TEXT NOT NULL,
    credit_id TEXT NOT NULL,
    amount_minor BIGINT NOT NULL,
    CONSTRAINT pk_refund_part PRIMARY KEY (refund_id, credit_id),
    CONSTRAINT fk_refund_part_refund_id_refund FOREIGN KEY(refund_id) REFERENCES refund (refund_id),
    CONSTRAINT fk_refund_part_credit_id_customer_credit FOREIGN KEY(credit_id) REFERENCES customer_credit (credit_id)
);
CREATE INDEX ix_refund_part_credit_id ON refund_part (credit_id);
CREATE TABLE write_off (
    write_off_id TEXT NOT NULL,
    branch_id TEXT NOT NULL,
    account_id TEXT NOT NULL,
    invoice_id TEXT NOT NULL,
    amount_minor BIGINT NOT NULL,
    currency TEXT NOT NULL,
    written_off_at BIGINT NOT NULL,
    written_off_by TEXT NOT NULL,
    reason TEXT NOT NULL,
    CONSTRAINT pk_write_off PRIMARY KEY (write_off_id),
    CONSTRAINT fk_write_off_branch_id_branch FOREIGN KEY(branch_id) REFERENCES branch (branch_id),
    CONSTRAINT fk_write_off_account_id_account FOREIGN KEY(account_id) REFERENCES account (account_id),
    CONSTRAINT fk_write_off_invoice_id_invoice FOREIGN KEY(invoice_id) REFERENCES invoice (invoice_id)
);
CREATE INDEX ix_write_off_invoice_id ON write_off (invoice_id);
INSERT INTO customer_credit
SELECT p.payment_id, p.branch_id, p.account_id, 'payment', -e.amount_minor, 0, p.currency, p.received_at
FROM payment p
JOIN ledger_entry e ON e.transaction_id = 'payment:' || p.payment_id
JOIN ledger_account a ON a.ledger_account_id = e.ledger_account_id AND a.code = 'receivable';
INSERT INTO allocation
SELECT c.credit_id || '/1', c.branch_id, c.account_id, c.credit_id, p.invoice_id, c.amount_minor, 0,
    c.currency, c.amount_minor, c.currency, '', p.received_at, p.recorded_by
FROM customer_credit c JOIN payment p ON p.payment_id = c.credit_id;
