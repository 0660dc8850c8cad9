CREATE TABLE customer_group (
    group_id TEXT NOT NULL,
    branch_id TEXT NOT NULL,
    name TEXT NOT NULL,
    terms_days BIGINT,
    grace_days BIGINT,
    schedule_id TEXT DEFAULT '' NOT NULL,
    CONSTRAINT pk_customer_group PRIMARY KEY (group_id),
    CONSTRAINT fk_customer_group_branch_id_branch FOREIGN KEY(branch_id) REFERENCES branch (branch_id)
);
CREATE INDEX ix_customer_group_branch_id_group_id ON customer_group (branch_id, group_id);
CREATE TABLE branch_terms (
    branch_id TEXT NOT NULL,
    terms_days BIGINT,
    grace_days BIGINT,
    schedule_id TEXT DEFAULT '' NOT NULL,
    CONSTRAINT pk_branch_terms PRIMARY KEY (branch_id),
    CONSTRAINT fk_branch_terms_branch_id_branch FOREIGN KEY(branch_id) REFERENCES branch (branch_id)
);
CREATE TABLE account_terms (
    account_id TEXT NOT NULL,
    group_id TEXT DEFAULT '' NOT NULL,
    terms_days BIGINT,
    grace_days BIGINT,
    schedule_id TEXT DEFAULT '' NOT NULL,
    CONSTRAINT pk_account_terms PRIMARY KEY (account_id),
    CONSTRAINT fk_account_terms_account_id_account FOREIGN KEY(account_id) REFERENCES account (account_id)
);
CREATE INDEX ix_account_terms_group_id ON account_terms (group_id);
CREATE TABLE branch_holiday (
    branch_id TEXT NOT NULL,
    day_on TEXT NOT NULL,
    name TEXT NOT NULL,
    CONSTRAINT pk_branch_holiday PRIMARY KEY (branch_id, day_on),
    CONSTRAINT fk_branch_holiday_branch_id_branch FOREIGN KEY(branch_id) REFERENCES branch (branch_id)
);
CREATE TABLE dunning_schedule (
    schedule_id TEXT NOT NULL,
    version BIGINT NOT NULL,
    branch_id TEXT NOT NULL,
    name TEXT NOT NULL,
    document TEXT NOT NULL,
    valid_from_at BIGINT NOT NULL,
    CONSTRAINT pk_dunning_schedule PRIMARY KEY (schedule_id, version),
    CONSTRAINT fk_dunning_schedule_branch_id_branch FOREIGN KEY(branch_id) REFERENCES branch (branch_id)
);
CREATE TABLE dunning_step (
    account_id TEXT NOT NULL,
    item_id TEXT NOT NULL,
    step_id TEXT NOT NULL,
    branch_id TEXT NOT NULL,
    invoice_id TEXT NOT NULL,
    schedule_id TEXT NOT NULL,
    version BIGINT NOT NULL,
    action TEXT NOT NULL,
    profile TEXT DEFAULT '' NOT NULL,
    taken_on TEXT NOT NULL,
    taken_at BIGINT NOT NULL,
    open_minor BIGINT NOT NULL,
    currency TEXT NOT NULL,
    effect TEXT DEFAULT '' NOT NULL,
    CONSTRAINT pk_dunning_step PRIMARY KEY (account_id, item_id, step_id),
    CONSTRAINT fk_dunning_step_account_id_account FOREIGN KEY(account_id) REFERENCES account (account_id),
    CONSTRAINT fk_dunning_step_branch_id_branch FOREIGN KEY(branch_id) REFERENCES branch (branch_id),
    CONSTRAINT fk_dunning_step_invoice_id_invoice FOREIGN KEY(invoice_id) REFERENCES invoice (invoice_id)
);
CREATE INDEX ix_dunning_step_branch_id_taken_at ON dunning_step (branch_id, taken_at);
CREATE TABLE dunning_pause (
    pause_id TEXT NOT NULL,
    branch_id TEXT NOT NULL,
    account_id TEXT NOT NULL,
    invoice_id TEXT DEFAULT '' NOT NULL,
    kind TEXT NOT NULL,
    restores BOOLEAN NOT NULL,
    from_on TEXT NOT NULL,
    until_on TEXT,
    amount_minor BIGINT DEFAULT '0' NOT NULL,
    currency TEXT DEFAULT '' NOT NULL,
    reason TEXT DEFAULT '' NOT NULL,
    made_at BIGINT NOT NULL,
    made_by TEXT NOT NULL,
    ended_on TEXT,
    ended_at BIGINT,
    ended_by TEXT DEFAULT '' NOT NULL,
    outcome TEXT DEFAULT '' NOT NULL,
    CONSTRAINT pk_dunning_pause PRIMARY KEY (pause_id),
    CONSTRAINT ck_dunning_pause_kind CHECK (kind IN ('promise', 'hold', 'dispute', 'exemption')),
    CONSTRAINT fk_dunning_pause_branch_id_branch FOREIGN KEY(branch_id) REFERENCES branch (branch_id),
    CONSTRAINT fk_dunning_pause_account_id_account FOREIGN KEY(account_id) REFERENCES account (account_id)
);
CREATE INDEX ix_dunning_pause_account_id ON dunning_pause (account_id);
CREATE INDEX ix_dunning_pause_standing ON dunning_pause (account_id) WHERE ended_at IS NULL;
CREATE TABLE dunning_restriction (
    account_id TEXT NOT NULL,
    branch_id TEXT NOT NULL,
    action TEXT NOT NULL,
    profile TEXT DEFAULT '' NOT NULL,
    item_id TEXT NOT NULL,
    step_id TEXT NOT NULL,
    reason TEXT NOT NULL,
    decided_at BIGINT NOT NULL,
    CONSTRAINT pk_dunning_restriction PRIMARY KEY (account_id),
    CONSTRAINT fk_dunning_restriction_account_id_account FOREIGN KEY(account_id) REFERENCES account (account_id),
    CONSTRAINT fk_dunning_restriction_branch_id_branch FOREIGN KEY(branch_id) REFERENCES branch (branch_id)
);
