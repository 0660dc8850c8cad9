"""Payment terms of branches, groups and accounts; dunning schedules, steps, pauses, restrictions.

Revision 0009, after 0008. The statements are in the `.sql` file beside this one.
"""

from __future__ import annotations

from infra.statements import run_statements_beside

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables of payment terms and of dunning."""
    run_statements_beside(__file__)
