"""The C library's allocator, in processes that make and drop columns of megabytes all the time.

glibc maps an array from the system for each use and gives it back after it, and the system then
fills each page with zeros again at its first touch: a fifth of the engine's CPU time. With these
limits the memory of one batch is that of the next one.

polars and Arrow bring allocators of their own, each with an arena for every thread; memory that one
of them has freed is then nobody else's. They are told to keep as little as they can.
"""

from __future__ import annotations

import ctypes
from collections.abc import MutableMapping

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
"""Numbers of mallopt(3)."""
KEPT_OCTETS = 64 << 20
"""So much of what was freed at the heap's end is kept."""
MAPPED_FROM_OCTETS = 32 << 20
"""Only what is larger is mapped by itself: the most that glibc takes (HEAP_MAX_SIZE / 2)."""


ARROW_POOL = ("ARROW_DEFAULT_MEMORY_POOL", "system")
JEMALLOC = ("_RJEM_MALLOC_CONF", "narenas:1,dirty_decay_ms:1000,muzzy_decay_ms:0")
"""Variables that Arrow and polars' jemalloc read at their import, and what they are to say."""


def share_arenas(environment: MutableMapping[str, str]) -> None:
    """Write both variables; before the import of polars and Arrow.

    What is said of them already stands: Arrow's pool, and jemalloc's options where they name
    narenas. Others may come from polars, which writes its own into the variable at its import and
    so hands them to every child; jemalloc takes the last one.
    """
    environment.setdefault(*ARROW_POOL)
    name, options = JEMALLOC
    said = environment.get(name, "")
    if "narenas:" not in said:
        environment[name] = f"{said},{options}" if said else options


def keep_freed_memory() -> bool:
    """Let freed memory be used again instead of given back; return whether the library can."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False  # musl, macOS: they keep what they think right.
    kept = mallopt(_M_MMAP_THRESHOLD, MAPPED_FROM_OCTETS)
    return bool(kept and mallopt(_M_TRIM_THRESHOLD, KEPT_OCTETS))
