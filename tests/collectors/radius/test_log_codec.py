"""Packets in the log: what goes in comes out, and rubbish is named as such."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.radius.log_codec import AccountingPacket, decode_packets, encode_packets

PACKETS = st.builds(
    AccountingPacket,
    received_at=st.integers(0, 2**53),
    nas_id=st.sampled_from(["bng1", "hotspot@192.0.2.7", "ঢাকা-1", ""]),
    source_address=st.binary(min_size=16, max_size=16),
    source_port=st.integers(0, 65_535),
    packet=st.binary(max_size=300),
)


@given(st.lists(PACKETS, max_size=20))
def test_packets_come_back_as_they_were(packets: list[AccountingPacket]) -> None:
    assert decode_packets(encode_packets(packets)) == packets


@given(st.lists(PACKETS, min_size=1, max_size=3), st.data())
def test_a_cut_block_is_refused(packets: list[AccountingPacket], data: st.DataObject) -> None:
    body = encode_packets(packets)
    with pytest.raises(ValueError, match=r"accounting packets|lengths sum"):
        decode_packets(body[: data.draw(st.integers(0, len(body) - 1))])


def test_another_topics_block_is_refused() -> None:
    with pytest.raises(ValueError, match="magic"):
        decode_packets(b"FRD1" + bytes(8))
