"""Keeps products, the services that customers have of them, and their holds.

Revision 0011, after 0010. The statements are in the `.sql` file beside this one.
"""

from __future__ import annotations

from infra.statements import run_statements_beside

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables of products, services and holds."""
    run_statements_beside(__file__)
