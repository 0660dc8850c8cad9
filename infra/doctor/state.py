"""Checks of what Flowrate has stored, facts in and findings out: clocks, secrets, positions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from infra.doctor.findings import Finding, Level

CLOCK_WARN_MS, CLOCK_FAIL_MS = 5_000, 60_000
OWN_CLOCK_MS = 10_000
CERTIFICATE_DAYS = 30
LAG_WARN_MS, LAG_FAIL_MS = 60_000, 600_000

SECRET_GOOD_LENGTH = 16
"""Octets that RFC 2865 §3 asks for."""
SECRET_LEAST_LENGTH = 8
_KNOWN = """
testing123 secret radius password cisco mikrotik juniper huawei nokia admin test public private
changeme sharedsecret radsec flowrate 12345678 123456789 1234567890 qwertyui
"""
KNOWN_SECRETS = frozenset(_KNOWN.split())
"""What stands in examples, and what attackers try first."""


def check_clocks(kind: str, offsets_ms: Mapping[str, int]) -> list[Finding]:
    """Return how far the clocks of NASes or exporters (kind) are off, the worst first.

    offsets_ms: name -> how far it is ahead of ours.
    """
    findings = []
    right = 0
    for name, offset in sorted(offsets_ms.items(), key=lambda item: (-abs(item[1]), item[0])):
        if abs(offset) < CLOCK_WARN_MS:
            right += 1
            continue
        level: Level = "warn" if abs(offset) < CLOCK_FAIL_MS else "fail"
        seen = f"{abs(offset) / 1000:.0f} s {'ahead' if offset > 0 else 'behind'}"
        quarters = round(offset / 900_000)
        if quarters and abs(offset - quarters * 900_000) < 30_000:
            seen += f", {quarters / 4:+g} h: its time zone, or daylight saving"
        findings.append(
            Finding("clocks", f"{kind} {name}", level, seen, "give it NTP and the right zone")
        )
    if right:
        findings.append(Finding("clocks", kind, "ok", f"{right} within {CLOCK_WARN_MS // 1000} s"))
    return findings


class OwnClock(NamedTuple):
    """Our own time: now and the newest receive time in our logs (ms, 0 for none), whether the
    kernel says that it is synchronised (None: it does not say), and the shift that is set (ms)."""

    now_at: int
    newest_at: int
    is_synchronised: bool | None
    offset_ms: int


def check_own_clock(clock: OwnClock, *, is_running: bool) -> list[Finding]:
    """Return whether our own time can be trusted."""
    findings = []
    if clock.is_synchronised is not None:
        seen = "synchronised" if clock.is_synchronised else "the kernel calls it unsynchronised"
        advice = "" if clock.is_synchronised else "run chrony or systemd-timesyncd"
        level: Level = "ok" if clock.is_synchronised else "warn"
        findings.append(Finding("clocks", "this machine", level, seen, advice))
    if clock.offset_ms:
        findings.append(
            Finding(
                *("clocks", "clock.starts_at", "warn", f"time is shifted {clock.offset_ms} ms"),
                "only for demonstrations: bills are dated by it",
            )
        )
    ahead = clock.newest_at - clock.now_at
    if ahead > OWN_CLOCK_MS:
        findings.append(
            Finding(
                *("clocks", "received through", "fail", f"{ahead // 1000} s in the future"),
                "the clock was set back: nothing is late until it has caught up",
            )
        )
    elif clock.newest_at and is_running and -ahead > LAG_WARN_MS:
        findings.append(
            Finding(
                *("clocks", "received through", "fail", f"{-ahead // 1000} s old while we run"),
                "a collector stands still: see its log and the disk",
            )
        )
    elif clock.newest_at:
        findings.append(Finding("clocks", "received through", "ok", "never ahead of the clock"))
    return findings


class FileFact(NamedTuple):
    """A file or directory with something secret in it, and its mode."""

    path: str
    mode: int
    is_directory: bool = False


def check_mode(fact: FileFact) -> Finding:
    """Return whether nobody but its owner reads a file."""
    seen = f"mode {fact.mode:04o}"
    if not fact.mode & 0o077:
        return Finding("secrets", fact.path, "ok", seen)
    # What lies in a directory of others' has modes of its own.
    level: Level = "fail" if fact.mode & 0o007 and not fact.is_directory else "warn"
    wanted = "700" if fact.is_directory else "600"
    return Finding("secrets", fact.path, level, f"{seen}: others read it", f"chmod {wanted} it")


def check_nas_secrets(secrets: Mapping[str, str]) -> list[Finding]:
    """Return which shared secrets are guessed easily or used twice; secrets by NAS. None is shown.

    An attacker who hears one packet tries secrets at home: billions a second for MD5.
    """
    findings = []
    users: dict[str, list[str]] = defaultdict(list)
    for name, secret in sorted(secrets.items()):
        users[secret].append(name)
        plain = secret.lower()
        advice = "set a random one of 16 octets or more on both sides"
        if plain in KNOWN_SECRETS or plain == name.lower():
            finding = Finding("secrets", name, "fail", "a secret that everybody tries", advice)
        elif len(secret) < SECRET_LEAST_LENGTH or len(set(secret)) < 4:
            finding = Finding("secrets", name, "fail", f"{len(secret)} octets, few kinds", advice)
        elif len(secret.encode()) < SECRET_GOOD_LENGTH:
            seen = f"{len(secret.encode())} octets, fewer than {SECRET_GOOD_LENGTH} (RFC 2865 §3)"
            finding = Finding("secrets", name, "warn", seen, advice)
        else:
            finding = Finding("secrets", name, "ok", f"{len(secret.encode())} octets")
        findings.append(finding)
    findings += [
        Finding(
            *("secrets", ", ".join(names), "warn", f"{len(names)} share one secret"),
            "who knows one NAS's can send for the others: one each",
        )
        for names in users.values()
        if len(names) > 1
    ]
    return findings


def check_certificate(path: str, ends_at: int | None, now_at: int) -> Finding:
    """Return whether a certificate still holds for a month; ends_at (ms) None: unreadable."""
    if ends_at is None:
        advice = "expected a certificate in PEM that this user can read"
        return Finding("secrets", path, "fail", "cannot be read", advice)
    days = (ends_at - now_at) // 86_400_000
    if days >= CERTIFICATE_DAYS:
        return Finding("secrets", path, "ok", f"certificate holds {days} days")
    if days < 0:
        return Finding("secrets", path, "fail", "the certificate has ended", "renew it")
    advice = "renew it: the file is taken up without a restart"
    return Finding("secrets", path, "warn", f"certificate ends in {days} days", advice)


class LagFact(NamedTuple):
    """How far a reader is behind a log: its name, blocks or messages, and ms where it is known."""

    name: str
    behind: int
    behind_ms: int | None = None


def check_lag(fact: LagFact, *, is_running: bool) -> Finding:
    """Return whether a reader keeps up; while we do not run, what waits is what is to be done."""
    seen = f"{fact.behind} behind"
    if fact.behind_ms is not None:
        seen += f", {fact.behind_ms / 1000:.0f} s"
    late = fact.behind_ms or 0
    if not is_running or late < LAG_WARN_MS:
        return Finding("positions", fact.name, "ok", seen)
    level: Level = "warn" if late < LAG_FAIL_MS else "fail"
    return Finding("positions", fact.name, level, seen, "see its log; is there CPU and disk?")


def check_processes(states: Sequence[tuple[str, str, int]]) -> list[Finding]:
    """Return which processes do not run; states are (name, state, restarts)."""
    findings = []
    for name, state, restarts in states:
        if state != "running":
            advice = "see its log; the supervisor starts it again"
            findings.append(Finding("processes", name, "fail", state, advice))
        elif restarts > 3:
            seen = f"running, started again {restarts} times"
            findings.append(Finding("processes", name, "warn", seen, "see its log for `crashed`"))
        else:
            findings.append(Finding("processes", name, "ok", "running"))
    return findings
