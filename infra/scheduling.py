"""How the system's scheduler treats a process that works through batches."""

from __future__ import annotations

import os


def work_in_batches() -> bool:
    """Let a waking thread of this process wait for who is at work; return whether that is known.

    SCHED_BATCH of sched(7). Workers wake some fifty times a second each, for marks and fetches.
    Where there are more workers than cores, each time took a core from the middle of another's
    round, whose caches were then cold. Needs no right; some containers forbid it.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    except (AttributeError, OSError):
        return False
    return True
