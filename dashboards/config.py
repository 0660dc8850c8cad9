"""Settings of the dashboards."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class DashboardsConfig:
    """How the dashboards appear in Grafana."""

    folder_title: str = "Flowrate"
    """Title of the folder that holds them."""

    folder_uid: str = "flowrate"
    """Identifier of that folder; a folder with it is used as it is."""

    datasource_uid: str = "flowrate-warehouse"
    """Identifier of the ClickHouse data source that the panels read."""

    datasource_name: str = "Flowrate warehouse"
    """Name of the data source where `publish` creates it."""

    prometheus_uid: str = "flowrate-prometheus"
    """Identifier of the Prometheus data source that the operations dashboard reads."""

    prometheus_name: str = "Flowrate Prometheus"
    """Name of that data source where `publish` creates it."""

    time_zone: str = "UTC"
    """IANA zone of local hours and days, as the dashboard's variable starts."""

    refresh_seconds: int = 5
    """How often an open dashboard asks again."""

    timeout_seconds: float = 10.0
    """How long `publish` waits for each of Grafana's answers."""
