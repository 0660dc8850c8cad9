CREATE TABLE charge (
    charge_id TEXT NOT NULL,
    branch_id TEXT NOT NULL,
    account_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    description TEXT NOT NULL,
    amount_minor BIGINT NOT NULL,
    currency TEXT NOT NULL,
    due_at BIGINT NOT NULL,
    quantity BIGINT NOT NULL,
    subject TEXT NOT NULL,
    product_id TEXT NOT NULL,
    service_id TEXT NOT NULL,
    tax_percent TEXT NOT NULL,
    tax_inclusive BOOLEAN NOT NULL,
    covers_from_at BIGINT,
    covers_until_at BIGINT,
    invoice_id TEXT,
    CONSTRAINT pk_charge PRIMARY KEY (charge_id),
    CONSTRAINT fk_charge_branch_id_branch FOREIGN KEY(branch_id) REFERENCES branch (branch_id),
    CONSTRAINT fk_charge_account_id_account FOREIGN KEY(account_id) REFERENCES account (account_id),
    CONSTRAINT fk_charge_invoice_id_invoice FOREIGN KEY(invoice_id) REFERENCES invoice (invoice_id)
);
CREATE INDEX ix_charge_account_id_due_at ON charge (account_id, due_at);
CREATE INDEX ix_charge_invoice_id ON charge (invoice_id);
CREATE INDEX ix_charge_waiting ON charge (account_id, due_at) WHERE invoice_id IS NULL;
