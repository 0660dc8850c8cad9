"""docs/limits.md and the code name the same limits, defaults and counters."""

from __future__ import annotations

import dataclasses
import importlib
import re
from pathlib import Path
from typing import Any

import pytest

import api.metrics
import billing.metrics
import collectors.metrics
import infra.metrics
import warehouse.metrics
from infra.settings import Settings
from streams.stage_metrics import STAGE_COUNTERS

PAGE = (Path(__file__).parents[2] / "docs" / "limits.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `([\w.]+)` \| (\d+) \| .+ \| (?:`(\w+)`|\*waits\*) \|$", re.MULTILINE)
CONSTANT = re.compile(r"^\| `([\w.]+)\.(\w+)` \| (\d+) \| [^|]+ \|$", re.MULTILINE)
SETTINGS_ROWS = ROW.findall(PAGE)
CONSTANT_ROWS = CONSTANT.findall(PAGE)
COUNTERS = {
    **api.metrics.METRICS,
    **billing.metrics.COUNTERS,
    **collectors.metrics.METRICS,
    **infra.metrics.METRICS,
    **warehouse.metrics.METRICS,
    **STAGE_COUNTERS,
}

BOUND_SUFFIXES = ("_limit", "_max", "_entries", "_octets", "_packets", "_rows", "_per_run")
NO_BUFFER = {
    "rating.decode.sequence_reorder_limit": "tells a restart from reordering",
    "rating.decode.sequence_gap_limit": "tells a restart from loss",
    "rating.decode.sampling_rate_limit": "what is believed",
    "rating.decode.record_octets_limit": "what is believed",
    "rating.sessions.silent_intervals_max": "when silence is an end",
}
"""Settings that look like the bound of a buffer and are none, and what they are."""


def settings_of(config: Any, prefix: str = "") -> dict[str, Any]:
    """Return every setting by its dotted name."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            found |= settings_of(value, f"{prefix}{field.name}.")
        else:
            found[prefix + field.name] = value
    return found


SETTINGS = settings_of(Settings())


def test_the_page_is_read() -> None:
    lines = [line for line in PAGE.splitlines() if line.startswith("| `")]
    assert len(lines) == len(SETTINGS_ROWS) + len(CONSTANT_ROWS)
    assert SETTINGS_ROWS
    assert CONSTANT_ROWS


@pytest.mark.parametrize(("key", "default", "counter"), SETTINGS_ROWS)
def test_a_limit_is_a_setting_and_its_overflow_a_counter(
    key: str, default: str, counter: str
) -> None:
    assert key in SETTINGS
    assert int(default) == SETTINGS[key]
    assert not counter or counter in COUNTERS


@pytest.mark.parametrize(("module", "name", "value"), CONSTANT_ROWS)
def test_a_fixed_limit_is_what_the_page_says(module: str, name: str, value: str) -> None:
    assert getattr(importlib.import_module(module), name) == int(value)


def test_every_bound_in_the_settings_is_on_the_page() -> None:
    bounds = {
        key
        for key in SETTINGS
        if key.endswith(BOUND_SUFFIXES) and not key.startswith("simulation.")
    }
    listed = {key for key, _, _ in SETTINGS_ROWS}
    assert bounds - listed - set(NO_BUFFER) == set()
    assert set(NO_BUFFER) <= set(SETTINGS)
