"""Python's search for cycles of objects, in processes that keep millions of objects for long.

Steps make frozen records by the million, none of them in cycles, and the caches of state hold as
many. Looking through them took a sixth of the steps' time (docs/scaling.md), and one look through
all that a worker of 60,000 sessions holds stopped it for a second.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from typing import Any

YOUNG_OBJECTS = 100_000
"""Objects made and not freed between two looks at the newest."""
_LOOKS_AT_NEWEST = 20
"""Of them between two looks at what survived them."""
_BRIEF_OBJECTS, _BRIEF_LOOKS = 10_000, 4
"""The same where each look must be over within a few milliseconds."""
WHOLE_LOOK_SECONDS = 3_600.0
"""How rarely everything is looked through."""


class Freezer:
    """Takes what has survived a look out of sight of all later ones; rarely shows it again."""

    def __init__(self, now_seconds: Callable[[], float] = time.monotonic) -> None:
        """Start with nothing hidden."""
        self._now_seconds = now_seconds
        self._thawed_at = now_seconds()

    def __call__(self, phase: str, info: Mapping[str, Any]) -> None:
        """Be told of a look of Python's, as `gc.callbacks` are."""
        if phase != "stop" or info["generation"] == 0:
            return
        if self._now_seconds() - self._thawed_at >= WHOLE_LOOK_SECONDS:
            # The next look beyond the newest is then one at everything.
            self._thawed_at = self._now_seconds()
            gc.unfreeze()
        else:
            gc.freeze()


def collect_garbage_rarely() -> None:
    """Let Python look for cycles rarely, and but once an hour among what has lived for long."""
    _collect(YOUNG_OBJECTS, _LOOKS_AT_NEWEST)


def collect_garbage_briefly() -> None:
    """Let each look be short, where somebody waits for an answer; the rest as rarely.

    A RADIUS collector keeps some hundred thousand answers, which take 50 ms to look through.
    """
    _collect(_BRIEF_OBJECTS, _BRIEF_LOOKS)


def _collect(young_objects: int, looks_at_newest: int) -> None:
    # What was imported lives for ever; the first look at it, 40 ms, would come amid work.
    gc.freeze()
    gc.set_threshold(young_objects, looks_at_newest, 0)
    gc.callbacks.append(Freezer())
