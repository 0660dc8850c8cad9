"""Keeps what exporters sent and what was lost on the way, per minute.

Revision 0003, after 0002. The statements are in the `.sql` file beside this one.
"""

from __future__ import annotations

from infra.statements import run_statements_beside

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table of flow loss."""
    run_statements_beside(__file__)
