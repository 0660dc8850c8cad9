"""Keeps what is lost of flows, and what flows say of each subscriber, per hour.

Revision 0007, after 0006. The statements are in the `.sql` file beside this one.
"""

from __future__ import annotations

from infra.statements import run_statements_beside

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables of loss and of flow usage per hour."""
    run_statements_beside(__file__)
