"""The live usage dashboard, built with Grafana's own typed builders."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    VariableOption,
    VariableRefresh,
)

from dashboards.config import DashboardsConfig
from dashboards.panels import ROWS
from dashboards.queries import PLUGIN, TABLE, PanelQuery
from warehouse import queries

LIVE_UID = "flowrate-live"

SUBSCRIBER_CHOICES = PanelQuery(
    queries.top_subscribers(), {"subscriber": "key"}, TABLE, {"limit": "200"}
)
"""What the variable `subscriber` offers: those with the most octets in the time range."""


def live_dashboard(config: DashboardsConfig) -> builders.Dashboard:
    """Return the live usage dashboard's builder."""
    datasource = DataSourceRef(type_val=PLUGIN, uid=config.datasource_uid)
    dashboard = (
        builders.Dashboard("Flowrate: live usage")
        .uid(LIVE_UID)
        .description("Usage as it is rated, who causes it, and whether it can be trusted.")
        .tags(["flowrate"])
        .time("now-3h", "now")
        .refresh(f"{config.refresh_seconds}s")
        .timezone(config.time_zone)
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .editable()
        .with_variable(
            builders.TextBoxVariable("time_zone")
            .label("Time zone")
            .description("IANA name whose hours and days are shown, such as Asia/Kathmandu")
            .default_value(config.time_zone)
            .current(VariableOption(text=config.time_zone, value=config.time_zone))
        )
        .with_variable(
            builders.QueryVariable("subscriber")
            .label("Subscribers")
            .datasource(datasource)
            .query(SUBSCRIBER_CHOICES.sql())
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .multi(True)
            .include_all(False)
            .allow_custom_value(True)
        )
    )
    # Fixed ids keep links to a panel (and Grafana's alert rules on it) over a new publish.
    for row, (title, panels) in enumerate(ROWS, start=1):
        dashboard.with_row(builders.Row(title).id(row * 100))
        for number, panel in enumerate(panels, start=row * 100 + 1):
            dashboard.with_panel(panel.build(datasource).id(number))
    return dashboard
