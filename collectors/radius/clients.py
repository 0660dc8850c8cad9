"""Which NAS a packet comes from, and so which secret and corrections apply to it."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from collections.abc import Iterable

from collectors.certificates import normalised
from collectors.config import NasConfig
from rating.addresses import format_address

SOURCE_MARK = "@"


def mapped_prefix(text: str) -> tuple[int, int]:
    """Return an address or prefix as (128-bit address, length over 16 octets).

    IPv4 is mapped (RFC 4291 §2.5.5.2). Raises ValueError for anything else, host bits included.
    """
    network = ipaddress.ip_network(text)
    if network.version == 4:
        return 0xFFFF_0000_0000 | int(network.network_address), network.prefixlen + 96
    return int(network.network_address), network.prefixlen


@dataclasses.dataclass(frozen=True, slots=True)
class Client:
    """A configured NAS with its secret as octets; `spans` where its prefix holds several hosts."""

    config: NasConfig
    secret: bytes
    spans: bool

    def nas_id_at(self, source_address: bytes) -> str:
        """Return the identity of the NAS at a source address.

        Session ids are unique per NAS only (RFC 2866 §5.5), so each host of a prefix is its own.
        """
        if not self.spans:
            return self.config.nas_id
        return f"{self.config.nas_id}{SOURCE_MARK}{format_address(source_address)}"


class ClientTable:
    """Finds the client of a source address or certificate: the longest prefix, the NAS-Identifier.

    An entry with a NAS-Identifier serves only packets that carry it and goes before one without.
    """

    def __init__(self, clients: Iterable[NasConfig]) -> None:
        """Index the configured NASes. Raises ValueError that names the entry and what is wrong."""
        self._tables: dict[int, dict[int, dict[str, Client]]] = {}
        self._certificates: dict[str, dict[str, Client]] = {}
        self.configs: dict[str, NasConfig] = {}
        for config in clients:
            self._add(config)
        self._lengths = sorted(self._tables, reverse=True)

    def _add(self, config: NasConfig) -> None:
        where = f"radius client {config.nas_id!r}"
        if not config.nas_id or SOURCE_MARK in config.nas_id:
            raise ValueError(f"{where}: nas_id must be a name without {SOURCE_MARK!r}")
        if config.nas_id in self.configs:
            raise ValueError(f"{where}: nas_id is used twice")
        if not config.secret and (config.address or not config.certificate):
            raise ValueError(f"{where}: secret is empty")
        if config.unit_octets < 1:
            raise ValueError(f"{where}: unit_octets is {config.unit_octets}, at least 1 is needed")
        try:
            re.compile(config.service_session_pattern)
        except re.error as error:
            raise ValueError(f"{where}: service_session_pattern: {error}") from error
        if config.certificate:
            try:
                name = normalised(config.certificate)
            except ValueError as error:
                raise ValueError(f"{where}: certificate: {error}") from error
            self._put(self._certificates.setdefault(name, {}), config, config.certificate)
        if config.address or not config.certificate:
            try:
                address, length = mapped_prefix(config.address)
            except ValueError as error:
                raise ValueError(f"{where}: address: {error}") from error
            known = self._tables.setdefault(length, {}).setdefault(address, {})
            self._put(known, config, config.address, spans=length < 128)
        self.configs[config.nas_id] = config

    def _put(
        self, known: dict[str, Client], config: NasConfig, whence: str, *, spans: bool = False
    ) -> None:
        """Note who comes from an address or with a certificate. Raises ValueError for a second."""
        if config.nas_identifier in known:
            raise ValueError(
                f"radius client {config.nas_id!r}: {whence} with NAS-Identifier"
                f" {config.nas_identifier!r}"
                f" is already {known[config.nas_identifier].config.nas_id!r}"
            )
        known[config.nas_identifier] = Client(config, config.secret.encode(), spans)

    def candidates(self, source_address: bytes) -> list[dict[str, Client]]:
        """Return what is configured for a source address (16 octets), longest prefix first.

        Each is NAS-Identifier ("" for any) -> client; empty where nobody is.
        """
        address = int.from_bytes(source_address, "big")
        found = []
        for length in self._lengths:
            shift = 128 - length
            known = self._tables[length].get(address >> shift << shift)
            if known is not None:
                found.append(known)
        return found

    def secured(self, names: Iterable[str], source_address: bytes) -> list[dict[str, Client]]:
        """Return what is configured for who came by RadSec, by certificate before by address.

        names are those of the certificate, as `normalised` gives them. A client with a certificate
        of its own is not known by its address: any other good certificate could come from there.
        """
        named = [self._certificates[each] for each in sorted(names) if each in self._certificates]
        by_address = [
            {key: client for key, client in known.items() if not client.config.certificate}
            for known in self.candidates(source_address)
        ]
        return [*named, *(known for known in by_address if known)]

    def config_of(self, nas_id: str) -> NasConfig:
        """Return the settings of a logged nas_id; plain defaults where it is configured no more."""
        found = self.configs.get(nas_id.partition(SOURCE_MARK)[0])
        return found or NasConfig(nas_id, "::", "")


def choose(candidates: Iterable[dict[str, Client]], nas_identifier: str) -> Client | None:
    """Return the client for a NAS-Identifier ("" where the packet has none), None for nobody."""
    for known in candidates:
        client = known.get(nas_identifier) or known.get("")
        if client is not None:
            return client
    return None
