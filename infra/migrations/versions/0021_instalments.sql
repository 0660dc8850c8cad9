CREATE TABLE instalment_plan (
    plan_id TEXT NOT NULL,
    branch_id TEXT NOT NULL,
    account_id TEXT NOT NULL,
    invoice_id TEXT NOT NULL,
    is_cancelled BOOLEAN NOT NULL,
    paid_before_minor BIGINT NOT NULL,
    currency TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    CONSTRAINT pk_instalment_plan PRIMARY KEY (plan_id),
    CONSTRAINT fk_instalment_plan_branch_id_branch FOREIGN KEY(branch_id) REFERENCES branch (branch_id),
    CONSTRAINT fk_instalment_plan_account_id_account FOREIGN KEY(account_id) REFERENCES account (account_id),
    CONSTRAINT fk_instalment_plan_invoice_id_invoice FOREIGN KEY(invoice_id) REFERENCES invoice (invoice_id)
);
CREATE INDEX ix_instalment_plan_account_id ON instalment_plan (account_id);
CREATE UNIQUE INDEX ix_instalment_plan_standing ON instalment_plan (invoice_id) WHERE NOT is_cancelled;
CREATE TABLE instalment (
    plan_id TEXT NOT NULL,
    number BIGINT NOT NULL,
    due_on TEXT NOT NULL,
    amount_minor BIGINT NOT NULL,
    CONSTRAINT pk_instalment PRIMARY KEY (plan_id, number),
    CONSTRAINT fk_instalment_plan_id_instalment_plan FOREIGN KEY(plan_id) REFERENCES instalment_plan (plan_id)
);
