"""What every operation documents: its problem answers."""

from __future__ import annotations

from typing import Any

from api.models.values import ProblemDocument
from api.problems import MEDIA_TYPE, TYPES

_SCHEMA = {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI answers for these statuses, besides 401 and 422, which all have."""
    titles = dict(reversed(TYPES.values()))
    return {
        status: {
            "model": ProblemDocument,
            "description": titles[status],
            "content": {MEDIA_TYPE: _SCHEMA},
        }
        for status in sorted({401, 422, *statuses})
    }
