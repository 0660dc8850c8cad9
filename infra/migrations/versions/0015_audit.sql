CREATE TABLE audit_entry (
    chain_number BIGINT NOT NULL,
    occurred_at BIGINT NOT NULL,
    actor_id TEXT NOT NULL,
    actor_name TEXT NOT NULL,
    branch_id TEXT NOT NULL,
    action TEXT NOT NULL,
    changes TEXT NOT NULL,
    chain_hash TEXT NOT NULL,
    CONSTRAINT pk_audit_entry PRIMARY KEY (chain_number)
);
CREATE INDEX ix_audit_entry_branch_id_chain_number ON audit_entry (branch_id, chain_number);
CREATE TABLE chain_head (
    chain TEXT NOT NULL,
    number BIGINT NOT NULL,
    hash TEXT NOT NULL,
    CONSTRAINT pk_chain_head PRIMARY KEY (chain)
);
INSERT INTO chain_head
SELECT 'ledger/' || t.branch_id, t.chain_number, t.chain_hash
FROM ledger_transaction t
WHERE t.chain_number = (SELECT max(o.chain_number) FROM ledger_transaction o WHERE o.branch_id = t.branch_id);
