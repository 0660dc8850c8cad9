"""What a panel is and how it is drawn; and the panels of the live usage dashboard."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from grafana_foundation_sdk.builders import bargauge, stat, table, timeseries
from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as dashboard_builders
from grafana_foundation_sdk.models import common, units
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    DynamicConfigValue,
    Threshold,
    ThresholdsMode,
)

from dashboards.queries import TABLE, TIME, PanelQuery, instant
from warehouse import queries

ROWS_OF_TABLES = "100"
"""Rows that a table panel shows at most."""


class Asked(Protocol):
    """What a panel asks of its data source."""

    def target(self, ref_id: str, datasource: DataSourceRef) -> Any:
        """Return the builder of the query as the dashboard's JSON has it."""
        ...


@dataclasses.dataclass(frozen=True)
class Panel:
    """One panel: its place in a grid of 24 columns, its queries, and the builder that draws it."""

    title: str
    description: str
    width: int
    height: int
    queries: Sequence[Asked]
    draw: Callable[[], Any]

    def build(self, datasource: DataSourceRef) -> Any:
        """Return the SDK's builder with everything set."""
        builder = self.draw()
        builder.title(self.title).description(self.description)
        builder.span(self.width).height(self.height).datasource(datasource)
        for order, query in enumerate(self.queries):
            builder.with_target(query.target(chr(ord("A") + order), datasource))
        return builder


def lines(unit: str, *, stacked: bool = False, bars: bool = False) -> Callable[[], Any]:
    """Return a drawer of values over time."""

    def draw() -> Any:
        panel = timeseries.Panel().unit(unit).line_width(1).fill_opacity(25 if stacked else 8)
        panel.show_points(common.VisibilityMode.NEVER)
        panel.legend(
            common_builders.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.TABLE)
            .placement(common.LegendPlacement.RIGHT)
            .show_legend(True)
            .calcs(["lastNotNull", "max"])
        )
        if stacked:
            mode = common.StackingMode.NORMAL
            panel.stacking(common_builders.StackingConfig().mode(mode).group("A"))
        if bars:
            panel.draw_style(common.GraphDrawStyle.BARS).fill_opacity(60)
        return panel

    return draw


def number(unit: str, red_from: float | None = None) -> Callable[[], Any]:
    """Return a drawer of the newest value, red from a threshold on."""

    def draw() -> Any:
        panel = (
            stat.Panel()
            .unit(unit)
            .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
        )
        if red_from is not None:
            steps = [Threshold(value=None, color="green"), Threshold(value=red_from, color="red")]
            panel.thresholds(
                dashboard_builders.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)
            )
        return panel

    return draw


def bars_of(unit: str) -> Callable[[], Any]:
    """Return a drawer of one horizontal bar per row."""

    def draw() -> Any:
        options = common_builders.ReduceDataOptions().values(True)
        orientation = common.VizOrientation.HORIZONTAL
        return bargauge.Panel().unit(unit).orientation(orientation).reduce_options(options)

    return draw


def table_of(**unit_of_column: str) -> Callable[[], Any]:
    """Return a drawer of rows, with the units of some columns."""

    def draw() -> Any:
        panel = table.Panel().filterable(True)
        for column, unit in unit_of_column.items():
            panel.override_by_name(column, [DynamicConfigValue(id_val="unit", value=unit)])
        return panel

    return draw


_LIMIT = {"limit": ROWS_OF_TABLES}

NOW: tuple[Panel, ...] = (
    Panel(
        "Sessions",
        "Accounting sessions that live.",
        6,
        4,
        [PanelQuery(queries.NOW, {"sessions": "sessions"}, TABLE)],
        number(units.Short),
    ),
    Panel(
        "Down now",
        "Mean rate to subscribers between the last two accounting packets of each session.",
        6,
        4,
        [PanelQuery(queries.NOW, {"down": "rate_down_bps"}, TABLE)],
        number(units.BitsPerSecondSI),
    ),
    Panel(
        "Up now",
        "Mean rate from subscribers, likewise.",
        6,
        4,
        [PanelQuery(queries.NOW, {"up": "rate_up_bps"}, TABLE)],
        number(units.BitsPerSecondSI),
    ),
    Panel(
        "Newest usage",
        "When the newest usage in the warehouse was received; red when it is old.",
        6,
        4,
        [
            PanelQuery(
                queries.NOW,
                {"age": "(toUnixTimestamp64Milli(now64(3)) - newest_received_at) / 1000"},
                TABLE,
            )
        ],
        number(units.Seconds, red_from=600.0),
    ),
)

