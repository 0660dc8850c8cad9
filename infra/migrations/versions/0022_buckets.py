"""Keeps buckets of money and quota.

Revision 0022, after 0021. The statements are in the `.sql` file beside this one.
"""

from __future__ import annotations

from infra.statements import run_statements_beside

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table of buckets."""
    run_statements_beside(__file__)
