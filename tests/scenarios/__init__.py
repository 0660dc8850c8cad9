"""Stories that a billing clerk can read: one file each, in virtual time, packets to invoices."""
