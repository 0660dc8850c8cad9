"""The first tables; the statements are in the `.sql` file beside this one.

Revision 0001, after nothing.
"""

from __future__ import annotations

from infra.statements import run_statements_beside

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make every table of `billing.adapters.tables` as it was at revision 0001."""
    run_statements_beside(__file__)
