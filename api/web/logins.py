"""Logging in with an API key or a one-click link, and out."""

from __future__ import annotations

import base64
import ipaddress
from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from api.keys import find_principal, principal_of_key
from api.ports import Services
from api.requests import ServicesDep
from api.web.rendering import HEADERS, page
from api.web.session import COOKIE, PageSession, cookie_of, key_of_link
from api.web.visitors import FormVisitorDep
from billing.adapters.databases import reading

router = APIRouter(include_in_schema=False)

NONCE_OCTETS = 18


@router.get("/login")
def show_login(next: str = "/") -> Response:
    """Show the form for a key."""
    return page("login.html", {"next": local_path(next), "wrong": ""})


@router.post("/login")
def log_in(
    services: ServicesDep,
    key: Annotated[str, Form(max_length=200)] = "",
    next: Annotated[str, Form(max_length=500)] = "/",
) -> Response:
    """Open a session for a valid key.

    The form carries no CSRF token: there is no session yet that could be abused, and SameSite
    keeps another site's login out of this one's cookie.
    """
    with reading(services.engine) as connection:
        principal = find_principal(connection, key.strip(), operator_token=services.operator_token)
    if principal is None:
        services.count("pages_logins_refused_total", 1)
        wrong = "This key is unknown or was revoked. Check that it is whole."
        return page("login.html", {"next": local_path(next), "wrong": wrong}, 401)
    return _open(services, principal.key_id, local_path(next))


@router.get("/login/{token}")
def follow_link(request: Request, services: ServicesDep, token: str) -> Response:
    """Open a session for a signed link, where links are enabled and the client is this machine."""
    key_id = key_of_link(services.secret, token, services.now_ms())
    usable = services.config.login_link_enabled and is_loopback(request)
    if key_id is not None and usable:
        with reading(services.engine) as connection:
            if principal_of_key(connection, key_id) is not None:
                return _open(services, key_id, "/")
    services.count("pages_logins_refused_total", 1)
    wrong = "This link is over or not for this address. Log in with a key."
    return page("login.html", {"next": "/", "wrong": wrong}, 401)


@router.post("/logout")
def log_out(visitor: FormVisitorDep) -> Response:
    """End the session in this browser."""
    response = RedirectResponse("/login", 303, HEADERS)
    response.delete_cookie(COOKIE, path="/")
    return response


def _open(services: Services, key_id: str, path: str) -> Response:
    lifetime = services.config.session_lifetime_seconds
    nonce = base64.urlsafe_b64encode(services.new_token(NONCE_OCTETS)).decode()
    session = PageSession(key_id, services.now_ms() + lifetime * 1000, nonce)
    response = RedirectResponse(path, 303, HEADERS)
    response.set_cookie(
        COOKIE,
        cookie_of(services.secret, session),
        max_age=lifetime,
        path="/",
        httponly=True,
        samesite="lax",
        secure=services.config.session_cookie_secure,
    )
    services.count("pages_logins_total", 1)
    return response


def local_path(path: str) -> str:
    """Return the path if it stays on this site, else the first page."""
    stays = path.startswith("/") and not path.startswith(("//", "/\\"))
    return path if stays and path.isprintable() else "/"


def is_loopback(request: Request) -> bool:
    """Return whether the client is this machine."""
    if request.client is None:
        return False
    try:
        return ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False
