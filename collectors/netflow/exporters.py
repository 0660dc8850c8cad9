"""What the settings say of an exporter: the entry of the longest prefix that holds its address."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from collectors.netflow.config import ExporterConfig
from rating.addresses import parse_prefix


class Exporters:
    """Finds the entry of an exporter by its address of 16 octets.

    One entry holds as a whole: what a longer prefix leaves at its default is not looked up in a
    shorter one. An IPv6 prefix, even ``::/0``, holds no IPv4 address.
    """

    def __init__(self, entries: Sequence[ExporterConfig]) -> None:
        """Index the entries. Raises ValueError where an address is no address and no prefix."""
        self._by_length: dict[int, dict[int, ExporterConfig]] = {}
        for entry in entries:
            prefix = parse_prefix(entry.address)
            free = 128 - prefix.length
            known = self._by_length.setdefault(prefix.length, {})
            known[int.from_bytes(prefix.address, "big") >> free] = entry
        self._lengths = sorted(self._by_length, reverse=True)

    def find(self, address: bytes) -> ExporterConfig | None:
        """Return the entry of the longest prefix that holds the address, None where none does."""
        number = int.from_bytes(address, "big")
        is_v4 = number >> 32 == 0xFFFF
        for length in self._lengths:
            if is_v4 and length < 96:
                break
            found = self._by_length[length].get(number >> (128 - length))
            if found is not None:
                return found
        return None


@functools.lru_cache(maxsize=4)
def exporters_of(entries: tuple[ExporterConfig, ...]) -> Exporters:
    """Return the index of the settings' entries; the cache saves building it for every batch."""
    return Exporters(entries)
