"""The C library's allocator, in processes that make and drop columns of megabytes all the time.

glibc maps an array from the system for each use and gives it back after it, and the system then
fills each page with zeros again at its first touch: a fifth of the engine's CPU time. With these
limits the memory of one batch is that of the next one.
"""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
"""Numbers of mallopt(3)."""
KEPT_OCTETS = 128 << 20
"""So much of what was freed at the heap's end is kept."""
MAPPED_FROM_OCTETS = 32 << 20
"""Only what is larger is mapped by itself: the most that glibc takes (HEAP_MAX_SIZE / 2)."""


def keep_freed_memory() -> bool:
    """Let freed memory be used again instead of given back; return whether the library can."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False  # musl, macOS: they keep what they think right.
    kept = mallopt(_M_MMAP_THRESHOLD, MAPPED_FROM_OCTETS)
    return bool(kept and mallopt(_M_TRIM_THRESHOLD, KEPT_OCTETS))
