"""Prints the sums of a closed store's tables as JSON; a process of its own: chDB takes one path."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.warehouse.sink_process import config_of
from warehouse.engine import Engine, Session
from warehouse.store import chdb_path

SUMS = {
    "rows": "SELECT count() FROM usage_rated",
    "octets": "SELECT sum(octets_up), sum(octets_down) FROM usage_rated",
    "charge": "SELECT sum(charge), sum(quantity) FROM usage_rated",
    "minute": "SELECT sum(octets_up), sum(octets_down), sum(rows) FROM usage_minute",
    "cell": "SELECT sum(octets_up), sum(octets_down) FROM usage_cell",
    "charge_cell": "SELECT sum(charge), sum(quantity) FROM charge_cell",
}


def main(directory: Path) -> None:
    """Open the store, print {name: [values as text]}."""
    engine = Engine(chdb_path(config_of(directory)))
    session = Session("default", {}, may_write=True)
    found = {
        name: engine.query(sql, "TabSeparated", session, {}).body.decode().strip().split("\t")
        for name, sql in SUMS.items()
    }
    engine.close()
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
