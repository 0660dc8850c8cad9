CREATE TABLE tax_rate (
    branch_id TEXT NOT NULL,
    tax_code TEXT NOT NULL,
    tax_id TEXT NOT NULL,
    place TEXT NOT NULL,
    valid_from_on TEXT NOT NULL,
    name TEXT NOT NULL,
    percent TEXT NOT NULL,
    position BIGINT NOT NULL,
    is_compound BOOLEAN NOT NULL,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    CONSTRAINT pk_tax_rate PRIMARY KEY (branch_id, tax_code, tax_id, place, valid_from_on)
);
CREATE TABLE tax_status (
    status_id TEXT NOT NULL,
    account_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    tax_id TEXT NOT NULL,
    certificate TEXT NOT NULL,
    percent TEXT NOT NULL,
    basis TEXT NOT NULL,
    valid_from_on TEXT NOT NULL,
    valid_until_on TEXT NOT NULL,
    branch_id TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    CONSTRAINT pk_tax_status PRIMARY KEY (status_id),
    CONSTRAINT ck_tax_status_kind CHECK (kind IN ('exempt', 'reverse_charge', 'withholding')),
    CONSTRAINT fk_tax_status_branch_id_branch FOREIGN KEY(branch_id) REFERENCES branch (branch_id)
);
CREATE INDEX ix_tax_status_account_id ON tax_status (account_id);
CREATE TABLE tax_party (
    account_id TEXT NOT NULL,
    place TEXT NOT NULL,
    tax_number TEXT NOT NULL,
    CONSTRAINT pk_tax_party PRIMARY KEY (account_id)
);
ALTER TABLE charge ADD COLUMN tax_code TEXT NOT NULL DEFAULT '';
