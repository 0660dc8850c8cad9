"""Keeps when collectors of a cluster were given up and when they came back.

Revision 0004, after 0003. The statements are in the `.sql` file beside this one.
"""

from __future__ import annotations

from infra.statements import run_statements_beside

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table of outages."""
    run_statements_beside(__file__)
