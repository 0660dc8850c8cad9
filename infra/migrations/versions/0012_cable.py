"""Adds cable TV: what is sold, boxes and cards, pairings, and the outbox to the CAS.

Revision 0012, after 0011. The statements are in the `.sql` file beside this one.
"""

from __future__ import annotations

from infra.statements import run_statements_beside

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables of cable TV."""
    run_statements_beside(__file__)
