"""Who looks at a page: the cookie's session, its principal, and what every template needs."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Depends, Form, Request
from sqlalchemy import Connection

from api.commanding import Command
from api.keys import Principal, principal_of_key
from api.ports import Services
from api.problems import Problem
from api.requests import ServicesDep
from api.web.session import COOKIE, PageSession, csrf_token, is_csrf_token, session_of
from api.web.views import Place, place_of
from billing.adapters.databases import reading


class LoginNeededError(Exception):
    """The page needs a login; path is where to go on afterwards, is_panel a part of a page."""

    def __init__(self, path: str, is_panel: bool) -> None:
        """Keep where to go on."""
        super().__init__(path)
        self.path = path
        self.is_panel = is_panel

    @property
    def login_url(self) -> str:
        """Return the login page's address, with where to go on."""
        return "/login" if self.path == "/" else f"/login?next={quote(self.path)}"


@dataclasses.dataclass(frozen=True)
class Visitor:
    """A logged-in visitor of the pages."""

    services: Services
    principal: Principal
    session: PageSession

    def context(self, connection: Connection, section: str) -> dict[str, Any]:
        """Return what every whole page needs: the frame, the clock, the forms' token."""
        return self.frame(place_of(connection, self.principal), section)

    def frame(self, place: Place, section: str) -> dict[str, Any]:
        """Return the same for a place that was read already."""
        return {
            "place": place,
            "section": section,
            "now": self.services.now_ms(),
            "csrf": csrf_token(self.services.secret, self.session),
            "refresh": f"{self.services.config.live_sample_seconds:g}s",
        }

    def command(self, once: str, content: str) -> Command:
        """Return the right to act once per shown form: a double click is one command."""
        key = f"form:{once}" if once else None
        fingerprint = hashlib.sha256(content.encode()).hexdigest()
        return Command(self.services, self.principal, key, fingerprint, f"page {content}")


def _visitor(request: Request, services: ServicesDep) -> Visitor:
    is_panel = request.headers.get("HX-Request") == "true"
    path = request.url.path
    if request.url.query:
        path += f"?{request.url.query}"
    cookie = request.cookies.get(COOKIE, "")
    session = session_of(services.secret, cookie, services.now_ms())
    if session is None:
        raise LoginNeededError(path, is_panel)
    with reading(services.engine) as connection:
        principal = principal_of_key(connection, session.key_id)
    if principal is None:
        raise LoginNeededError(path, is_panel)
    return Visitor(services, principal, session)


VisitorDep = Annotated[Visitor, Depends(_visitor)]


def _form_visitor(visitor: VisitorDep, csrf: Annotated[str, Form(max_length=500)] = "") -> Visitor:
    if not is_csrf_token(visitor.services.secret, visitor.session, csrf):
        visitor.services.count("pages_csrf_refused_total", 1)
        raise Problem("forbidden", "The form is too old or not ours. Go back and send it again.")
    return visitor


FormVisitorDep = Annotated[Visitor, Depends(_form_visitor)]
"""A visitor whose form carries the session's token."""
