"""What a process and its children use, and what the kernel did with a socket: read from /proc."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterable
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


@dataclasses.dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds (user and system) and resident octets, pages shared between processes once."""

    cpu_seconds: float
    resident_octets: int


def family(pids: Iterable[int]) -> list[int]:
    """Return processes and all their descendants that live."""
    found: list[int] = []
    waiting = list(pids)
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        for task in _entries(_PROC / str(pid) / "task"):
            waiting += map(int, _read(task / "children").split())
    return found


def usage(pids: Iterable[int]) -> Usage:
    """Return what processes and their descendants have used so far; the dead ones' CPU too."""
    cpu, resident = 0, 0
    for pid in family(pids):
        fields = _read(_PROC / str(pid) / "stat").rpartition(")")[2].split()
        cpu += sum(map(int, fields[11:15]))  # utime, stime, cutime, cstime (proc(5)).
        for line in _read(_PROC / str(pid) / "smaps_rollup").splitlines():
            if line.startswith("Pss:"):
                resident += 1024 * int(line.split()[1])
    return Usage(cpu / _TICKS, resident)


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the CPU seconds of processes and their descendants."""
    ticks = 0
    for pid in family(pids):
        fields = _read(_PROC / str(pid) / "stat").rpartition(")")[2].split()
        ticks += sum(map(int, fields[11:15]))
    return ticks / _TICKS


def udp_socket(port: int) -> tuple[int, int]:
    """Return the octets that wait at the sockets of a local UDP port, and how many were dropped."""
    queued = drops = 0
    for name in ("udp", "udp6"):
        for line in _read(_PROC / "net" / name).splitlines()[1:]:
            columns = line.split()
            if int(columns[1].rpartition(":")[2], 16) == port:
                queued += int(columns[4].partition(":")[2], 16)
                drops += int(columns[-1])
    return queued, drops


def wait_until_bound(port: int, patience_seconds: float = 15.0) -> None:
    """Return when some process has a socket on a UDP port. Raises TimeoutError."""
    until = time.monotonic() + patience_seconds
    mark = f":{port:04X} "
    while not any(mark in line[:50] for name in ("udp", "udp6") for line in _table(name)):
        if time.monotonic() > until:
            raise TimeoutError(f"nobody listens on UDP port {port}")
        time.sleep(0.02)


def _table(name: str) -> list[str]:
    return _read(_PROC / "net" / name).splitlines()[1:]


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:  # The process has ended meanwhile.
        return ""
