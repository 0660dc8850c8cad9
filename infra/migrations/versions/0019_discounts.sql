ALTER TABLE product ADD COLUMN tax_code TEXT NOT NULL DEFAULT '';
CREATE TABLE discount (
    discount_id TEXT NOT NULL,
    branch_id TEXT NOT NULL,
    name TEXT NOT NULL,
    who TEXT NOT NULL,
    percent TEXT NOT NULL,
    amount_minor BIGINT NOT NULL,
    currency TEXT NOT NULL,
    applies_to TEXT NOT NULL,
    is_bundle BOOLEAN NOT NULL,
    rank BIGINT NOT NULL,
    periods BIGINT NOT NULL,
    starts_at BIGINT,
    ends_at BIGINT,
    segment TEXT NOT NULL,
    months_min BIGINT NOT NULL,
    code TEXT NOT NULL,
    uses_max BIGINT NOT NULL,
    CONSTRAINT pk_discount PRIMARY KEY (discount_id),
    CONSTRAINT fk_discount_branch_id_branch FOREIGN KEY(branch_id) REFERENCES branch (branch_id)
);
CREATE INDEX ix_discount_branch_id_discount_id ON discount (branch_id, discount_id);
CREATE INDEX ix_discount_everyone ON discount (branch_id) WHERE who = 'everyone';
CREATE UNIQUE INDEX ux_discount_code ON discount (branch_id, code) WHERE code <> '';
CREATE TABLE discount_grant (
    grant_id TEXT NOT NULL,
    discount_id TEXT NOT NULL,
    branch_id TEXT NOT NULL,
    account_id TEXT NOT NULL,
    reason TEXT NOT NULL,
    granted_at BIGINT NOT NULL,
    CONSTRAINT pk_discount_grant PRIMARY KEY (grant_id),
    CONSTRAINT uq_discount_grant_discount_id_account_id_reason UNIQUE (discount_id, account_id, reason),
    CONSTRAINT fk_discount_grant_discount_id_discount FOREIGN KEY(discount_id) REFERENCES discount (discount_id),
    CONSTRAINT fk_discount_grant_branch_id_branch FOREIGN KEY(branch_id) REFERENCES branch (branch_id),
    CONSTRAINT fk_discount_grant_account_id_account FOREIGN KEY(account_id) REFERENCES account (account_id)
);
CREATE INDEX ix_discount_grant_account_id ON discount_grant (account_id);
CREATE TABLE discount_use (
    grant_id TEXT NOT NULL,
    invoice_id TEXT NOT NULL,
    amount_minor BIGINT NOT NULL,
    CONSTRAINT pk_discount_use PRIMARY KEY (grant_id, invoice_id),
    CONSTRAINT fk_discount_use_invoice_id_invoice FOREIGN KEY(invoice_id) REFERENCES invoice (invoice_id)
);
CREATE INDEX ix_discount_use_invoice_id ON discount_use (invoice_id);
