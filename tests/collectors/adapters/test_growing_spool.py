"""A spool over generations of its topic: what was never taken of a former one goes on, once."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from collectors.adapters.growing_spool import Generation, GrowingSpool
from collectors.adapters.kafka_publisher import RawTopic
from collectors.adapters.segments import SegmentReader
from collectors.adapters.spool import SpoolingWriter
from collectors.config import SpoolConfig
from collectors.datagrams import Datagram, decode_datagrams, encode_datagrams
from collectors.metrics import Counters
from collectors.partitioning import split_flows
from collectors.spool_frames import NumberedPart, decode_parts
from infra.files import replace_whole
from rating.connections import KafkaConfig

NOWHERE = KafkaConfig(bootstrap_servers=("127.0.0.1:9",), request_timeout_milliseconds=500)
FIRST, SECOND = Generation(1, 3), Generation(2, 7)


class DeathError(Exception):
    """The process dies here."""


class Mortal:
    """Dies once, after so many durable steps."""

    def __init__(self, steps: int) -> None:
        self._steps = steps

    def step(self) -> None:
        self._steps -= 1
        if self._steps == 0:
            raise DeathError

    def write_file(self, path: Path, text: str) -> None:
        self.step()
        replace_whole(path, text)
        self.step()


class MortalWriter(SpoolingWriter):
    """A spool whose process may die around each append."""

    mortal: Mortal

    def append_parts(self, received_at: int, parts: Sequence[NumberedPart]) -> int:
        self.mortal.step()
        row = super().append_parts(received_at, parts)
        self.mortal.step()
        return row


class Collector:
    """One start of a collector's process without a Kafka."""

    def __init__(self, root: Path, first: Generation, mortal: Mortal) -> None:
        self._root = root
        self._mortal = mortal
        self._opened: list[MortalWriter] = []
        self.spool = GrowingSpool(self.directory_of, self._open, mortal.write_file, first)

    def directory_of(self, generation: int) -> Path:
        return self._root / f"flow.datagrams.g{generation}"

    def _open(self, directory: Path, generation: Generation) -> MortalWriter:
        topic = RawTopic(directory.name, generation.partitions, "flows@a", split_flows)
        writer = MortalWriter(directory, topic, SpoolConfig(), NOWHERE, Counters())
        writer.mortal = self._mortal
        self._opened.append(writer)
        return writer

    def end(self) -> None:
        for writer in self._opened:
            writer.close(0.0)


def block(numbers: Sequence[int]) -> bytes:
    return encode_datagrams(
        [
            Datagram(1_000 + n, bytes(15) + bytes((n % 11,)), 5_000, 2_055, b"%06d" % n)
            for n in numbers
        ]
    )


def parts_in(directory: Path) -> list[NumberedPart]:
    reader = SegmentReader(directory)
    found = [
        part
        for row in reader.read(0, 10_000)
        if row.kind == "data"
        for part in decode_parts(row.body)
    ]
    reader.close()
    return found


def numbers_in(parts: Sequence[NumberedPart]) -> list[int]:
    blocks = [decode_datagrams(part.body) for part in parts]
    return [int(each.datagram(n).payload) for each in blocks for n in range(len(each))]


def test_appends_turn_to_a_newer_generation_and_the_former_spool_stays(tmp_path: Path) -> None:
    collector = Collector(tmp_path, FIRST, Mortal(0))
    assert collector.spool.generation == 0, "the database has said nothing yet"
    collector.spool.append("data", 1_000, block(range(20)))
    collector.spool.learn([FIRST], lambda generation: {})
    assert collector.spool.generation == 1
    collector.spool.learn([FIRST, SECOND], lambda generation: {})
    collector.spool.append("data", 2_000, block(range(20, 30)))
    collector.spool.learn([FIRST, SECOND], lambda generation: {})
    assert collector.spool.generation == 1, "what it holds has not reached Kafka"
    first, second = (parts_in(collector.directory_of(number)) for number in (1, 2))
    assert sorted(numbers_in(first)) == list(range(20))
    assert sorted(numbers_in(second)) == list(range(20, 30))
    assert {part.number for part in second} == {1}
    assert {part.partition for part in second} - set(range(3)), "it is split over more partitions"
    collector.end()


@pytest.mark.parametrize("seed", range(12))
def test_what_was_not_taken_goes_on_once_wherever_the_collector_dies(
    tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    before = Collector(tmp_path, FIRST, Mortal(0))
    for first in range(0, 80, 8):
        before.spool.append("data", 1_000 + first, block(range(first, first + 8)))
    before.end()
    parts = parts_in(before.directory_of(1))
    ends = {p: max(part.number for part in parts if part.partition == p) for p in range(3)}
    taken = {p: chance.randint(0, end) for p, end in ends.items() if chance.random() < 0.8}
    left = numbers_in([part for part in parts if part.number > taken.get(part.partition, 0)])
    known = [Generation(1, 3, is_done=True), SECOND]
    fresh = 1_000
    for _ in range(50):
        after = Collector(tmp_path, SECOND, Mortal(chance.randint(1, 12)))
        try:
            # What comes meanwhile may take the row that a move was about to become.
            after.spool.append("data", 3_000, block([fresh]))
            after.spool.learn(known, lambda generation: taken)
            break
        except DeathError:
            continue
        finally:
            after.end()
            fresh += 1
    assert not after.directory_of(1).exists()
    moved = [n for n in numbers_in(parts_in(after.directory_of(2))) if n < 1_000]
    assert sorted(moved) == sorted(left)
    numbers = [(part.partition, part.number) for part in parts_in(after.directory_of(2))]
    assert len(numbers) == len(set(numbers))
