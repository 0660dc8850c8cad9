"""What the relay has not read stays in a collector's spool, although Kafka has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from collectors.adapters.kafka_publisher import RawTopic
from collectors.adapters.spool import SpoolingWriter
from collectors.config import SpoolConfig
from collectors.metrics import Counters
from rating.connections import KafkaConfig

AWAY = KafkaConfig(bootstrap_servers=("127.0.0.1:1",))


@pytest.mark.parametrize(("read_through", "kept"), [(None, 1), (2, 3)])
def test_a_spool_is_trimmed_no_further_than_the_relay_has_read(
    tmp_path: Path, read_through: int | None, kept: int
) -> None:
    topic = RawTopic(
        "radius.accounting.g1",
        1,
        "radius@a",
        lambda body, partitions, octets_max: [(0, body)],
        read_through=lambda: read_through,
    )
    writer = SpoolingWriter(
        tmp_path, topic, SpoolConfig(keep_published_minutes=0.0), AWAY, Counters()
    )
    try:
        # A segment is a second long: each block is alone in its own.
        for second in range(1, 5):
            writer.append("data", second * 1_000, b"block")
        writer.append("marker", 5_000, b"")
        assert len(list(tmp_path.glob("*.sqlite"))) == 5
        writer._trim(9, 60_000)
        assert len(list(tmp_path.glob("*.sqlite"))) == kept
    finally:
        writer.close(0.0)
