"""Adds vouchers.

Revision 0013, after 0012. The statements are in the `.sql` file beside this one.
"""

from __future__ import annotations

from infra.statements import run_statements_beside

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables of voucher batches, vouchers and failed attempts."""
    run_statements_beside(__file__)
