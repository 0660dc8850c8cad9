"""Rows find the partition that everyone agrees on, and none is lost on the way."""

from __future__ import annotations

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from rating.records import SessionBinding, Usage, frame_of
from streams.topics import IPV4_MAPPED, TOPICS, block_partition, key_partition, route


def usage(key: str, octets: int) -> Usage:
    return Usage(key, key, "flows", "", "c", 1, octets, 0, 0, 0, 0, 1)


@given(st.lists(st.tuples(st.text(max_size=5), st.integers(-5, 5))), st.integers(1, 9))
def test_routing_by_key_conserves_rows(rows: list[tuple[str, int]], partitions: int) -> None:
    frame = frame_of(Usage, [usage(*row) for row in rows])
    parts = route(TOPICS["usage.measured"], frame, partitions)
    assert sum(part.height for _, part in parts) == frame.height
    assert sum(part["octets_up"].sum() for _, part in parts) == sum(o for _, o in rows)
    for partition, part in parts:
        for key in part["rating_key"]:
            assert partitions == 1 or key_partition(key, partitions) == partition


def binding(address: bytes, prefix_length: int) -> SessionBinding:
    return SessionBinding("b", 1, address, prefix_length, 0, "s", "x", 0, None, 0)


def test_a_wide_binding_is_copied_to_every_partition() -> None:
    v4 = IPV4_MAPPED + bytes([10, 1, 2, 3])
    frame = frame_of(
        SessionBinding, [binding(v4, 128), binding(v4, 96 + 16), binding(bytes(16), 32)]
    )
    parts = dict(route(TOPICS["session.bindings"], frame, 4))
    wide = pl.concat(parts.values()).filter(pl.col("prefix_length") < 128)
    assert wide.height == 8
    assert block_partition(v4, 4) in parts


def test_addresses_of_one_block_meet() -> None:
    for partitions in (2, 8, 64):
        blocks = {
            block_partition(IPV4_MAPPED + bytes([10, 1, 2, i]), partitions) for i in range(256)
        }
        assert len(blocks) == 1
