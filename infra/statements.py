"""The statements of a migration, which lie in the `.sql` file beside its script."""

from __future__ import annotations

from pathlib import Path

from alembic import op


def run_statements_beside(script: str) -> None:
    """Run every statement of the file with the script's name and `.sql`, in order."""
    for statement in Path(script).with_suffix(".sql").read_text("utf-8").split(";\n"):
        if statement.strip():
            op.execute(statement)
