"""What a certificate calls its owner, and how a setting names one; both in the same form."""

from __future__ import annotations

import ipaddress

FINGERPRINT = "sha256:"
"""Begins a name that is the SHA-256 of a whole certificate, in hexadecimal digits."""


def normalised(name: str) -> str:
    """Return a name in the form in which names are compared: lower case, addresses as written once.

    Raises ValueError for a fingerprint that is not 64 hexadecimal digits (colons may stand between
    them).
    """
    lower = name.strip().lower()
    if lower.startswith(FINGERPRINT):
        digits = lower.removeprefix(FINGERPRINT).replace(":", "")
        if len(digits) != 64 or not all(digit in "0123456789abcdef" for digit in digits):
            raise ValueError(f"{name!r}: expected sha256: and 64 hexadecimal digits")
        return FINGERPRINT + digits
    try:
        return str(ipaddress.ip_address(lower))
    except ValueError:
        return lower
