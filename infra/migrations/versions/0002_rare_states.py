"""Finds refused account events and subscribers who are not active by index.

Revision 0002, after 0001. The statements are in the `.sql` file beside this one.
"""

from __future__ import annotations

from infra.statements import run_statements_beside

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the indexes that the office looks through every few seconds."""
    run_statements_beside(__file__)
