"""Finds whom rate keeps from being active, who shares a pool and what is to be sent at once.

Revision 0006, after 0005. The statements are in the `.sql` file beside this one.
"""

from __future__ import annotations

from infra.statements import run_statements_beside

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the indexes of what is rare: targets other than active, members of pools, pending."""
    run_statements_beside(__file__)
