"""Keeps tax rates from a day on, where accounts are for their taxes, and their certificates.

Revision 0014, after 0013. The statements are in the `.sql` file beside this one.
"""

from __future__ import annotations

from infra.statements import run_statements_beside

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables of taxes."""
    run_statements_beside(__file__)
