"""A warehouse query as a Grafana target: parameters become macros and variables, `at` becomes time.

The SQL stays in `warehouse.queries`; here it is only wrapped. Macros are those of the plugin
grafana-clickhouse-datasource 4.x, which Grafana's server expands; `${name}` are Grafana's own
variables, written with the `sqlstring` format so that a value is quoted and escaped.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models.dashboard import DataSourceRef

from warehouse.queries import Query

PLUGIN = "grafana-clickhouse-datasource"
PLUGIN_VERSION = "4.20.0"

TIME_SERIES = 0
TABLE = 1

RANGE: Mapping[str, str] = {
    "from_at": "toUnixTimestamp64Milli($__fromTime_ms)",
    "until_at": "toUnixTimestamp64Milli($__toTime_ms)",
}
"""Parameters that every panel takes from the dashboard's time range."""

VARIABLES: Mapping[str, str] = {
    "time_zone": "${time_zone:sqlstring}",
    "subscriber_ids": "[${subscriber:sqlstring}]",
}
"""Parameters that panels take from the dashboard's variables."""

_PARAMETER = re.compile(r"\{(\w+):[A-Za-z0-9()]+\}")


@dataclasses.dataclass(frozen=True)
class PanelQuery:
    """A warehouse query with what a panel shows of it.

    columns maps a shown name to an expression over the query's columns, in order; a column `time`
    must be first in a time series. values gives parameters that are constant in the panel.
    """

    query: Query[Any]
    columns: Mapping[str, str]
    format: int = TIME_SERIES
    values: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def sql(self) -> str:
        """Return the SQL that Grafana sends. KeyError for a parameter that has no binding."""
        bindings = {**RANGE, **VARIABLES, **self.values}
        inner = _PARAMETER.sub(lambda found: bindings[found.group(1)], self.query.sql)
        shown = ", ".join(f'{expression} AS "{name}"' for name, expression in self.columns.items())
        return f"SELECT {shown} FROM (\n{inner}\n)"

    def target(self, ref_id: str, datasource: DataSourceRef) -> TargetBuilder:
        """Return the builder of the query as the dashboard's JSON has it."""
        return TargetBuilder(ClickHouseTarget(ref_id, self, datasource))


TIME = "fromUnixTimestamp64Milli(at)"
"""A step's start as the DateTime64 that Grafana takes for time."""


def instant(column: str) -> str:
    """Return a column of ms as a DateTime64, NULL where it is NULL."""
    return f"fromUnixTimestamp64Milli({column})"


class ClickHouseTarget(Dataquery):
    """The plugin's query model (editorType `sql`)."""

    def __init__(self, ref_id: str, query: PanelQuery, datasource: DataSourceRef) -> None:
        """Take what the panel asks."""
        self._ref_id = ref_id
        self._query = query
        self._datasource = datasource

    def to_json(self) -> dict[str, object]:
        """Return the target as the dashboard's JSON has it."""
        return {
            "refId": self._ref_id,
            "datasource": self._datasource.to_json(),
            "editorType": "sql",
            "rawSql": self._query.sql(),
            "format": self._query.format,
            "queryType": "timeseries" if self._query.format == TIME_SERIES else "table",
            "pluginVersion": PLUGIN_VERSION,
        }


class TargetBuilder:
    """Hands a ready target to the SDK's panel builders, which call `build`."""

    def __init__(self, target: ClickHouseTarget) -> None:
        """Take the target."""
        self._target = target

    def build(self) -> Dataquery:
        """Return the target."""
        return self._target
