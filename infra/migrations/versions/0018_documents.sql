CREATE TABLE invoice_void (
    invoice_id TEXT NOT NULL,
    reason TEXT NOT NULL,
    voided_at BIGINT NOT NULL,
    voided_by TEXT NOT NULL,
    CONSTRAINT pk_invoice_void PRIMARY KEY (invoice_id),
    CONSTRAINT fk_invoice_void_invoice_id_invoice FOREIGN KEY(invoice_id) REFERENCES invoice (invoice_id)
);
CREATE TABLE invoice_note (
    note_id TEXT NOT NULL,
    corrects_invoice_id TEXT NOT NULL,
    reason TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    CONSTRAINT pk_invoice_note PRIMARY KEY (note_id),
    CONSTRAINT fk_invoice_note_note_id_invoice FOREIGN KEY(note_id) REFERENCES invoice (invoice_id),
    CONSTRAINT fk_invoice_note_corrects_invoice_id_invoice FOREIGN KEY(corrects_invoice_id)
        REFERENCES invoice (invoice_id)
);
CREATE INDEX ix_invoice_note_corrects_invoice_id ON invoice_note (corrects_invoice_id);
CREATE TABLE note_line (
    note_id TEXT NOT NULL,
    line BIGINT NOT NULL,
    corrects_invoice_id TEXT NOT NULL,
    corrects_line BIGINT NOT NULL,
    amount_minor BIGINT NOT NULL,
    CONSTRAINT pk_note_line PRIMARY KEY (note_id, line),
    CONSTRAINT fk_note_line_note_id_invoice_note FOREIGN KEY(note_id) REFERENCES invoice_note (note_id),
    CONSTRAINT fk_note_line_corrects_invoice_id_invoice FOREIGN KEY(corrects_invoice_id)
        REFERENCES invoice (invoice_id)
);
CREATE INDEX ix_note_line_corrects_invoice_id ON note_line (corrects_invoice_id);
