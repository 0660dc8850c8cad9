"""Checks of the machine, facts in and findings out: sockets, kernel settings, disk, versions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from infra.doctor.findings import Finding, Level

GIB = 1 << 30
BACKLOG_LEAST = 1_000
SYNC_WARN_SECONDS, SYNC_FAIL_SECONDS = 0.02, 0.2
FREE_PART_WARN, FREE_PART_FAIL = 0.15, 0.05
FREE_OCTETS_FAIL = GIB

PYTHON_LEAST = (3, 11)
SQLITE_LEAST = (3, 35, 0)
"""RETURNING and upsert, which the business database uses."""
POSTGRES_LEAST = (15,)
CLICKHOUSE_LEAST = (24, 3)


class PortFact(NamedTuple):
    """A listening address: who has its port now. owner names a stranger's process, if known."""

    key: str
    listen: str
    state: Literal["free", "ours", "taken", "refused"]
    owner: str = ""
    drops: int = 0


def check_port(fact: PortFact, *, is_running: bool) -> Finding:
    """Return whether an address can be listened on, or already is by us."""
    subject = f"{fact.key} {fact.listen}"
    if fact.state == "ours":
        if fact.drops:
            return Finding(
                *("sockets", subject, "warn", f"ours; the kernel dropped {fact.drops} datagrams"),
                "raise receive_buffer_octets and net.core.rmem_max, or give the process more CPU",
            )
        return Finding("sockets", subject, "ok", "listening")
    if fact.state == "free":
        if is_running:
            return Finding(
                *("sockets", subject, "warn", "Flowrate runs, but nobody listens here"),
                "see `flowrate status` and the process's log",
            )
        return Finding("sockets", subject, "ok", "free")
    if fact.state == "taken":
        holder = fact.owner or "another process"
        advice = f"stop it or change {fact.key}"
        return Finding("sockets", subject, "fail", f"the port is held by {holder}", advice)
    return Finding(
        *("sockets", subject, "fail", f"cannot be bound: {fact.owner}"),
        f"correct {fact.key}; ports below 1024 need CAP_NET_BIND_SERVICE",
    )


def check_buffer(key: str, asked_octets: int, granted_octets: int) -> Finding:
    """Return whether the kernel gives a socket the receive buffer that the settings ask for."""
    seen = f"{granted_octets} of {asked_octets} octets granted"
    if granted_octets >= asked_octets:
        return Finding("sockets", key, "ok", seen)
    level: Level = "warn" if granted_octets * 4 >= asked_octets else "fail"
    return Finding("sockets", key, level, seen, f"sysctl -w net.core.rmem_max={asked_octets}")


def check_sysctls(values: Mapping[str, int], asked_octets: int) -> list[Finding]:
    """Return what of the kernel's settings is too small; asked_octets: the largest buffer.

    values: by name, those that the system has. udp_mem is its third number, in octets.
    """
    wanted = {
        "net.core.rmem_max": (asked_octets, asked_octets),
        "net.core.netdev_max_backlog": (BACKLOG_LEAST, 8_192),
        "net.ipv4.udp_mem": (2 * asked_octets, 4 * asked_octets),
    }
    findings = []
    for name, (least, good) in wanted.items():
        if name not in values:
            continue
        held = values[name]
        if held >= least:
            findings.append(Finding("sysctls", name, "ok", str(held)))
            continue
        advice = f"set {name} to at least {good} (infra/deploy/systemd/sysctl.conf)"
        findings.append(Finding("sysctls", name, "warn", f"{held}, below {least}", advice))
    return findings


class LogFact(NamedTuple):
    """A raw log on this disk: its octets now, and the span of receive times (ms) they cover."""

    name: str
    octets: int
    first_at: int
    last_at: int


class DiskFact(NamedTuple):
    """A data directory's disk."""

    path: str
    free_octets: int
    total_octets: int


