"""What a question of the warehouse is: SQL with parameters, and the class of its rows."""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from warehouse.connect import WarehouseClient, WarehouseError
from warehouse.tables import CELL_MINUTES

Row = TypeVar("Row")

_PARAMETER = re.compile(r"\{(\w+):([A-Za-z0-9()]+)\}")

_PYTHON_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "Int64": int,
    "String": str,
    "Array(String)": (list, tuple),
}


@dataclasses.dataclass(frozen=True)
class Query(Generic[Row]):
    """One question: its name, its SQL, the class of its rows, and what it means."""

    name: str
    sql: str
    row: type[Row]
    meaning: str

    @property
    def parameters(self) -> dict[str, str]:
        """Parameter name -> ClickHouse type, in order of first use."""
        return dict(_PARAMETER.findall(self.sql))

    @property
    def columns(self) -> tuple[str, ...]:
        """The result's column names, in order."""
        return tuple(field.name for field in dataclasses.fields(typing.cast(Any, self.row)))

    def rows(self, client: WarehouseClient, **values: Any) -> list[Row]:
        """Run the query and return its rows.

        TypeError for a parameter that is missing, unknown or of another type. WarehouseError
        where the warehouse does not answer or refuses.
        """
        self._check(values)
        try:
            result = client.query(self.sql, parameters=dict(values))
        except Exception as error:
            if type(error).__module__.startswith(("clickhouse_connect", "urllib3")):
                raise WarehouseError(f"{self.name}: {error}") from error
            raise
        assert tuple(result.column_names) == self.columns, (self.name, result.column_names)
        return [self.row(*values_of_row) for values_of_row in result.result_rows]

    def _check(self, values: Mapping[str, Any]) -> None:
        wanted = self.parameters
        if set(values) != set(wanted):
            raise TypeError(f"{self.name}: parameters are {sorted(wanted)}, not {sorted(values)}")
        for name, type_ in wanted.items():
            value = values[name]
            if not isinstance(value, _PYTHON_TYPES[type_]) or isinstance(value, bool):
                raise TypeError(f"{self.name}: {name} = {value!r} is not {type_}")


STEPS: Mapping[str, str] = {
    "minute": "minute * 60000",
    "quarter": f"intDiv(minute, {CELL_MINUTES}) * {CELL_MINUTES * 60_000}",
    "hour": "toUnixTimestamp(toStartOfHour({instant}, {{time_zone:String}})) * 1000",
    "day": "toUnixTimestamp(toStartOfDay({instant}, {{time_zone:String}})) * 1000",
    "month": "toUnixTimestamp(toDateTime(toStartOfMonth({instant}, {{time_zone:String}}),"
    " {{time_zone:String}})) * 1000",
}
"""Step -> the SQL of a row's step start in ms. Every zone's local hour begins at a quarter hour,
so cells and minutes fall whole into each of them."""

MINUTE_RANGE = (
    "minute >= intDiv({from_at:Int64} + 59999, 60000)"
    " AND minute < intDiv({until_at:Int64} + 59999, 60000)"
)
"""Minutes that begin within the range: a range until now has the minute that has just begun."""

SCOPES: Mapping[str, str] = {
    "subscribers": "subscriber_id IN {subscriber_ids:Array(String)}",
    "rating_keys": "rating_key IN {rating_keys:Array(String)}",
}
"""Whose usage: the condition on the base table. `all` reads the rollups."""


def step_of(step: str, minute: str = "minute") -> str:
    """Return the SQL of where a row's step begins (ms); KeyError for what is none of STEPS."""
    expression = STEPS[step]
    if "{instant}" in expression:
        return "toInt64(" + expression.format(instant=f"toDateTime({minute} * 60, 'UTC')") + ")"
    return f"toInt64({expression})"
