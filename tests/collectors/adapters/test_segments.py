"""The raw log: dense numbers, durable blocks, hourly segments, trimming."""

from __future__ import annotations

from pathlib import Path

import pytest

from collectors.adapters.segments import SegmentReader, SegmentWriter

HOUR_MS = 3_600_000


def test_numbers_run_on_across_segments_and_restarts(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path)
    for hour in range(3):
        for i in range(4):
            writer.append("data", hour * HOUR_MS + i, f"{hour}.{i}".encode())
    writer.close()
    again = SegmentWriter(tmp_path)
    assert again.append("marker", 2 * HOUR_MS + 9, b"") == 13
    assert len(list(tmp_path.glob("*.sqlite"))) == 3
    blocks = SegmentReader(tmp_path).read(0, 100)
    assert [b.number for b in blocks] == list(range(1, 14))
    assert [b.body for b in blocks[:5]] == [b"0.0", b"0.1", b"0.2", b"0.3", b"1.0"]
    assert blocks[-1].kind == "marker"


@pytest.mark.parametrize("after", range(13))
def test_a_reader_starts_anywhere(tmp_path: Path, after: int) -> None:
    writer = SegmentWriter(tmp_path)
    for n in range(12):
        writer.append("data", n * HOUR_MS // 3, bytes([n]))
    reader = SegmentReader(tmp_path)
    assert [b.number for b in reader.read(after, 5)] == list(range(after + 1, min(13, after + 6)))


def test_a_reader_sees_what_is_appended_while_it_reads(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path)
    reader = SegmentReader(tmp_path)
    assert reader.read(0, 10) == []
    writer.append("data", 1, b"a")
    assert [b.body for b in reader.read(0, 10)] == [b"a"]
    writer.append("data", 2, b"b")
    assert [b.body for b in reader.read(1, 10)] == [b"b"]
    assert reader.last_number() == 2


def test_a_clock_that_steps_back_stays_in_the_segment(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path)
    for received_at in (5 * HOUR_MS, 4 * HOUR_MS, 5 * HOUR_MS + 1, 3 * HOUR_MS):
        writer.append("data", received_at, b"x")
    assert len(list(tmp_path.glob("*.sqlite"))) == 1


def test_a_segment_that_was_opened_and_never_written_is_used(tmp_path: Path) -> None:
    SegmentWriter(tmp_path).append("data", 1, b"x")
    writer = SegmentWriter(tmp_path)
    writer._open(tmp_path / f"{2:020d}.sqlite")
    writer.close()
    again = SegmentWriter(tmp_path)
    assert again.next_number == 2
    again.append("data", 2, b"y")
    assert [b.number for b in SegmentReader(tmp_path).read(0, 9)] == [1, 2]


def test_trim_keeps_what_was_not_consumed_and_what_is_young(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path)
    for hour in range(4):
        writer.append("data", hour * HOUR_MS, b"x")
        writer.append("data", hour * HOUR_MS + 1, b"x")
    assert writer.trim(consumed_number=3, received_before_at=9 * HOUR_MS) == 1
    assert writer.trim(consumed_number=99, received_before_at=HOUR_MS) == 0
    assert writer.trim(consumed_number=99, received_before_at=99 * HOUR_MS) == 2
    assert [b.number for b in SegmentReader(tmp_path).read(0, 9)] == [7, 8]


def test_a_missing_block_is_an_error(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path)
    for n in range(3):
        writer.append("data", n, b"x")
    assert writer._connection is not None
    writer._connection.execute("delete from block where number = 2")
    with pytest.raises(OSError, match="block 2 is missing"):
        SegmentReader(tmp_path).read(0, 9)


def test_a_directory_that_cannot_be_written_is_an_oserror(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        SegmentWriter(tmp_path / "file")