TRAFFIC: tuple[Panel, ...] = (
    Panel(
        "Traffic to subscribers, by class",
        "Rated octets per minute as bit/s. The last minutes fill as accounting packets arrive.",
        12,
        9,
        [
            PanelQuery(
                queries.rate(by_class=True),
                {"time": TIME, "class": "traffic_class", "down": "bps_down"},
            )
        ],
        lines(units.BitsPerSecondSI, stacked=True),
    ),
    Panel(
        "Traffic from subscribers, by class",
        "Likewise, upwards.",
        12,
        9,
        [
            PanelQuery(
                queries.rate(by_class=True),
                {"time": TIME, "class": "traffic_class", "up": "bps_up"},
            )
        ],
        lines(units.BitsPerSecondSI, stacked=True),
    ),
    Panel(
        "Octets per hour, by class",
        "Local hours of the chosen time zone.",
        12,
        9,
        [
            PanelQuery(
                queries.series("hour", by_class=True),
                {"time": TIME, "class": "traffic_class", "octets": "octets_up + octets_down"},
            )
        ],
        lines(units.BytesSI, stacked=True, bars=True),
    ),
    Panel(
        "Top subscribers",
        "Most octets in the time range, up and down together.",
        12,
        9,
        [
            PanelQuery(
                queries.top_subscribers(),
                {"subscriber": "key", "octets": "octets_up + octets_down"},
                TABLE,
                {"limit": "15"},
            )
        ],
        bars_of(units.BytesSI),
    ),
)

SUBSCRIBERS: tuple[Panel, ...] = (
    Panel(
        "Chosen subscribers, by class",
        "Octets per quarter hour of the subscribers chosen above, together.",
        24,
        8,
        [
            PanelQuery(
                queries.series("quarter", "subscribers", by_class=True),
                {
                    "time": TIME,
                    "class": "traffic_class",
                    "down": "octets_down",
                    "up": "octets_up",
                },
            )
        ],
        lines(units.BytesSI, bars=True),
    ),
)

TRUST: tuple[Panel, ...] = (
    Panel(
        "Unattributed",
        "Share of the octets that matched no subscriber, by source.",
        8,
        8,
        [
            PanelQuery(
                queries.UNATTRIBUTED,
                {"time": TIME, "source": "source", "unattributed": "share"},
            )
        ],
        lines(units.PercentUnit),
    ),
    Panel(
        "Export datagrams lost",
        "Share that the exporters' sequence numbers say is missing.",
        8,
        8,
        [PanelQuery(queries.LOSS, {"time": TIME, "exporter": "exporter", "lost": "share"})],
        lines(units.PercentUnit),
    ),
    Panel(
        "Lateness",
        "Seconds from a minute's end until its usage was received.",
        8,
        8,
        [
            PanelQuery(
                queries.LAG, {"time": TIME, "mean": "mean_seconds", "greatest": "max_seconds"}
            )
        ],
        lines(units.Seconds),
    ),
    Panel(
        "Flows of the chosen subscribers: how sure",
        "Octets per hour that loss on the way may have taken (an estimate, never billed), and those"
        " whose sampling rate nobody knew.",
        24,
        7,
        [
            PanelQuery(
                queries.flow_quality("hour"),
                {
                    "time": TIME,
                    "may be missing": "octets_missing",
                    "rate unknown": "octets_rate_unknown",
                },
            )
        ],
        lines(units.BytesSI, bars=True),
    ),
    Panel(
        "Late usage",
        "Received behind its period's lateness bound: billed on the next invoice.",
        24,
        7,
        [
            PanelQuery(
                queries.LATE_USAGE,
                {
                    "received": instant("last_received_at"),
                    "rating key": "rating_key",
                    "period": instant("period_start_at"),
                    "octets": "octets",
                    "charge": "charge",
                    "rows": "rows",
                },
                TABLE,
                _LIMIT,
            )
        ],
        table_of(octets=units.BytesSI),
    ),
)

MONEY: tuple[Panel, ...] = (
    Panel(
        "Charges per hour, by meter",
        "Usage charges in major units of their currency, local hours.",
        24,
        8,
        [
            PanelQuery(
                queries.charges("hour"),
                {
                    "time": TIME,
                    "meter": "meter_id",
                    "currency": "currency",
                    "charge": "toFloat64(charge)",
                },
            )
        ],
        lines(units.Short, stacked=True, bars=True),
    ),
    Panel(
        "Alerts",
        "Thresholds crossed; 0 % is a balance exhausted.",
        12,
        8,
        [
            PanelQuery(
                queries.ALERTS,
                {
                    "raised": TIME,
                    "rating key": "rating_key",
                    "meter": "meter_id",
                    "percent": "percent",
                    "used": "quantity",
                    "threshold": "threshold",
                },
                TABLE,
                _LIMIT,
            )
        ],
        table_of(used=units.BytesSI, threshold=units.BytesSI),
    ),
    Panel(
        "Commands",
        "CoA and Disconnect to the NASes. Verified means that the rate was seen to change.",
        12,
        8,
        [
            PanelQuery(
                queries.COMMANDS,
                {
                    "requested": TIME,
                    "subscriber": "subscriber_id",
                    "kind": "kind",
                    "target": "target",
                    "attempt": "attempt",
                    "outcome": "outcome",
                    "acknowledged": instant("acknowledged_at"),
                    "verified": instant("verified_at"),
                    "reason": "reason",
                },
                TABLE,
                _LIMIT,
            )
        ],
        table_of(),
    ),
)

ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    ("Now", NOW),
    ("Traffic", TRAFFIC),
    ("Subscribers", SUBSCRIBERS),
    ("Can the numbers be trusted", TRUST),
    ("Money and acting", MONEY),
)
"""The dashboard from top to bottom: row titles with their panels."""
