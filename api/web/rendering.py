"""Templates to responses: one environment, one set of security headers."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

from api.web.formats import FILTERS

HERE = Path(__file__).parent

CONTENT_SECURITY_POLICY = (
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "object-src 'none'"
)
"""Nothing inline and nothing from elsewhere: what a name or an address contains stays text."""

HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}

environment = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
environment.filters.update(FILTERS)
environment.globals["m"] = environment.get_template("macros.html").module


def render(name: str, context: dict[str, Any]) -> str:
    """Return a template's text."""
    return environment.get_template(name).render(context)


def page(name: str, context: dict[str, Any], status: int = 200) -> Response:
    """Return a whole page."""
    return HTMLResponse(render(name, context), status, HEADERS)


def panel(name: str, context: dict[str, Any], seen: str) -> Response:
    """Return a part of a page, or 204 where it is what the browser shows already.

    A panel that did not change is not swapped, so focus, selection and an open tooltip stay.
    """
    body = render(name, {**context, "seen": "SEEN"})
    digest = digest_of(body)
    if digest == seen:
        return Response(status_code=204, headers=HEADERS)
    return HTMLResponse(render(name, {**context, "seen": digest}), headers=HEADERS)


def digest_of(text: str) -> str:
    """Return a short name for a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
