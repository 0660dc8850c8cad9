"""What does this account owe, and what if it is not paid? Pure at its root, IO in `adapters`.

Read in the order money flows: accounts, catalog, proration, taxes, invoices, postings, ledger,
numbering, payments, printing; `acting` turns desired service into commands.
"""
