"""Logins to the pages: a signed cookie, a token against forged forms, one-click links.

Everything is a signed text, so the process keeps no session state and a restart logs no one out.
A session names its API key, which is looked up at each request: revoking the key ends it.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hashlib
import hmac
import json
from typing import Any

COOKIE = "flowrate_session"


@dataclasses.dataclass(frozen=True, slots=True)
class PageSession:
    """Who is logged in: an API key, until expires_at (ms). nonce tells two logins apart."""

    key_id: str
    expires_at: int
    nonce: str


def sign(secret: bytes, purpose: str, members: dict[str, Any]) -> str:
    """Return the members as URL-safe text with an HMAC-SHA-256 that holds for one purpose."""
    body = json.dumps(members, sort_keys=True, separators=(",", ":")).encode()
    return f"{_encode(body)}.{_encode(_mac(secret, purpose, body))}"


def unsign(secret: bytes, purpose: str, text: str) -> dict[str, Any] | None:
    """Return the members of a signed text, or None where it is not ours."""
    encoded, _, mac = text.partition(".")
    try:
        body = _decode(encoded)
        if not hmac.compare_digest(_decode(mac), _mac(secret, purpose, body)):
            return None
        members = json.loads(body)
    except (ValueError, binascii.Error):
        return None
    return members if isinstance(members, dict) else None


def _mac(secret: bytes, purpose: str, body: bytes) -> bytes:
    return hmac.digest(secret, purpose.encode() + b"\0" + body, hashlib.sha256)


def _encode(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def cookie_of(secret: bytes, session: PageSession) -> str:
    """Return the cookie's value."""
    return sign(secret, "session", dataclasses.asdict(session))


def session_of(secret: bytes, cookie: str, now_at: int) -> PageSession | None:
    """Return the session of a cookie, or None where it is forged or over."""
    members = unsign(secret, "session", cookie)
    if members is None:
        return None
    session = PageSession(**members)
    return session if now_at < session.expires_at else None


def csrf_token(secret: bytes, session: PageSession) -> str:
    """Return the token that a form of this session carries."""
    return sign(secret, "csrf", {"nonce": session.nonce})


def is_csrf_token(secret: bytes, session: PageSession, token: str) -> bool:
    """Return whether a form was made by a page of this session."""
    return hmac.compare_digest(token.encode(), csrf_token(secret, session).encode())


def login_path(secret: bytes, key_id: str, expires_at: int) -> str:
    """Return the path of a one-click login link, for `make run` to print."""
    token = sign(secret, "login", {"key_id": key_id, "expires_at": expires_at})
    return f"/login/{token}"


def key_of_link(secret: bytes, token: str, now_at: int) -> str | None:
    """Return the key that a login link stands for, or None where it is forged or over."""
    members = unsign(secret, "login", token)
    if members is None or now_at >= members["expires_at"]:
        return None
    return str(members["key_id"])
