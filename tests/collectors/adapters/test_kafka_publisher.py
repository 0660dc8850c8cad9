from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from collectors.adapters.kafka_publisher import KafkaPublisher, RawTopic, SpoolRow, read_row
from collectors.metrics import Counters
from collectors.spool_frames import NumberedPart, encode_parts, first_positions
from rating.connections import KafkaConfig
from rating.ports import Block

TOPIC = RawTopic("spool", 1, "flows@a", lambda body, partitions, octets_max: [(0, body)])


class _Spool:
    """Stands for the segments on disk: every row that was made durable."""

    directory = "spool"

    def __init__(self) -> None:
        self.blocks: list[Block] = []

    def make_durable(self) -> SpoolRow:
        number = len(self.blocks) + 1
        body = encode_parts([NumberedPart(0, number, b"body")])
        self.blocks.append(Block(number, "data", number, body))
        return read_row(self.blocks[-1])

    def last_number(self) -> int:
        return 0

    def octets_after(self, number: int) -> int:
        return 0

    def read(self, after: int, count: int) -> Sequence[Block]:
        return self.blocks[after : after + count]


def test_a_row_that_was_read_before_it_was_offered_is_sent_once() -> None:
    spool: Any = _Spool()
    publisher = KafkaPublisher(TOPIC, spool, first_positions(1), KafkaConfig(), Counters())

    def sent() -> list[int]:
        found: list[int] = []
        while (row := publisher._next_row()) is not None:
            found.append(row.number)
        return found

    publisher.offer(spool.make_durable())
    second = spool.make_durable()
    assert sent() == [1, 2]  # The second was read behind the first.
    publisher.offer(second)
    publisher.offer(spool.make_durable())
    assert sent() == [3]
