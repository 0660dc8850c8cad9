"""TLS for who is connected to: certificates from files, and who a client's certificate says it is.

TLS 1.2 or newer. A certificate that is renewed in its file is taken up by the next connections,
without a restart.
"""

from __future__ import annotations

import hashlib
import logging
import os
import ssl
from collections.abc import Iterable

from collectors.certificates import FINGERPRINT, normalised
from collectors.config import TlsConfig

log = logging.getLogger(__name__)

_LOOK_SECONDS = 30.0
"""How often the files are looked at for a change."""


class ServerTls:
    """Gives each new connection the context of the files as they are now."""

    def __init__(self, config: TlsConfig, now: float) -> None:
        """Read the files; now is of the monotonic clock. Raises OSError, naming what is wrong."""
        self._config = config
        self._names = frozenset(normalised(name) for name in config.client_names)
        self._looked = now
        self._seen = self._stamps()
        self._context = _context(config)
        self._has_failed = False

    def context(self, now: float) -> ssl.SSLContext:
        """Return the context for a connection that is accepted now.

        Where renewed files cannot be used the former context stays, and the log says why.
        """
        if now - self._looked >= _LOOK_SECONDS:
            self._looked = now
            seen = self._stamps()
            if seen != self._seen or self._has_failed:
                self._renew(seen)
        return self._context

    def _renew(self, seen: list[tuple[int, int]]) -> None:
        try:
            self._context = _context(self._config)
        except OSError as error:
            if not self._has_failed:
                log.error("TLS: the certificate stays as it was: %s", error)
            self._has_failed = True
            return
        self._seen, self._has_failed = seen, False
        log.info("TLS: took up the certificate of %s", self._config.certificate_file)

    def _stamps(self) -> list[tuple[int, int]]:
        """Return time of change and inode of each file, zeros where it is missing."""
        config = self._config
        found = []
        for file in (config.certificate_file, config.key_file, config.client_ca_file):
            try:
                status = os.stat(file) if file else None
            except OSError:
                status = None
            found.append((status.st_mtime_ns, status.st_ino) if status else (0, 0))
        return found

    def admits(self, names: Iterable[str]) -> bool:
        """Return whether a client of these names may connect: any, where none are set."""
        return not self._names or not self._names.isdisjoint(names)


def _context(config: TlsConfig) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Exporters never read. A session ticket that lies unread when one closes makes its kernel
    # reset the connection, and ours throw away what it had received.
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    try:
        context.load_cert_chain(config.certificate_file, config.key_file or None)
        if config.client_ca_file:
            context.load_verify_locations(config.client_ca_file)
            context.verify_mode = ssl.CERT_REQUIRED
    except OSError as error:
        files = ", ".join(
            each
            for each in (config.certificate_file, config.key_file, config.client_ca_file)
            if each
        )
        raise OSError(error.errno or 0, f"cannot use the TLS files {files}: {error}") from error
    return context


def peer_names(connected: ssl.SSLSocket) -> frozenset[str]:
    """Return what a client's verified certificate calls it; nothing where it showed none.

    Its SHA-256 fingerprint, subjectAltName (DNS, IP, URI), and, where that has no DNS name, the
    commonName (RFC 6614 §2.3, RFC 6125 §6.4.4).
    """
    octets = connected.getpeercert(binary_form=True)
    shown = connected.getpeercert()
    if not octets or not shown:
        return frozenset()
    names = {FINGERPRINT + hashlib.sha256(octets).hexdigest()}
    alternatives = [(str(each[0]), str(each[1])) for each in shown.get("subjectAltName", ())]
    names |= {normalised(value) for kind, value in alternatives if kind != "DirName"}
    if not any(kind == "DNS" for kind, _ in alternatives):
        for part in shown.get("subject", ()):
            names |= {normalised(str(each[1])) for each in part if each[0] == "commonName"}
    return frozenset(names)
