"""The clock: shifted once per data directory, the same for everyone, never backwards."""

from __future__ import annotations

import datetime
import json
import threading
from pathlib import Path

import pytest

from infra import clock as clock_module
from infra.clock import Clock, check, open_clock, starting_instant, system_ms
from infra.config import ClockConfig


def ms(text: str) -> int:
    return int(datetime.datetime.fromisoformat(text).timestamp() * 1_000)


def test_unshifted_it_is_the_system_time() -> None:
    before = system_ms()
    assert before <= Clock().now_ms() <= system_ms()


def test_shifted_it_is_ahead_by_the_shift() -> None:
    assert abs(Clock(offset_ms=3_600_000).now_ms() - system_ms() - 3_600_000) < 1_000


def test_it_stands_still_where_the_system_time_is_set_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    readings = iter([1_000, 500, 999, 1_001])
    monkeypatch.setattr(clock_module, "system_ms", lambda: next(readings))
    clock = Clock()
    assert [clock.now_ms() for _ in range(4)] == [1_000, 1_000, 1_000, 1_001]


@pytest.mark.parametrize(
    ("starts_at", "zone", "now", "expected"),
    [
        ("now", "UTC", "2026-02-03T04:05:06Z", "2026-02-03T04:05:06Z"),
        ("20 s before month end", "UTC", "2026-02-03T04:05:06Z", "2026-02-28T23:59:40Z"),
        ("20 s before month end", "UTC", "2026-12-31T23:59:59Z", "2026-12-31T23:59:40Z"),
        ("2 h before month end", "UTC", "2028-02-01T00:00:00Z", "2028-02-29T22:00:00Z"),
        (
            "20 s before month end",
            "Asia/Kathmandu",
            "2026-02-28T18:20:00Z",  # 1 March, 00:05 there
            "2026-03-31T23:59:40+05:45",
        ),
        ("2026-01-31T23:59:40+05:45", "UTC", "2026-02-03T04:05:06Z", "2026-01-31T18:14:40Z"),
        ("2026-01-31T23:59:40", "Asia/Kathmandu", "2026-02-03T04:05:06Z", "2026-01-31T18:14:40Z"),
    ],
)
def test_starting_instant(starts_at: str, zone: str, now: str, expected: str) -> None:
    config = ClockConfig(starts_at=starts_at, time_zone=zone)
    assert starting_instant(config, ms(now)) == ms(expected)


def test_the_shift_is_fixed_at_the_first_start(tmp_path: Path) -> None:
    first = open_clock(tmp_path, ClockConfig(starts_at="20 s before month end"))
    assert first.offset_ms != 0
    again = open_clock(tmp_path, ClockConfig(starts_at="now"))
    assert again.offset_ms == first.offset_ms
    assert json.loads((tmp_path / "clock.json").read_text())["offset_ms"] == first.offset_ms
    assert [path.name for path in tmp_path.iterdir()] == ["clock.json"]


def test_processes_that_start_at_once_agree(tmp_path: Path) -> None:
    config = ClockConfig(starts_at="2026-01-31T23:59:40Z")
    barrier = threading.Barrier(8)
    offsets = []

    def start() -> None:
        barrier.wait()
        offsets.append(open_clock(tmp_path, config).offset_ms)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(offsets) == 8
    assert len(set(offsets)) == 1


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "clock.json").write_text("{")
    with pytest.raises(ValueError, match=r"clock\.json: expected"):
        open_clock(tmp_path, ClockConfig())


def test_settings_that_mean_nothing_are_said() -> None:
    assert check(ClockConfig()) == []
    assert "expected" in check(ClockConfig(starts_at="tomorrow"))[0]
    zone = ClockConfig(starts_at="1 d before month end", time_zone="Mars/Olympus")
    assert "IANA time zone" in check(zone)[0]
