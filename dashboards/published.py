"""Every dashboard that `publish` and `export` know."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from dashboards.config import DashboardsConfig
from dashboards.live import live_dashboard
from dashboards.operations import operations_dashboard


def dashboards(config: DashboardsConfig) -> Mapping[str, dict[str, Any]]:
    """Return every dashboard as plain JSON values, by uid, in order of the keys."""
    built = [live_dashboard(config).build(), operations_dashboard(config).build()]
    plain = [json.loads(json.dumps(each, cls=JSONEncoder, sort_keys=True)) for each in built]
    return {str(each["uid"]): each for each in plain}
