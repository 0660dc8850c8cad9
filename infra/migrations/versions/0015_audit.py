"""Adds the audit log, and the recorded heads of the ledger's chains.

Revision 0015, after 0014. The statements are in the `.sql` file beside this one.
"""

from __future__ import annotations

from infra.statements import run_statements_beside

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables, and record where each ledger's chain ends now."""
    run_statements_beside(__file__)
