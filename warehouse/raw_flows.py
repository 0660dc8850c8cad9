"""The optional table of raw flows: one row per flow that an exporter reported.

It answers who talked to an address at a time (a complaint about abuse, an address shared by CGNAT)
and feeds nothing that is billed. It has no generation and no rollups: what Kafka no longer holds
could not be filled again, so a rebuild of the other tables leaves it alone.
"""

from __future__ import annotations

from rating.raw_flows import RawFlow
from warehouse.config import RetentionConfig
from warehouse.filling import Commands
from warehouse.retention import apply_days
from warehouse.tables import IN_TIME, Column, Table, columns_of

UNNUMBERED = 0
"""The table's generation, in its name and in the keys of intents: rebuilds count from 1."""


def _address(name: str) -> Column:
    return Column(name, "IPv6", "CODEC(ZSTD(1))")


def _number(name: str, type_: str, codec: str = "T64, ZSTD(1)") -> Column:
    return Column(name, type_, f"CODEC({codec})")


_HOUR = "intDiv(received_at, 3600000)"
_OTHER_ADDRESSES = ("destination", "nat_source", "nat_destination")

RAW_FLOW = Table(
    name="raw_flow",
    columns=(
        *columns_of(
            RawFlow,
            {
                "exporter": Column("exporter", "LowCardinality(String)"),
                **{name: _address(name) for name in ("source", *_OTHER_ADDRESSES)},
                **{name: _number(name, "UInt16") for name in ("source_port", "destination_port")},
                **{name: _number(name, "UInt8") for name in ("protocol", "dscp", "direction")},
                **{
                    name: _number(name, "UInt32")
                    for name in ("domain", "source_as", "destination_as")
                },
                **{
                    name: _number(name, "Int64")
                    for name in (
                        *("octets", "packets", "octets_exported", "packets_exported"),
                        *("octets_reverse", "packets_reverse"),
                        *("rate_numerator", "rate_denominator"),
                    )
                },
                **{
                    name: _number(name, "Int64", "Delta, ZSTD(1)")
                    for name in ("start_at", "end_at", "received_at")
                },
            },
        ),
        _number("log_partition", "UInt16", "ZSTD(1)"),
        _number("log_position", "UInt64", "Delta, ZSTD(1)"),
        _number("log_generation", "UInt16", "ZSTD(1)"),
        Column("insert_before", "UInt32", "DEFAULT 0 CODEC(ZSTD(1))", is_internal=True),
    ),
    engine="MergeTree",
    order_by=(_HOUR, "source", "start_at"),
    partition_by="toYYYYMMDD(toDateTime(intDiv(received_at, 1000), 'UTC'))",
    indexes=(
        *(f"by_{name} {name} TYPE bloom_filter(0.01) GRANULARITY 1" for name in _OTHER_ADDRESSES),
        "by_start start_at TYPE minmax GRANULARITY 1",
        "by_end end_at TYPE minmax GRANULARITY 1",
        "by_log_position log_position TYPE minmax GRANULARITY 1",
    ),
    constraints=(IN_TIME,),
    instant="intDiv(received_at, 1000)",
)
"""Sorted by hour of receipt, then by source, so an address of an hour is a few granules; as any
other end it is found by a filter per granule. Partitions are days, so that a day goes as a whole.
"""


def prepare_raw_flows(client: Commands, retention: RetentionConfig) -> None:
    """Make the table where it is absent, and bring its TTL to the settings; repeatable.

    Errors of the engine pass through.
    """
    table, view = RAW_FLOW.create(UNNUMBERED)
    client.command(table)
    if not int(str(client.command(f"EXISTS TABLE {RAW_FLOW.name}"))):
        client.command(view)
    apply_days(client, RAW_FLOW, UNNUMBERED, retention.raw_flow_days)
