"""Keeps what is charged beside plans and usage.

Revision 0008, after 0007. The statements are in the `.sql` file beside this one.
"""

from __future__ import annotations

from infra.statements import run_statements_beside

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table of charges."""
    run_statements_beside(__file__)
