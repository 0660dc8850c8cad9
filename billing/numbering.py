"""Invoice numbers: dense per branch and series, given out only when a document is finalized.

A draft has none, so a deleted draft leaves no gap; tax offices of most countries ask for that.
The number and the finalization commit in one transaction (`billing.adapters.invoices`).
"""

from __future__ import annotations

INVOICE_SERIES = "INV"
"""The series of ordinary invoices."""

DEBIT_NOTE_SERIES = "DBN"
"""The series of debit notes: late usage of an account that gets no further invoice."""

CREDIT_NOTE_SERIES = "CRN"
"""The series of credit notes: what such an account gets back."""


def next_number(last_number: int) -> int:
    """Return the number after the last one given out (0: none yet). ValueError below zero."""
    if last_number < 0:
        raise ValueError(f"a series cannot stand at {last_number}")
    return last_number + 1


def format_number(prefix: str, series: str, number: int) -> str:
    """Return the printed number, such as ``DHK-INV-000042``; it sorts up to 999,999."""
    return "-".join(part for part in (prefix, series, f"{number:06d}") if part)
