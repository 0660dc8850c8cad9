CREATE TABLE cable_card (
    card_serial TEXT NOT NULL,
    box_serial TEXT DEFAULT '' NOT NULL,
    entitlements TEXT DEFAULT '{}' NOT NULL,
    barred TEXT DEFAULT '' NOT NULL,
    commands BIGINT DEFAULT '0' NOT NULL,
    due_at BIGINT,
    checked_at BIGINT,
    difference TEXT DEFAULT '' NOT NULL,
    CONSTRAINT pk_cable_card PRIMARY KEY (card_serial)
);
CREATE INDEX ix_cable_card_checked_at ON cable_card (checked_at);
CREATE INDEX ix_cable_card_due_at ON cable_card (due_at);
CREATE TABLE cable_movement (
    serial TEXT NOT NULL,
    number BIGINT NOT NULL,
    action TEXT NOT NULL,
    from_state TEXT NOT NULL,
    to_state TEXT NOT NULL,
    branch_id TEXT NOT NULL,
    subscriber_id TEXT NOT NULL,
    moved_at BIGINT NOT NULL,
    moved_by TEXT NOT NULL,
    note TEXT NOT NULL,
    CONSTRAINT pk_cable_movement PRIMARY KEY (serial, number)
);
CREATE INDEX ix_cable_movement_moved_at ON cable_movement (moved_at);
CREATE TABLE cas_command (
    command_id TEXT NOT NULL,
    card_serial TEXT NOT NULL,
    number BIGINT NOT NULL,
    branch_id TEXT NOT NULL,
    subscriber_id TEXT NOT NULL,
    operation TEXT NOT NULL,
    box_serial TEXT NOT NULL,
    entitlement TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    message TEXT NOT NULL,
    request_id TEXT NOT NULL,
    outcome TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    round BIGINT NOT NULL,
    reason TEXT NOT NULL,
    requested_at BIGINT NOT NULL,
    next_attempt_at BIGINT NOT NULL,
    sent_at BIGINT,
    acknowledged_at BIGINT,
    verified_at BIGINT,
    settled_at BIGINT,
    CONSTRAINT pk_cas_command PRIMARY KEY (command_id)
);
CREATE UNIQUE INDEX ix_cas_command_card_serial_number ON cas_command (card_serial, number);
CREATE INDEX ix_cas_command_open ON cas_command (outcome, next_attempt_at) WHERE settled_at IS NULL;
CREATE INDEX ix_cas_command_request_id ON cas_command (request_id);
CREATE INDEX ix_cas_command_requested_at ON cas_command (requested_at);
CREATE TABLE cable_channel (
    channel_id TEXT NOT NULL,
    branch_id TEXT NOT NULL,
    number BIGINT NOT NULL,
    name TEXT NOT NULL,
    language TEXT DEFAULT '' NOT NULL,
    genre TEXT DEFAULT '' NOT NULL,
    CONSTRAINT pk_cable_channel PRIMARY KEY (channel_id),
    CONSTRAINT uq_cable_channel_branch_id_number UNIQUE (branch_id, number),
    CONSTRAINT fk_cable_channel_branch_id_branch FOREIGN KEY(branch_id) REFERENCES branch (branch_id)
);
CREATE TABLE cable_model (
    model_id TEXT NOT NULL,
    branch_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    rent_product_id TEXT DEFAULT '' NOT NULL,
    deposit_minor BIGINT DEFAULT '0' NOT NULL,
    CONSTRAINT pk_cable_model PRIMARY KEY (model_id),
    CONSTRAINT ck_cable_model_kind CHECK (kind IN ('box', 'card')),
    CONSTRAINT fk_cable_model_branch_id_branch FOREIGN KEY(branch_id) REFERENCES branch (branch_id)
);
CREATE TABLE cable_package (
    package_id TEXT NOT NULL,
    branch_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    entitlement TEXT NOT NULL,
    product_id TEXT DEFAULT '' NOT NULL,
    channels TEXT NOT NULL,
    requires TEXT DEFAULT '[]' NOT NULL,
    excludes TEXT DEFAULT '[]' NOT NULL,
    offered_from_on TEXT DEFAULT '' NOT NULL,
    offered_until_on TEXT,
    shown_until_on TEXT,
    CONSTRAINT pk_cable_package PRIMARY KEY (package_id),
    CONSTRAINT uq_cable_package_entitlement UNIQUE (entitlement),
    CONSTRAINT ck_cable_package_kind CHECK (kind IN ('base', 'addon', 'a_la_carte')),
    CONSTRAINT fk_cable_package_branch_id_branch FOREIGN KEY(branch_id) REFERENCES branch (branch_id)
);
CREATE INDEX ix_cable_package_branch_id_package_id ON cable_package (branch_id, package_id);
CREATE TABLE cable_device (
    serial TEXT NOT NULL,
    kind TEXT NOT NULL,
    model_id TEXT NOT NULL,
    branch_id TEXT NOT NULL,
    state TEXT NOT NULL,
    subscriber_id TEXT DEFAULT '' NOT NULL,
    movements BIGINT NOT NULL,
    CONSTRAINT pk_cable_device PRIMARY KEY (serial),
    CONSTRAINT fk_cable_device_model_id_cable_model FOREIGN KEY(model_id) REFERENCES cable_model (model_id),
    CONSTRAINT fk_cable_device_branch_id_branch FOREIGN KEY(branch_id) REFERENCES branch (branch_id)
);
CREATE INDEX ix_cable_device_branch_id_state ON cable_device (branch_id, state);
CREATE INDEX ix_cable_device_subscriber_id ON cable_device (subscriber_id);
CREATE TABLE cable_holding (
    holding_id TEXT NOT NULL,
    branch_id TEXT NOT NULL,
    account_id TEXT NOT NULL,
    subscriber_id TEXT NOT NULL,
    outlet BIGINT NOT NULL,
    package_id TEXT NOT NULL,
    starts_at BIGINT NOT NULL,
    ends_at BIGINT,
    service_id TEXT DEFAULT '' NOT NULL,
    CONSTRAINT pk_cable_holding PRIMARY KEY (holding_id),
    CONSTRAINT fk_cable_holding_branch_id_branch FOREIGN KEY(branch_id) REFERENCES branch (branch_id),
    CONSTRAINT fk_cable_holding_account_id_account FOREIGN KEY(account_id) REFERENCES account (account_id),
    CONSTRAINT fk_cable_holding_subscriber_id_subscriber FOREIGN KEY(subscriber_id) REFERENCES subscriber (subscriber_id),
    CONSTRAINT fk_cable_holding_package_id_cable_package FOREIGN KEY(package_id) REFERENCES cable_package (package_id)
);
CREATE INDEX ix_cable_holding_package_id ON cable_holding (package_id);
CREATE INDEX ix_cable_holding_subscriber_id_outlet ON cable_holding (subscriber_id, outlet);
CREATE TABLE cable_pairing (
    pairing_id TEXT NOT NULL,
    branch_id TEXT NOT NULL,
    subscriber_id TEXT NOT NULL,
    outlet BIGINT NOT NULL,
    card_serial TEXT NOT NULL,
    box_serial TEXT NOT NULL,
    paired_at BIGINT NOT NULL,
    paired_by TEXT NOT NULL,
    ended_at BIGINT,
    end_reason TEXT DEFAULT '' NOT NULL,
    CONSTRAINT pk_cable_pairing PRIMARY KEY (pairing_id),
    CONSTRAINT fk_cable_pairing_branch_id_branch FOREIGN KEY(branch_id) REFERENCES branch (branch_id),
    CONSTRAINT fk_cable_pairing_subscriber_id_subscriber FOREIGN KEY(subscriber_id) REFERENCES subscriber (subscriber_id),
    CONSTRAINT fk_cable_pairing_card_serial_cable_device FOREIGN KEY(card_serial) REFERENCES cable_device (serial),
    CONSTRAINT fk_cable_pairing_box_serial_cable_device FOREIGN KEY(box_serial) REFERENCES cable_device (serial)
);
CREATE INDEX ix_cable_pairing_subscriber_id_paired_at ON cable_pairing (subscriber_id, paired_at);
CREATE UNIQUE INDEX uq_cable_pairing_box ON cable_pairing (box_serial) WHERE ended_at IS NULL;
CREATE UNIQUE INDEX uq_cable_pairing_card ON cable_pairing (card_serial) WHERE ended_at IS NULL;
CREATE UNIQUE INDEX uq_cable_pairing_outlet ON cable_pairing (subscriber_id, outlet) WHERE ended_at IS NULL;
CREATE TABLE cable_request (
    request_id TEXT NOT NULL,
    branch_id TEXT NOT NULL,
    card_serial TEXT NOT NULL,
    operation TEXT NOT NULL,
    message TEXT DEFAULT '' NOT NULL,
    requested_by TEXT NOT NULL,
    requested_at BIGINT NOT NULL,
    CONSTRAINT pk_cable_request PRIMARY KEY (request_id),
    CONSTRAINT ck_cable_request_operation CHECK (operation IN ('message', 'refresh')),
    CONSTRAINT fk_cable_request_branch_id_branch FOREIGN KEY(branch_id) REFERENCES branch (branch_id),
    CONSTRAINT fk_cable_request_card_serial_cable_device FOREIGN KEY(card_serial) REFERENCES cable_device (serial)
);
CREATE INDEX ix_cable_request_card_serial_requested_at ON cable_request (card_serial, requested_at);
