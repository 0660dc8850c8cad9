"""What operations document: their problem answers, papers, and events that wait for rating."""

from __future__ import annotations

from typing import Any

from api.models.values import Model, ProblemDocument
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


def paper(description: str) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI answer of a PDF."""
    content = {"application/pdf": {"schema": {"type": "string", "format": "binary"}}}
    return {200: {"description": description, "content": content}}


def unanswered(model: type[Model]) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI answer of an account event that rating has not answered yet."""
    description = "Rating has not answered yet; Location says where its answer will be"
    return {202: {"model": model, "description": description}}
