"""An invoice line says which income it is: revenue reports tell lines apart by it.

Revision 0016, after 0015. The statements are in the `.sql` file beside this one.
"""

from __future__ import annotations

from infra.statements import run_statements_beside

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; a line of a recurring fee was income of that, other lines of usage."""
    run_statements_beside(__file__)
