CREATE TABLE product (
    product_id TEXT NOT NULL,
    version BIGINT NOT NULL,
    branch_id TEXT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    currency TEXT NOT NULL,
    price TEXT NOT NULL,
    charging TEXT NOT NULL,
    cycle TEXT NOT NULL,
    proration TEXT NOT NULL,
    tax_percent TEXT NOT NULL,
    tax_inclusive BOOLEAN NOT NULL,
    valid_from_at BIGINT NOT NULL,
    CONSTRAINT pk_product PRIMARY KEY (product_id, version),
    CONSTRAINT fk_product_branch_id_branch FOREIGN KEY(branch_id) REFERENCES branch (branch_id)
);
CREATE INDEX ix_product_branch_id_product_id ON product (branch_id, product_id);
CREATE TABLE service (
    service_id TEXT NOT NULL,
    branch_id TEXT NOT NULL,
    account_id TEXT NOT NULL,
    subscriber_id TEXT NOT NULL,
    product_id TEXT NOT NULL,
    product_version BIGINT NOT NULL,
    quantity BIGINT NOT NULL,
    starts_at BIGINT NOT NULL,
    ends_at BIGINT,
    CONSTRAINT pk_service PRIMARY KEY (service_id),
    CONSTRAINT fk_service_branch_id_branch FOREIGN KEY(branch_id) REFERENCES branch (branch_id),
    CONSTRAINT fk_service_account_id_account FOREIGN KEY(account_id) REFERENCES account (account_id),
    CONSTRAINT fk_service_product_id_product_version_product FOREIGN KEY(product_id, product_version) REFERENCES product (product_id, version)
);
CREATE INDEX ix_service_account_id ON service (account_id);
CREATE INDEX ix_service_branch_id_service_id ON service (branch_id, service_id);
CREATE TABLE hold (
    hold_id TEXT NOT NULL,
    branch_id TEXT NOT NULL,
    account_id TEXT NOT NULL,
    target_id TEXT NOT NULL,
    reason TEXT NOT NULL,
    fee_percent TEXT NOT NULL,
    starts_at BIGINT NOT NULL,
    ends_at BIGINT,
    CONSTRAINT pk_hold PRIMARY KEY (hold_id),
    CONSTRAINT fk_hold_branch_id_branch FOREIGN KEY(branch_id) REFERENCES branch (branch_id),
    CONSTRAINT fk_hold_account_id_account FOREIGN KEY(account_id) REFERENCES account (account_id)
);
CREATE INDEX ix_hold_account_id ON hold (account_id);
