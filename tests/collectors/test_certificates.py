"""Names of certificates are compared in one form."""

from __future__ import annotations

import pytest

from collectors.certificates import normalised


@pytest.mark.parametrize(
    ("name", "form"),
    [
        (" NAS1.Example.NET ", "nas1.example.net"),
        ("192.0.2.1", "192.0.2.1"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("urn:nas:1", "urn:nas:1"),
        ("SHA256:" + ":".join(["AB"] * 32), "sha256:" + "ab" * 32),
    ],
)
def test_a_name_has_one_form(name: str, form: str) -> None:
    assert normalised(name) == form == normalised(form)


@pytest.mark.parametrize("name", ["sha256:12", "sha256:" + "g" * 64])
def test_a_fingerprint_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        normalised(name)
