"""Finds rate's newest decisions without looking at all of them.

Revision 0005, after 0004. The statements are in the `.sql` file beside this one.
"""

from __future__ import annotations

from infra.statements import run_statements_beside

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index by instant of the decision."""
    run_statements_beside(__file__)
