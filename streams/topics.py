"""The topics: what each carries and how its rows find their partition (DESIGN §2).

A partition is chosen so that whatever must be counted together meets in one: by rating key, or
by the routing block of an address. `every` copies a row to all partitions.
"""

from __future__ import annotations

import dataclasses
import itertools
import zlib
from collections.abc import Callable, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rating.records import (
    AccountEvent,
    DeadLetter,
    DirectoryEntry,
    FlowMinute,
    NatEvent,
    RatedUsage,
    SessionBinding,
    Usage,
)

IPV4_MAPPED = b"\x00" * 10 + b"\xff\xff"
IPV4_BLOCK_OCTETS = 15
"""A /24 in the 16-octet form."""
IPV6_BLOCK_OCTETS = 5
"""A /40."""
_JOINED_FROM_ROWS = 10_000


@dataclasses.dataclass(frozen=True, slots=True)
class Topic:
    """A named stream of one record class.

    route says how a row finds its partition: ``key`` (hash of key_column), ``block`` (routing
    block of the address column), ``every`` (a copy to all).
    """

    name: str
    record: type
    route: str
    key_column: str = ""


TOPICS: dict[str, Topic] = {
    topic.name: topic
    for topic in (
        Topic("flow.minutes", FlowMinute, "block", "address"),
        Topic("nat.minutes", FlowMinute, "block", "address"),
        Topic("nat.events", NatEvent, "block", "address"),
        Topic("session.bindings", SessionBinding, "block", "address"),
        Topic("usage.measured", Usage, "key", "rating_key"),
        Topic("usage.rated", RatedUsage, "key", "rating_key"),
        Topic("directory", DirectoryEntry, "every"),
        Topic("account.events", AccountEvent, "key", "rating_key"),
        Topic("dead.letters", DeadLetter, "key", "source"),
    )
}


RAW_LOGS = ("flow.datagrams", "radius.accounting")
"""What collectors write: raw blocks, not rows."""

STORED = frozenset({"directory", "account.events"})
"""Topics that a cluster keeps in PostgreSQL and not in Kafka: the API appends to them in the
transaction of a command, and workers read them in the one in which they commit, so that a fact is
known before usage of its time is taken (Faust gives no order between topics)."""

KAFKA_TOPICS = (*RAW_LOGS, *(name for name in TOPICS if name not in STORED))
"""Topics that a cluster keeps in Kafka."""


def physical_topic(topic: str, generation: int) -> str:
    """Return a topic's name in Kafka. Partitions grow by a new generation, counted from 1."""
    return f"{topic}.g{generation}"


def consumer_group(application_id: str, generation: int) -> str:
    """Return the group of the workers of a generation: those of two generations never share."""
    return application_id if generation == 1 else f"{application_id}.g{generation}"


def key_partition(key: str, partitions: int) -> int:
    """Return the partition of a key: CRC-32 of its UTF-8, so every process and run agrees."""
    return zlib.crc32(key.encode()) % partitions


def block_of(address: bytes) -> bytes:
    """Return the routing block of a 16-octet address: IPv4 /24, IPv6 /40."""
    is_ipv4 = address.startswith(IPV4_MAPPED)
    return address[: IPV4_BLOCK_OCTETS if is_ipv4 else IPV6_BLOCK_OCTETS]


def block_partition(address: bytes, partitions: int) -> int:
    """Return the partition of an address by its routing block."""
    return zlib.crc32(block_of(address)) % partitions


def is_wider_than_block(address: bytes, prefix_length: int) -> bool:
    """Return whether a prefix (of 128 bits at most) holds addresses of several routing blocks."""
    is_ipv4 = address.startswith(IPV4_MAPPED)
    return prefix_length < 8 * (IPV4_BLOCK_OCTETS if is_ipv4 else IPV6_BLOCK_OCTETS)


def _split(
    frame: pl.DataFrame, column: str, partition_of: Callable[[str], int] | Callable[[bytes], int]
) -> list[tuple[int, pl.DataFrame]]:
    if frame.height == 0:
        return []
    chosen = _partitions_of(frame[column], partition_of)
    if (chosen == chosen[0]).all():
        return [(int(chosen[0]), frame)]
    order = np.argsort(chosen, kind="stable")
    chosen, moved = chosen[order], frame[order]
    bounds = [0, *(np.flatnonzero(np.diff(chosen)) + 1).tolist(), frame.height]
    return [(int(chosen[first]), moved[first:end]) for first, end in itertools.pairwise(bounds)]


def _partitions_of(
    keys: pl.Series, partition_of: Callable[[str], int] | Callable[[bytes], int]
) -> NDArray[np.int64]:
    """Return each key's partition. A join of few rows takes ten times as long as a dict."""
    if len(keys) < _JOINED_FROM_ROWS:
        listed = keys.to_list()
        found = {key: partition_of(key) for key in set(listed)}
        return np.array([found[key] for key in listed], np.int64)
    unique = keys.unique().to_list()
    table = pl.DataFrame(
        {"key": unique, "partition": [partition_of(key) for key in unique]},
        schema={"key": keys.dtype, "partition": pl.Int64},
    )
    joined = keys.alias("key").to_frame().join(table, on="key", how="left", maintain_order="left")
    return joined["partition"].to_numpy()


def route(topic: Topic, frame: pl.DataFrame, partitions: int) -> Sequence[tuple[int, pl.DataFrame]]:
    """Return (partition, rows) for a frame of the topic; rows keep their order.

    A binding wider than a routing block is copied to every partition, since its addresses
    may lie in any.
    """
    if frame.height == 0:
        return []
    if partitions == 1:
        return [(0, frame)]
    if topic.route == "every":
        return [(partition, frame) for partition in range(partitions)]
    if topic.route == "key":
        return _split(frame, topic.key_column, lambda key: key_partition(key, partitions))
    narrow = frame
    wide: list[tuple[int, pl.DataFrame]] = []
    if "prefix_length" in frame.columns:
        is_wide = pl.Series(
            [
                is_wider_than_block(address, length)
                for address, length in frame.select("address", "prefix_length").iter_rows()
            ],
            dtype=pl.Boolean,
        )
        narrow, copied = frame.filter(~is_wide), frame.filter(is_wide)
        if copied.height:
            wide = [(partition, copied) for partition in range(partitions)]
    return [
        *_split(narrow, topic.key_column, lambda key: block_partition(key, partitions)),
        *wide,
    ]
