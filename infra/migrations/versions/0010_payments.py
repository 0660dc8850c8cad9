"""Payments belong to accounts: credits, allocations, refunds, write-offs, payments in flight.

Revision 0010, after 0009. The statements are in the `.sql` file beside this one. A payment's
invoice may now be null, which SQLite can only be told by making the table anew.
"""

from __future__ import annotations

from infra.statements import run_statements_beside

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the payment table anew; each old payment becomes a credit that its invoice took."""
    run_statements_beside(__file__)
