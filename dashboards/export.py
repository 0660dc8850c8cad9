"""`flowrate dashboards export`: the dashboards as JSON files, for provisioning or review."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from dashboards.config import DashboardsConfig
from dashboards.published import dashboards

_DEFAULTS = DashboardsConfig()


def main(arguments: Sequence[str] | None = None) -> int:
    """Write one `<uid>.json` per dashboard; return 0, or 1 where a file cannot be written."""
    parser = argparse.ArgumentParser(prog="flowrate dashboards export", description=__doc__)
    parser.add_argument("directory", type=Path, help="where the files go; made where absent")
    parser.add_argument("--datasource-uid", default=_DEFAULTS.datasource_uid)
    parser.add_argument("--time-zone", default=_DEFAULTS.time_zone)
    options = parser.parse_args(arguments)
    config = DashboardsConfig(datasource_uid=options.datasource_uid, time_zone=options.time_zone)
    try:
        options.directory.mkdir(parents=True, exist_ok=True)
        for uid, dashboard in dashboards(config).items():
            path = options.directory / f"{uid}.json"
            text = json.dumps(dashboard, indent=2, sort_keys=True, ensure_ascii=False)
            path.write_text(text + "\n", encoding="utf-8")
            print(path)
    except OSError as error:
        print(f"flowrate dashboards export: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
