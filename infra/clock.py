"""The one place that reads the time. Everything else is given `Clock.now_ms` or an instant.

A demonstration shifts the clock: the shift is computed once per data directory and kept there,
so that it is the same in all processes and after a restart.
"""

from __future__ import annotations

import datetime
import json
import re
import threading
import time
import zoneinfo
from pathlib import Path

from infra.config import ClockConfig
from infra.files import create_whole

FILE_NAME = "clock.json"

BEFORE_MONTH_END = re.compile(r"(\d+)\s*(s|min|h|d)\s+before\s+month\s+end")
UNIT_SECONDS = {"s": 1, "min": 60, "h": 3_600, "d": 86_400}


class Clock:
    """The system's time plus a fixed shift, in ms since 1970-01-01T00:00:00Z.

    It never runs backwards within a process: where the system's time is set back, it stands still
    until that time is reached again. Safe to use from several threads.
    """

    def __init__(self, offset_ms: int = 0) -> None:
        """Take the shift in ms; 0 is the system's time."""
        self.offset_ms = offset_ms
        self._latest_ms = 0
        self._lock = threading.Lock()

    def now_ms(self) -> int:
        """Return the present instant in ms."""
        with self._lock:
            self._latest_ms = max(self._latest_ms, system_ms() + self.offset_ms)
            return self._latest_ms


def system_ms() -> int:
    """Return the system's time in ms since 1970 UTC, unshifted."""
    return time.time_ns() // 1_000_000


def open_clock(data_dir: Path, config: ClockConfig) -> Clock:
    """Return the data directory's clock; the first call fixes its shift in clock.json.

    ValueError where the setting or the file cannot be understood.
    """
    path = data_dir / FILE_NAME
    try:
        return Clock(int(json.loads(path.read_text())["offset_ms"]))
    except FileNotFoundError:
        pass
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f'{path}: expected {{"offset_ms": number}} ({error})') from None
    now = system_ms()
    offset_ms = starting_instant(config, now) - now if config.starts_at != "now" else 0
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    kept = json.dumps({"offset_ms": offset_ms, "starts_at": config.starts_at}) + "\n"
    if not create_whole(path, kept):
        return open_clock(data_dir, config)
    return Clock(offset_ms)


def clock_is_fixed(data_dir: Path) -> bool:
    """Return whether processes have run on a data directory: its clock's shift is fixed then."""
    return (data_dir / FILE_NAME).exists()


def preparing_clock(data_dir: Path, config: ClockConfig) -> Clock:
    """Return the clock as `open_clock` would, without fixing a shift that is not fixed yet."""
    if clock_is_fixed(data_dir):
        return open_clock(data_dir, config)
    now = system_ms()
    return Clock(starting_instant(config, now) - now if config.starts_at != "now" else 0)


def starting_instant(config: ClockConfig, now_ms: int) -> int:
    """Return the instant (ms) that `starts_at` means when the system's time is now_ms.

    ValueError says what the setting takes.
    """
    text = config.starts_at.strip()
    if text == "now":
        return now_ms
    try:
        zone = zoneinfo.ZoneInfo(config.time_zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        raise ValueError(
            f"time_zone = {config.time_zone!r}: expected an IANA time zone, Asia/Kathmandu"
        ) from None
    before = BEFORE_MONTH_END.fullmatch(text)
    if before:
        seconds = int(before[1]) * UNIT_SECONDS[before[2]]
        return _month_end_ms(now_ms, zone) - seconds * 1_000
    try:
        instant = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f'starts_at = {text!r}: expected "now", "20 s before month end" or an instant like'
            ' "2026-01-31T23:59:40+05:45"'
        ) from None
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=zone)
    return int(instant.timestamp() * 1_000)


def _month_end_ms(now_ms: int, zone: zoneinfo.ZoneInfo) -> int:
    local = datetime.datetime.fromtimestamp(now_ms / 1_000, tz=zone)
    year, month = (local.year + 1, 1) if local.month == 12 else (local.year, local.month + 1)
    return int(datetime.datetime(year, month, 1, tzinfo=zone).timestamp() * 1_000)


def check(config: ClockConfig) -> list[str]:
    """Return one message where the clock's settings cannot be understood."""
    try:
        starting_instant(config, 0)
    except ValueError as error:
        return [str(error)]
    return []
