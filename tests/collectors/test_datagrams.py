"""The block codec: what goes in comes out, and a broken block is refused."""

from __future__ import annotations

import dataclasses
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.datagrams import Datagram, decode_datagrams, encode_datagrams
from collectors.netflow.joining import join_blocks
from collectors.partitioning import split_flows
from collectors.tracing import received_between

DATAGRAMS = st.builds(
    Datagram,
    st.integers(0, 2**62),
    st.binary(min_size=16, max_size=16),
    st.integers(0, 65535),
    st.integers(0, 65535),
    st.binary(max_size=64),
    st.just(0) | st.integers(1, 2**64 - 1),
)


@given(st.lists(DATAGRAMS, max_size=8))
def test_round_trip(datagrams: list[Datagram]) -> None:
    block = decode_datagrams(encode_datagrams(datagrams))
    assert [block.datagram(i) for i in range(len(block))] == datagrams


@given(st.lists(DATAGRAMS, min_size=1, max_size=4), st.data())
def test_a_truncated_block_is_refused(datagrams: list[Datagram], data: st.DataObject) -> None:
    body = encode_datagrams(datagrams)
    cut = data.draw(st.integers(0, len(body) - 1))
    with pytest.raises(ValueError, match="octets"):
        decode_datagrams(body[:cut])


def test_without_connections_a_block_is_what_it_always_was() -> None:
    datagram = Datagram(1_000, bytes(15) + b"\x01", 5, 2055, b"payload")
    body = encode_datagrams([datagram])
    former = (
        struct.pack("<4sIq", b"FRD1", 1, 1_000)
        + datagram.source_address
        + struct.pack("<HHI", 5, 2055, 7)
        + b"payload"
    )
    assert body == former
    assert decode_datagrams(former).connections is None


def test_joined_and_split_blocks_keep_the_connections() -> None:
    one = [Datagram(1, bytes(15) + bytes((n,)), n, 2055, bytes(n)) for n in range(5)]
    other = [dataclasses.replace(each, connection=each.source_port + 7) for each in one]
    blocks = [decode_datagrams(encode_datagrams(each)) for each in (one, other, [])]
    joined = join_blocks(blocks)
    assert [joined.datagram(i) for i in range(len(joined))] == [*one, *other]
    parts = split_flows(encode_datagrams([*one, *other]), 3, 262_144)
    found = [decode_datagrams(body) for _, body in parts]
    datagrams = [block.datagram(i) for block in found for i in range(len(block))]
    assert sorted(datagrams, key=str) == sorted([*one, *other], key=str)
    assert received_between(encode_datagrams(other)) == (1, 1)
