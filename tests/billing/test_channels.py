"""The log of notifications: whole lines, and never more than two files."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from billing.adapters.channels import LogChannel
from billing.adapters.notifications import Delivery


def delivery(number: int) -> Delivery:
    values: dict[str, Any] = {
        field.name: 1 if field.type == "int" else f"{field.name}-{number}"
        for field in dataclasses.fields(Delivery)
    }
    return Delivery(**values)


def test_a_full_file_is_put_aside_once(tmp_path: Path) -> None:
    path = tmp_path / "notifications.log"
    one_line = len(_written(tmp_path / "probe.log", 1))
    channel = LogChannel(path, octets_max=3 * one_line)
    for number in range(12):
        channel.deliver(delivery(number % 10))
    files = sorted(file.name for file in tmp_path.glob("notifications*"))
    assert files == ["notifications.log", "notifications.log.1"]
    for file in files:
        for line in (tmp_path / file).read_text().splitlines():
            assert json.loads(line)["subject"].startswith("subject-")


def _written(path: Path, number: int) -> str:
    LogChannel(path).deliver(delivery(number))
    return path.read_text()
