ALTER TABLE invoice_line ADD COLUMN income TEXT DEFAULT '' NOT NULL;
UPDATE invoice_line SET income = 'revenue_recurring' WHERE kind = 'recurring';
