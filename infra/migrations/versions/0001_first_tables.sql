-- SQL that SQLite and PostgreSQL both read: no type but BIGINT, TEXT and BOOLEAN.
CREATE TABLE account_event_result (
    event_id TEXT NOT NULL,
    outcome TEXT NOT NULL,
    reason TEXT NOT NULL,
    decided_at BIGINT NOT NULL,
    CONSTRAINT pk_account_event_result PRIMARY KEY (event_id)
);
CREATE TABLE alert (
    alert_id TEXT NOT NULL,
    rating_key TEXT NOT NULL,
    period_start_at BIGINT NOT NULL,
    meter_id TEXT NOT NULL,
    percent BIGINT NOT NULL,
    quantity BIGINT NOT NULL,
    threshold BIGINT NOT NULL,
    raised_at BIGINT NOT NULL,
    CONSTRAINT pk_alert PRIMARY KEY (alert_id)
);
CREATE INDEX ix_alert_raised_at ON alert (raised_at);
CREATE INDEX ix_alert_rating_key ON alert (rating_key);
CREATE TABLE balance (
    rating_key TEXT NOT NULL,
    currency TEXT NOT NULL,
    amount_exact TEXT NOT NULL,
    amount_minor BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    CONSTRAINT pk_balance PRIMARY KEY (rating_key, currency)
);
CREATE TABLE branch (
    branch_id TEXT NOT NULL,
    name TEXT NOT NULL,
    timezone TEXT NOT NULL,
    currency TEXT NOT NULL,
    invoice_prefix TEXT NOT NULL,
    language TEXT NOT NULL,
    address TEXT DEFAULT '' NOT NULL,
    tax_number TEXT DEFAULT '' NOT NULL,
    phone TEXT DEFAULT '' NOT NULL,
    email TEXT DEFAULT '' NOT NULL,
    CONSTRAINT pk_branch PRIMARY KEY (branch_id)
);
CREATE TABLE command (
    command_id TEXT NOT NULL,
    branch_id TEXT DEFAULT '' NOT NULL,
    subscriber_id TEXT NOT NULL,
    session_id TEXT NOT NULL,
    nas_id TEXT DEFAULT '' NOT NULL,
    kind TEXT NOT NULL,
    target TEXT NOT NULL,
    previous_target TEXT DEFAULT '' NOT NULL,
    profile TEXT DEFAULT '' NOT NULL,
    attempt BIGINT NOT NULL,
    vendor_profile TEXT NOT NULL,
    identifier BIGINT,
    error_cause BIGINT,
    outcome TEXT NOT NULL,
    requested_at BIGINT NOT NULL,
    sent_at BIGINT,
    acknowledged_at BIGINT,
    verified_at BIGINT,
    reason TEXT NOT NULL,
    desired_hash TEXT DEFAULT '' NOT NULL,
    settled_at BIGINT,
    is_current BOOLEAN DEFAULT true NOT NULL,
    CONSTRAINT pk_command PRIMARY KEY (command_id),
    CONSTRAINT ck_command_kind CHECK (kind IN ('coa', 'disconnect'))
);
CREATE INDEX ix_command_is_current ON command (is_current);
CREATE INDEX ix_command_outcome ON command (outcome);
CREATE INDEX ix_command_requested_at ON command (requested_at);
CREATE INDEX ix_command_session_id_is_current ON command (session_id, is_current);
CREATE INDEX ix_command_subscriber_id_requested_at ON command (subscriber_id, requested_at);
CREATE TABLE desired_service (
    rating_key TEXT NOT NULL,
    target TEXT NOT NULL,
    reason TEXT NOT NULL,
    decided_at BIGINT NOT NULL,
    CONSTRAINT pk_desired_service PRIMARY KEY (rating_key)
);
CREATE TABLE live_session (
    session_id TEXT NOT NULL,
    nas_id TEXT NOT NULL,
    nas_address TEXT NOT NULL,
    acct_session_id TEXT NOT NULL,
    subscriber_id TEXT NOT NULL,
    user_name TEXT NOT NULL,
    framed_address TEXT NOT NULL,
    delegated_prefix TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    last_seen_at BIGINT NOT NULL,
    ended_at BIGINT,
    end_cause TEXT NOT NULL,
    octets_up BIGINT NOT NULL,
    octets_down BIGINT NOT NULL,
    rate_up_bps BIGINT NOT NULL,
    rate_down_bps BIGINT NOT NULL,
    interval_start_at BIGINT NOT NULL,
    CONSTRAINT pk_live_session PRIMARY KEY (session_id)
);
CREATE INDEX ix_live_session_ended_at ON live_session (ended_at);
CREATE INDEX ix_live_session_subscriber_id ON live_session (subscriber_id);
CREATE TABLE notification (
    notification_id TEXT NOT NULL,
    branch_id TEXT DEFAULT '' NOT NULL,
    kind TEXT NOT NULL,
    subject_key TEXT NOT NULL,
    channel TEXT NOT NULL,
    recipient TEXT NOT NULL,
    subject TEXT NOT NULL,
    body TEXT NOT NULL,
    outcome TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    attempted_at BIGINT,
    settled_at BIGINT,
    reason TEXT DEFAULT '' NOT NULL,
    CONSTRAINT pk_notification PRIMARY KEY (notification_id)
);
CREATE INDEX ix_notification_created_at ON notification (created_at);
CREATE INDEX ix_notification_outcome ON notification (outcome);
CREATE TABLE office_cursor (
    name TEXT NOT NULL,
    position BIGINT NOT NULL,
    CONSTRAINT pk_office_cursor PRIMARY KEY (name)
);
CREATE TABLE period_closing (
    rating_key TEXT NOT NULL,
    period_start_at BIGINT NOT NULL,
    period_end_at BIGINT NOT NULL,
    closed_at BIGINT NOT NULL,
    is_complete BOOLEAN NOT NULL,
    reason TEXT NOT NULL,
    CONSTRAINT pk_period_closing PRIMARY KEY (rating_key, period_start_at)
);
CREATE INDEX ix_period_closing_closed_at ON period_closing (closed_at);
CREATE INDEX ix_period_closing_period_end_at ON period_closing (period_end_at);
CREATE TABLE unattributed_minute (
    source TEXT NOT NULL,
    detail TEXT NOT NULL,
    minute BIGINT NOT NULL,
    octets_up BIGINT NOT NULL,
    octets_down BIGINT NOT NULL,
    CONSTRAINT pk_unattributed_minute PRIMARY KEY (source, detail, minute)
);
CREATE TABLE usage_charge (
    rating_key TEXT NOT NULL,
    period_start_at BIGINT NOT NULL,
    segment_number BIGINT NOT NULL,
    meter_id TEXT NOT NULL,
    revision BIGINT NOT NULL,
    period_end_at BIGINT NOT NULL,
    plan_id TEXT NOT NULL,
    plan_version BIGINT NOT NULL,
    quantity BIGINT NOT NULL,
    amount_exact TEXT NOT NULL,
    amount_minor BIGINT NOT NULL,
    currency TEXT NOT NULL,
    description TEXT NOT NULL,
    closed_at BIGINT NOT NULL,
    CONSTRAINT pk_usage_charge PRIMARY KEY (rating_key, period_start_at, segment_number, meter_id, revision)
);
CREATE INDEX ix_usage_charge_closed_at ON usage_charge (closed_at);
CREATE TABLE usage_counter (
    rating_key TEXT NOT NULL,
    period_start_at BIGINT NOT NULL,
    segment_number BIGINT NOT NULL,
    meter_id TEXT NOT NULL,
    period_end_at BIGINT NOT NULL,
    plan_id TEXT NOT NULL,
    plan_version BIGINT NOT NULL,
    quantity BIGINT NOT NULL,
    allowance BIGINT,
    amount_exact TEXT NOT NULL,
    amount_minor BIGINT NOT NULL,
    currency TEXT NOT NULL,
    updated_at BIGINT NOT NULL,
    CONSTRAINT pk_usage_counter PRIMARY KEY (rating_key, period_start_at, segment_number, meter_id)
);
CREATE INDEX ix_usage_counter_period_end_at ON usage_counter (period_end_at);
CREATE TABLE usage_day (
    rating_key TEXT NOT NULL,
    meter_id TEXT NOT NULL,
    day_on TEXT NOT NULL,
    segment_number BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    period_start_at BIGINT NOT NULL,
    quantity BIGINT NOT NULL,
    amount_minor BIGINT NOT NULL,
    currency TEXT NOT NULL,
    posted_at BIGINT NOT NULL,
    CONSTRAINT pk_usage_day PRIMARY KEY (rating_key, meter_id, day_on, segment_number, revision)
);
CREATE INDEX ix_usage_day_posted_at ON usage_day (posted_at);
CREATE INDEX ix_usage_day_rating_key_period_start_at ON usage_day (rating_key, period_start_at);
CREATE TABLE account (
    account_id TEXT NOT NULL,
    branch_id TEXT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    email TEXT NOT NULL,
    phone TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    address TEXT DEFAULT '' NOT NULL,
    cycle TEXT DEFAULT 'monthly' NOT NULL,
    anchor_day BIGINT DEFAULT '1' NOT NULL,
    anchor_month BIGINT DEFAULT '1' NOT NULL,
    CONSTRAINT pk_account PRIMARY KEY (account_id),
    CONSTRAINT fk_account_branch_id_branch FOREIGN KEY(branch_id) REFERENCES branch (branch_id)
);
CREATE INDEX ix_account_branch_id_account_id ON account (branch_id, account_id);
CREATE TABLE api_key (
    key_id TEXT NOT NULL,
    branch_id TEXT NOT NULL,
    hash TEXT NOT NULL,
    name TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    revoked_at BIGINT,
    CONSTRAINT pk_api_key PRIMARY KEY (key_id),
    CONSTRAINT uq_api_key_hash UNIQUE (hash),
    CONSTRAINT fk_api_key_branch_id_branch FOREIGN KEY(branch_id) REFERENCES branch (branch_id)
);
CREATE TABLE command_request (
    request_id TEXT NOT NULL,
    branch_id TEXT NOT NULL,
    subscriber_id TEXT NOT NULL,
    action TEXT NOT NULL,
    profile TEXT NOT NULL,
    requested_by TEXT NOT NULL,
    requested_at BIGINT NOT NULL,
    CONSTRAINT pk_command_request PRIMARY KEY (request_id),
    CONSTRAINT ck_command_request_action CHECK (action IN ('throttle', 'restore', 'disconnect')),
    CONSTRAINT fk_command_request_branch_id_branch FOREIGN KEY(branch_id) REFERENCES branch (branch_id)
);
CREATE INDEX ix_command_request_requested_at ON command_request (requested_at);
CREATE INDEX ix_command_request_subscriber_id_requested_at ON command_request (subscriber_id, requested_at);
CREATE TABLE directory_entry (
    entry_id TEXT NOT NULL,
    revision BIGINT NOT NULL,
    kind TEXT NOT NULL,
    match TEXT NOT NULL,
    target TEXT NOT NULL,
    priority BIGINT NOT NULL,
    valid_from_at BIGINT NOT NULL,
    valid_until_at BIGINT,
    branch_id TEXT NOT NULL,
    CONSTRAINT pk_directory_entry PRIMARY KEY (entry_id, revision),
    CONSTRAINT fk_directory_entry_branch_id_branch FOREIGN KEY(branch_id) REFERENCES branch (branch_id)
);
CREATE INDEX ix_directory_entry_kind_match ON directory_entry (kind, match);
CREATE INDEX ix_directory_entry_kind_target ON directory_entry (kind, target);
CREATE TABLE document_series (
    branch_id TEXT NOT NULL,
    series TEXT NOT NULL,
    last_number BIGINT NOT NULL,
    CONSTRAINT pk_document_series PRIMARY KEY (branch_id, series),
    CONSTRAINT fk_document_series_branch_id_branch FOREIGN KEY(branch_id) REFERENCES branch (branch_id)
);
CREATE TABLE ledger_transaction (
    transaction_id TEXT NOT NULL,
    branch_id TEXT NOT NULL,
    source TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    occurred_at BIGINT NOT NULL,
    description TEXT NOT NULL,
    chain_number BIGINT NOT NULL,
    chain_hash TEXT NOT NULL,
    recorded_at BIGINT NOT NULL,
    CONSTRAINT pk_ledger_transaction PRIMARY KEY (transaction_id),
    CONSTRAINT uq_ledger_transaction_source_idempotency_key UNIQUE (source, idempotency_key),
    CONSTRAINT uq_ledger_transaction_branch_id_chain_number UNIQUE (branch_id, chain_number),
    CONSTRAINT fk_ledger_transaction_branch_id_branch FOREIGN KEY(branch_id) REFERENCES branch (branch_id)
);
CREATE TABLE plan (
    plan_id TEXT NOT NULL,
    version BIGINT NOT NULL,
    branch_id TEXT NOT NULL,
    name TEXT NOT NULL,
    document TEXT NOT NULL,
    valid_from_at BIGINT NOT NULL,
    CONSTRAINT pk_plan PRIMARY KEY (plan_id, version),
    CONSTRAINT fk_plan_branch_id_branch FOREIGN KEY(branch_id) REFERENCES branch (branch_id)
);
CREATE TABLE invoice (
    invoice_id TEXT NOT NULL,
    branch_id TEXT NOT NULL,
    account_id TEXT NOT NULL,
    series TEXT NOT NULL,
    number TEXT,
    status TEXT NOT NULL,
    period_start_at BIGINT NOT NULL,
    period_end_at BIGINT NOT NULL,
    issued_at BIGINT,
    due_on TEXT,
    currency TEXT NOT NULL,
    subtotal_minor BIGINT NOT NULL,
    tax_minor BIGINT NOT NULL,
    total_minor BIGINT NOT NULL,
    hash TEXT NOT NULL,
    document TEXT NOT NULL,
    paid_minor BIGINT DEFAULT '0' NOT NULL,
    paid_at BIGINT,
    hold_reason TEXT DEFAULT '' NOT NULL,
    CONSTRAINT pk_invoice PRIMARY KEY (invoice_id),
    CONSTRAINT uq_invoice_account_id_period_end_at_currency UNIQUE (account_id, period_end_at, currency),
    CONSTRAINT uq_invoice_branch_id_series_number UNIQUE (branch_id, series, number),
    CONSTRAINT ck_invoice_status CHECK (status IN ('draft', 'finalized', 'paid', 'void')),
    CONSTRAINT fk_invoice_branch_id_branch FOREIGN KEY(branch_id) REFERENCES branch (branch_id),
    CONSTRAINT fk_invoice_account_id_account FOREIGN KEY(account_id) REFERENCES account (account_id)
);
CREATE INDEX ix_invoice_branch_id_status ON invoice (branch_id, status);
CREATE INDEX ix_invoice_period_end_at ON invoice (period_end_at);
CREATE TABLE ledger_account (
    ledger_account_id TEXT NOT NULL,
    branch_id TEXT NOT NULL,
    code TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    account_id TEXT,
    CONSTRAINT pk_ledger_account PRIMARY KEY (ledger_account_id),
    CONSTRAINT fk_ledger_account_branch_id_branch FOREIGN KEY(branch_id) REFERENCES branch (branch_id),
    CONSTRAINT fk_ledger_account_account_id_account FOREIGN KEY(account_id) REFERENCES account (account_id)
);
CREATE INDEX ix_ledger_account_branch_id_code ON ledger_account (branch_id, code);
CREATE TABLE pool (
    pool_id TEXT NOT NULL,
    branch_id TEXT NOT NULL,
    account_id TEXT NOT NULL,
    name TEXT NOT NULL,
    CONSTRAINT pk_pool PRIMARY KEY (pool_id),
    CONSTRAINT fk_pool_branch_id_branch FOREIGN KEY(branch_id) REFERENCES branch (branch_id),
    CONSTRAINT fk_pool_account_id_account FOREIGN KEY(account_id) REFERENCES account (account_id)
);
CREATE INDEX ix_pool_account_id ON pool (account_id);
CREATE TABLE subscriber (
    subscriber_id TEXT NOT NULL,
    branch_id TEXT NOT NULL,
    account_id TEXT NOT NULL,
    user_name TEXT NOT NULL,
    name TEXT NOT NULL,
    status TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    CONSTRAINT pk_subscriber PRIMARY KEY (subscriber_id),
    CONSTRAINT uq_subscriber_branch_id_user_name UNIQUE (branch_id, user_name),
    CONSTRAINT fk_subscriber_branch_id_branch FOREIGN KEY(branch_id) REFERENCES branch (branch_id),
    CONSTRAINT fk_subscriber_account_id_account FOREIGN KEY(account_id) REFERENCES account (account_id)
);
CREATE INDEX ix_subscriber_account_id ON subscriber (account_id);
CREATE INDEX ix_subscriber_branch_id_subscriber_id ON subscriber (branch_id, subscriber_id);
CREATE TABLE subscription (
    subscription_id TEXT NOT NULL,
    branch_id TEXT NOT NULL,
    account_id TEXT NOT NULL,
    rating_key TEXT NOT NULL,
    plan_id TEXT NOT NULL,
    plan_version BIGINT NOT NULL,
    starts_at BIGINT NOT NULL,
    ends_at BIGINT,
    CONSTRAINT pk_subscription PRIMARY KEY (subscription_id),
    CONSTRAINT fk_subscription_branch_id_branch FOREIGN KEY(branch_id) REFERENCES branch (branch_id),
    CONSTRAINT fk_subscription_account_id_account FOREIGN KEY(account_id) REFERENCES account (account_id)
);
CREATE INDEX ix_subscription_account_id ON subscription (account_id);
CREATE INDEX ix_subscription_rating_key_starts_at ON subscription (rating_key, starts_at);
CREATE TABLE billed_charge (
    rating_key TEXT NOT NULL,
    period_start_at BIGINT NOT NULL,
    segment_number BIGINT NOT NULL,
    meter_id TEXT NOT NULL,
    revision BIGINT NOT NULL,
    invoice_id TEXT NOT NULL,
    amount_minor BIGINT NOT NULL,
    true_up_minor BIGINT DEFAULT '0' NOT NULL,
    CONSTRAINT pk_billed_charge PRIMARY KEY (rating_key, period_start_at, segment_number, meter_id, revision),
    CONSTRAINT fk_billed_charge_invoice_id_invoice FOREIGN KEY(invoice_id) REFERENCES invoice (invoice_id)
);
CREATE INDEX ix_billed_charge_invoice_id ON billed_charge (invoice_id);
CREATE TABLE invoice_line (
    invoice_id TEXT NOT NULL,
    line BIGINT NOT NULL,
    kind TEXT NOT NULL,
    description TEXT NOT NULL,
    rating_key TEXT NOT NULL,
    meter_id TEXT NOT NULL,
    quantity BIGINT NOT NULL,
    unit TEXT NOT NULL,
    amount_minor BIGINT NOT NULL,
    tax_rate TEXT NOT NULL,
    evidence TEXT NOT NULL,
    CONSTRAINT pk_invoice_line PRIMARY KEY (invoice_id, line),
    CONSTRAINT fk_invoice_line_invoice_id_invoice FOREIGN KEY(invoice_id) REFERENCES invoice (invoice_id)
);
CREATE TABLE ledger_entry (
    transaction_id TEXT NOT NULL,
    line BIGINT NOT NULL,
    ledger_account_id TEXT NOT NULL,
    amount_minor BIGINT NOT NULL,
    currency TEXT NOT NULL,
    CONSTRAINT pk_ledger_entry PRIMARY KEY (transaction_id, line),
    CONSTRAINT fk_ledger_entry_transaction_id_ledger_transaction FOREIGN KEY(transaction_id) REFERENCES ledger_transaction (transaction_id),
    CONSTRAINT fk_ledger_entry_ledger_account_id_ledger_account FOREIGN KEY(ledger_account_id) REFERENCES ledger_account (ledger_account_id)
);
CREATE INDEX ix_ledger_entry_ledger_account_id_currency ON ledger_entry (ledger_account_id, currency);
CREATE TABLE payment (
    payment_id TEXT NOT NULL,
    branch_id TEXT NOT NULL,
    account_id TEXT NOT NULL,
    invoice_id TEXT NOT NULL,
    method TEXT NOT NULL,
    reference TEXT NOT NULL,
    amount_minor BIGINT NOT NULL,
    currency TEXT NOT NULL,
    received_at BIGINT NOT NULL,
    recorded_by TEXT NOT NULL,
    CONSTRAINT pk_payment PRIMARY KEY (payment_id),
    CONSTRAINT uq_payment_branch_id_method_reference UNIQUE (branch_id, method, reference),
    CONSTRAINT fk_payment_branch_id_branch FOREIGN KEY(branch_id) REFERENCES branch (branch_id),
    CONSTRAINT fk_payment_account_id_account FOREIGN KEY(account_id) REFERENCES account (account_id),
    CONSTRAINT fk_payment_invoice_id_invoice FOREIGN KEY(invoice_id) REFERENCES invoice (invoice_id)
);
CREATE INDEX ix_payment_invoice_id ON payment (invoice_id);
