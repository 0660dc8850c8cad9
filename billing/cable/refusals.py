"""How cable TV says no: one sentence for the clerk, who has done nothing that cannot be undone."""

from __future__ import annotations


class RefusedError(Exception):
    """What was asked for is not possible now; the text is a sentence that a clerk can act on."""
