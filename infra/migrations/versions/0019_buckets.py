"""Keeps buckets of money and quota.

Revision 0019, after 0018. The statements are in the `.sql` file beside this one.
"""

from __future__ import annotations

from infra.statements import run_statements_beside

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table of buckets."""
    run_statements_beside(__file__)