def check_space(disk: DiskFact, logs: Sequence[LogFact], retention_days: float) -> list[Finding]:
    """Return whether the disk holds the raw logs for as long as they are to be kept.

    The rate is measured over what the logs hold; below an hour of log it is not judged.
    """
    seen = f"{_gb(disk.free_octets)} of {_gb(disk.total_octets)} free"
    part = disk.free_octets / disk.total_octets if disk.total_octets else 0
    level: Level = "ok"
    if part < FREE_PART_FAIL or disk.free_octets < FREE_OCTETS_FAIL:
        level = "fail"
    elif part < FREE_PART_WARN:
        level = "warn"
    advice = "" if level == "ok" else "make room: nothing is answered or received on a full disk"
    findings = [Finding("disk", disk.path, level, seen, advice)]
    growth = 0.0
    for log in logs:
        days = (log.last_at - log.first_at) / 86_400_000
        if days < 1 / 24:
            findings.append(
                Finding("disk", log.name, "ok", f"{_gb(log.octets)}, too young for a rate")
            )
            continue
        rate = log.octets / days
        needed = rate * retention_days
        growth += max(0.0, needed - log.octets)
        findings.append(
            Finding("disk", log.name, "ok", f"{_gb(rate)} a day, {_gb(needed)} when full")
        )
    if growth > disk.free_octets:
        findings.append(
            Finding(
                *("disk", "retention", "fail", f"the logs want {_gb(growth)} more than they have"),
                f"lower streams.log_retention_days ({retention_days:g}), or add disk",
            )
        )
    return findings


def check_sync(seconds: Sequence[float]) -> Finding:
    """Return whether small synced writes are quick; each RADIUS answer waits for one."""
    if not seconds:
        return Finding(
            *("disk", "synced write", "warn", "not measured: the directory cannot be written"),
            "run as the user that Flowrate runs as",
        )
    ordered = sorted(seconds)
    median, worst = ordered[len(ordered) // 2], ordered[-1]
    seen = f"median {median * 1000:.1f} ms, worst {worst * 1000:.1f} ms"
    if median < SYNC_WARN_SECONDS:
        return Finding("disk", "synced write", "ok", seen)
    level: Level = "warn" if median < SYNC_FAIL_SECONDS else "fail"
    advice = "a NAS waits for each: use a disk with a write cache that survives power loss"
    return Finding("disk", "synced write", level, seen, advice)


def check_version(name: str, found: str, least: tuple[int, ...]) -> Finding:
    """Return whether a program's version ("15.4 (Debian)") is new enough; "" where it is silent."""
    wanted = ".".join(map(str, least))
    numbers = tuple(int(part) for part in re.findall(r"\d+", found.partition(" ")[0]))
    if not numbers:
        return Finding("versions", name, "fail", found or "does not say", f"{wanted} is needed")
    if numbers >= least:
        return Finding("versions", name, "ok", found)
    return Finding("versions", name, "fail", found, f"at least {wanted} is needed")


def locked_versions(lock: str) -> dict[str, str]:
    """Return package -> version of a lock file's text (``name==version``, by normal name)."""
    pairs = re.findall(r"^([\w.-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", lock, re.MULTILINE)
    return {_normal(name): version for name, version in pairs}


def check_dependencies(
    locked: Mapping[str, str], installed: Mapping[str, str], needed: Sequence[str]
) -> list[Finding]:
    """Return what is installed otherwise than the lock file says; needed: what we require."""
    if not locked:
        return [Finding("versions", "dependencies", "ok", "no lock file beside the code")]
    held = {_normal(name): version for name, version in installed.items()}
    wrong = [
        f"{name} {held.get(name, 'is missing')} (locked {locked[name]})"
        for name in sorted({_normal(name) for name in needed} & set(locked))
        if held.get(name) != locked[name]
    ]
    if not wrong:
        return [Finding("versions", "dependencies", "ok", "as locked")]
    advice = "pip install --require-hashes --requirement requirements.lock"
    return [Finding("versions", "dependencies", "warn", "; ".join(wrong), advice)]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _gb(octets: float) -> str:
    return f"{octets / 1e9:.1f} GB"
