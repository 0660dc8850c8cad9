"""How the system's scheduler treats a process that works through batches."""

from __future__ import annotations

import ctypes
import os
import platform
import struct

_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
"""Number of the call by machine; the C library has no function for it."""
_SCHED_ATTR = struct.Struct("=IIQiIQQQ")
"""size, policy, flags, nice, priority, runtime, deadline, period: `struct sched_attr`."""
SLICE_MILLISECONDS = 50
"""How long a batch may keep its core while others of its kind wait; Linux takes up to 100."""


def work_in_batches() -> bool:
    """Let this process work undisturbed for longer; return whether the system knows how.

    SCHED_BATCH of sched(7): a waking thread of this process waits for who is at work. And, from
    Linux 6.12 on, a slice of its own: where there are more workers than cores, each ran for 1.4 ms
    before the next one, and every time its caches were cold. Who asks for shorter slices (a
    database, a broker) still gets the core at once. Needs no right; some containers forbid it.
    """
    call = _SCHED_SETATTR.get(platform.machine())
    try:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        if call is not None:
            nice = os.getpriority(os.PRIO_PROCESS, 0)
            slice_ns = SLICE_MILLISECONDS * 1_000_000
            attributes = _SCHED_ATTR.pack(
                _SCHED_ATTR.size, os.SCHED_BATCH, 0, nice, 0, slice_ns, 0, 0
            )
            # Earlier kernels leave the slice alone.
            ctypes.CDLL(None).syscall(call, 0, attributes, 0)
    except (AttributeError, OSError):
        return False
    return True
