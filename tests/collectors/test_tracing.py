"""Where a trace begins: the times of real blocks, and a chance that stays with its part."""

from __future__ import annotations

import pytest

from collectors.datagrams import Datagram, encode_datagrams
from collectors.radius.log_codec import AccountingPacket, encode_packets
from collectors.tracing import received_between, start_trace

SOURCE = bytes(10) + b"\xff\xff\x0a\x00\x00\x01"


def flows(*received_at: int) -> bytes:
    return encode_datagrams([Datagram(at, SOURCE, 1, 2055, b"payload") for at in received_at])


def packets(*received_at: int) -> bytes:
    return encode_packets(
        [AccountingPacket(at, f"nas-{at}", SOURCE, 1813, b"p" * 20) for at in received_at]
    )


@pytest.mark.parametrize("block", [flows, packets])
def test_the_times_of_a_block_are_those_of_its_datagrams(block: object) -> None:
    assert callable(block)
    assert received_between(block(5_000, 1_000, 9_000)) == (1_000, 9_000)
    assert received_between(block(7)) == (7, 7)
    assert received_between(block()) == (0, 0)


@pytest.mark.parametrize(
    "body", [b"", b"FRD1", b"XXXX" + bytes(40), flows(1, 2)[:15], packets(1)[:13]]
)
def test_what_is_no_block_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match="no block of a raw log"):
        received_between(body)


class Asked:
    """Remembers what it was asked and traces what falls under its share."""

    def __init__(self, share: float) -> None:
        self.share = share
        self.chances: list[float] = []

    def start_trace(self, now_ns: int, chance: float, received_at: tuple[int, int]) -> bytes:
        assert (now_ns, received_at) == (10, (1_000, 2_000))
        self.chances.append(chance)
        return b"trace" if chance < self.share else b""

    def child(self, *_: object) -> bytes:
        raise AssertionError


def test_every_part_has_its_own_chance_and_keeps_it_when_it_is_sent_again() -> None:
    body = flows(1_000, 2_000)
    parts = [(number, partition) for number in range(1, 101) for partition in range(64)]
    first, again = Asked(0.01), Asked(0.01)
    traced = [start_trace(first, part, body, 10) for part in parts]
    assert traced == [start_trace(again, part, body, 10) for part in parts]
    assert len(set(first.chances)) == len(parts)
    assert 30 < traced.count(b"trace") < 110
