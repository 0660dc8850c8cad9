"""Certificates for tests: an authority, and what it signs, written by openssl."""

from __future__ import annotations

import dataclasses
import hashlib
import ssl
import subprocess
from pathlib import Path

from tests.peers_available import require_peer


def _openssl(*arguments: str) -> None:
    done = subprocess.run(
        [require_peer("openssl"), *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@dataclasses.dataclass(frozen=True)
class Certificate:
    """A certificate and its key, in files."""

    file: Path
    key: Path

    @property
    def fingerprint(self) -> str:
        octets = ssl.PEM_cert_to_DER_cert(self.file.read_text(encoding="ascii"))
        return "sha256:" + hashlib.sha256(octets).hexdigest()


class Authority:
    """Signs certificates into a folder; `file` is its own."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.file = folder / f"{name}.pem"
        self._key = folder / f"{name}.key"
        _openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-days", "30", "-subj", f"/CN={name}"),
            *("-keyout", str(self._key), "-out", str(self.file)),
        )

    def sign(self, common_name: str, alternatives: str = "") -> Certificate:
        """Return a new certificate; alternatives as openssl writes them, "DNS:a,IP:127.0.0.1"."""
        stem = self.folder / common_name
        made = Certificate(stem.with_suffix(".pem"), stem.with_suffix(".key"))
        request = stem.with_suffix(".csr")
        _openssl(
            *("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-subj", f"/CN={common_name}", "-keyout", str(made.key), "-out", str(request)),
        )
        extensions = stem.with_suffix(".ext")
        extensions.write_text(
            f"subjectAltName={alternatives}\n" if alternatives else "", encoding="ascii"
        )
        _openssl(
            *("x509", "-req", "-in", str(request), "-CA", str(self.file), "-CAkey", str(self._key)),
            *("-CAcreateserial", "-days", "30", "-extfile", str(extensions)),
            *("-out", str(made.file)),
        )
        return made

    def client_context(self, own: Certificate | None = None) -> ssl.SSLContext:
        """Return what a client needs that trusts this authority and shows its own certificate."""
        context = ssl.create_default_context(cafile=str(self.file))
        context.check_hostname = False
        if own is not None:
            context.load_cert_chain(str(own.file), str(own.key))
        return context
