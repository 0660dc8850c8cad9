"""What Grafana does to a panel's SQL before it reaches ClickHouse: variables, then macros.

Written from the documentation of Grafana's variable formats and of the ClickHouse plugin's macros,
independently of the code that writes the panels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence


def sqlstring(values: Sequence[str]) -> str:
    """Return values in Grafana's format `sqlstring`: quoted, quotes doubled, comma between."""
    return ",".join("'" + value.replace("'", "''") + "'" for value in values)


def expand(sql: str, variables: Mapping[str, Sequence[str]], from_ms: int, to_ms: int) -> str:
    """Return the SQL that ClickHouse gets. KeyError for an unknown variable or macro."""

    def variable(found: re.Match[str]) -> str:
        assert found.group(2) == "sqlstring", "a value must be quoted by Grafana"
        return sqlstring(variables[found.group(1)])

    macros = {
        "fromTime_ms": f"fromUnixTimestamp64Milli({from_ms})",
        "toTime_ms": f"fromUnixTimestamp64Milli({to_ms})",
    }
    sql = re.sub(r"\$\{(\w+)(?::(\w+))?\}", variable, sql)
    return re.sub(r"\$__(\w+)", lambda found: macros[found.group(1)], sql)
