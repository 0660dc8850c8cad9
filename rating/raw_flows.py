"""One flow as an exporter reported it; what one message of the collectors' log holds of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import polars as pl


@dataclasses.dataclass(frozen=True, slots=True)
class RawFlow:
    """Who talked to whom, as exported; addresses are 16 octets (IPv4 mapped, no address: zeros).

    nat_* are the addresses behind the translation (elements 225, 226, 281, 282). octets and packets
    are scaled by the sampling rate, *_exported are as sent, *_reverse (RFC 5103) are scaled; the
    rate is rate_numerator / rate_denominator, and 1 where it is not known. direction is 255 where
    the exporter does not say (0 is ingress, 1 is egress). start_at and end_at are
    ms by the exporter's clock, whatever it says; received_at is ms by the collector's.
    """

    exporter: str
    domain: int
    source: bytes
    destination: bytes
    nat_source: bytes
    nat_destination: bytes
    source_port: int
    destination_port: int
    protocol: int
    dscp: int
    direction: int
    source_as: int
    destination_as: int
    octets: int
    packets: int
    octets_exported: int
    packets_exported: int
    octets_reverse: int
    packets_reverse: int
    rate_numerator: int
    rate_denominator: int
    rate_known: bool
    start_at: int
    end_at: int
    received_at: int


@dataclasses.dataclass(frozen=True, slots=True)
class RawEntry:
    """What one message of the log holds.

    frame has the columns of RawFlow, integers mostly narrower than 64 bits. state is what changes
    in the decoder's state (None deletes). dropped counts flows beyond the rows of one entry.
    """

    frame: pl.DataFrame
    state: Mapping[str, bytes | None]
    is_repeat: bool = False
    is_refused: bool = False
    dropped: int = 0
