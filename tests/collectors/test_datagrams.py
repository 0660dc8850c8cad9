"""The block codec: what goes in comes out, and a broken block is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.datagrams import Datagram, decode_datagrams, encode_datagrams

DATAGRAMS = st.builds(
    Datagram,
    st.integers(0, 2**62),
    st.binary(min_size=16, max_size=16),
    st.integers(0, 65535),
    st.integers(0, 65535),
    st.binary(max_size=64),
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
