"""How many tasks a cluster has: whoever waits until all of them have moved must know."""

from __future__ import annotations

from infra.settings import Settings
from infra.wiring.engine import stage_configs
from streams.topology import build_stages

STAGES = len(build_stages(stage_configs(Settings())))
"""Each has a task per partition."""
