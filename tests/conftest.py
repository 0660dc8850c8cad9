"""What every test shares: how long a property may take, and whether chance is fixed."""

from __future__ import annotations

import os

from hypothesis import settings

# Two busy cores make any single example slow now and then: time limits are pytest's (timeout).
settings.register_profile("flowrate", deadline=None, print_blob=True)
# CI tells the same story twice for the same code; people's machines look for new ones.
settings.register_profile("ci", parent=settings.get_profile("flowrate"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "flowrate")
