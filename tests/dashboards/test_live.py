"""Every panel of the live dashboard asks something that the warehouse answers as Grafana needs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from dashboards.config import DashboardsConfig
from dashboards.export import main as export
from dashboards.live import LIVE_UID
from dashboards.operations import OPERATIONS_UID
from dashboards.published import dashboards
from dashboards.queries import PLUGIN, TABLE, TIME_SERIES
from tests.dashboards.grafana_sql import expand
from tests.warehouse.opened_store import FROM_AT, UNTIL_AT, opened_store
from warehouse.connect import WarehouseClient, client

CONFIG = DashboardsConfig(time_zone="Asia/Kathmandu")
LIVE = dashboards(CONFIG)[LIVE_UID]
VARIABLES = {"time_zone": ["Asia/Kathmandu"], "subscriber": ["s1", "o'brien"]}
AFTER_ALL_MS = UNTIL_AT + 50 * 86_400_000


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            yield from panel.get("panels") or []
        else:
            yield panel


TARGETS = [(panel, target) for panel in panels(LIVE) for target in panel["targets"]]


@pytest.fixture(scope="module")
def reading() -> WarehouseClient:
    return client(opened_store().config)


def answer(reading: WarehouseClient, sql: str) -> Any:
    return reading.query(expand(sql, VARIABLES, FROM_AT, AFTER_ALL_MS))


@pytest.mark.parametrize(
    ("panel", "target"), TARGETS, ids=[f"{p['title']}-{t['refId']}" for p, t in TARGETS]
)
def test_a_panel_gets_a_frame_it_can_draw(
    reading: WarehouseClient, panel: dict[str, Any], target: dict[str, Any]
) -> None:
    result = answer(reading, target["rawSql"])
    rows = result.result_rows
    assert rows, "no data"
    numeric = [n for n, v in enumerate(rows[0]) if isinstance(v, int | float | Decimal)]
    assert numeric, "nothing to draw"
    assert not any(isinstance(row[n], float) and row[n] != row[n] for row in rows for n in numeric)
    if panel["type"] in ("timeseries",):
        assert target["format"] == TIME_SERIES
        assert result.column_names[0] == "time"
        times = [row[0] for row in rows]
        assert all(isinstance(time, datetime) and time.tzinfo for time in times)
        assert times == sorted(times), "the plugin needs a long frame in ascending time"
        labels = tuple(n for n in range(1, len(rows[0])) if isinstance(rows[0][n], str))
        keys = [(row[0], *(row[n] for n in labels)) for row in rows]
        assert len(set(keys)) == len(keys), "two values for one point of one line"
    else:
        assert target["format"] == TABLE
    shown = {field["matcher"]["options"] for field in panel["fieldConfig"].get("overrides", [])}
    assert shown <= set(result.column_names), "an override for a column that is not there"


def test_the_quarter_hours_of_a_chosen_subscriber(reading: WarehouseClient) -> None:
    (target,) = next(p["targets"] for p in panels(LIVE) if p["title"].startswith("Chosen"))
    total = sum(row[2] for row in answer(reading, target["rawSql"]).result_rows)
    expected = reading.query(
        "SELECT sum(octets_down) FROM usage_rated"
        " WHERE subscriber_id = 's1' AND meter_id = 'volume'"
    )
    assert total == expected.result_rows[0][0]


def test_no_subscriber_chosen_draws_nothing_and_fails_not(reading: WarehouseClient) -> None:
    (target,) = next(p["targets"] for p in panels(LIVE) if p["title"].startswith("Chosen"))
    sql = expand(target["rawSql"], VARIABLES | {"subscriber": []}, FROM_AT, AFTER_ALL_MS)
    assert reading.query(sql).result_rows == []


def test_the_subscriber_variable_offers_subscribers(reading: WarehouseClient) -> None:
    (variable,) = (v for v in LIVE["templating"]["list"] if v["name"] == "subscriber")
    offered = [row[0] for row in answer(reading, variable["query"]).result_rows]
    assert offered == ["s3", "s2", "s1", "s0"]


def test_every_variable_that_is_used_exists() -> None:
    text = json.dumps(LIVE)
    names = {variable["name"] for variable in LIVE["templating"]["list"]}
    for name in ("time_zone", "subscriber"):
        assert f"${{{name}:sqlstring}}" in text
        assert name in names


def test_every_target_reads_the_configured_datasource() -> None:
    moved = dashboards(DashboardsConfig(datasource_uid="other"))[LIVE_UID]
    for panel in panels(moved):
        assert panel["datasource"] == {"type": PLUGIN, "uid": "other"}
        assert {t["datasource"]["uid"] for t in panel["targets"]} == {"other"}
        assert {t["editorType"] for t in panel["targets"]} == {"sql"}


def test_panels_do_not_overlap_and_have_their_own_ids() -> None:
    taken: set[tuple[int, int]] = set()
    everything = LIVE["panels"] + [q for p in LIVE["panels"] for q in p.get("panels") or []]
    for panel in everything:
        grid = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(grid["x"], grid["x"] + grid["w"])
            for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not taken & cells, panel["title"]
        assert grid["x"] + grid["w"] <= 24
        taken |= cells
    ids = [panel["id"] for panel in everything if panel.get("id") is not None]
    assert len(ids) == len(set(ids))


def test_export_writes_what_publish_sends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export([str(tmp_path / "out"), "--time-zone", "Asia/Kathmandu"]) == 0
    written = {uid: tmp_path / "out" / f"{uid}.json" for uid in (LIVE_UID, OPERATIONS_UID)}
    assert capsys.readouterr().out == "".join(f"{path}\n" for path in written.values())
    for uid, path in written.items():
        assert json.loads(path.read_text(encoding="utf-8")) == dashboards(CONFIG)[uid]


def test_export_says_where_it_cannot_write(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert export([str(tmp_path / "file" / "x")]) == 1
    assert "flowrate dashboards export:" in capsys.readouterr().err
