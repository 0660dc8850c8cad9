"""What really happened: the NAS's accounting events and the exporters' flows, minute by minute.

The truth is told of everything that became durable at Flowrate's collectors, with the instant of
its receipt (ms), and answers what a line moved between two instants, and in which traffic class.
It shares nothing with Flowrate but the simulator's records.
"""

from __future__ import annotations

import dataclasses
import functools
import ipaddress
from collections import defaultdict
from collections.abc import Iterator, Mapping

from infra.simulation.network import REMOTES, AccountingEvent, FlowRecord

MINUTE_MS = 60_000
CELL_MS = 15 * MINUTE_MS
FOREVER = 10**15

Octets = tuple[int, int]
"""Up and down."""


@dataclasses.dataclass(slots=True)
class _Report:
    """One accounting event as received: counters are (octets up, octets down, seconds)."""

    at: int
    started_at: int
    received_at: int
    status: str
    counters: tuple[int, int, int]
    address: str


@dataclasses.dataclass(frozen=True, slots=True)
class Hold:
    """A line had an address in [from_at, until_at) ms."""

    login: str
    address: str
    from_at: int
    until_at: int


@dataclasses.dataclass(slots=True)
class Truth:
    """Everything that Flowrate has taken responsibility for.

    silence_ms is how long a session may say nothing before it counts as ended; lateness_ms how
    long after a minute reports can still change whose an address was in it.
    """

    silence_ms: int
    lateness_ms: int
    static_prefixes: dict[str, tuple[str, int]] = dataclasses.field(default_factory=dict)
    _reports: dict[tuple[str, str], list[_Report]] = dataclasses.field(
        default_factory=lambda: defaultdict(list)
    )
    _boots: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    _flows: dict[tuple[str, int], list[tuple[str, Octets, int]]] = dataclasses.field(
        default_factory=lambda: defaultdict(list)
    )
    _minutes: dict[int, Mapping[str, Mapping[int, Mapping[str, Octets]]]] = dataclasses.field(
        default_factory=dict
    )

    def report(self, event: AccountingEvent, received_at: int) -> None:
        """Take an accounting event that was received at an instant."""
        if event.status in ("on", "off"):
            self._boots.append((event.event_seconds * 1000, received_at))
            return
        counters = (event.octets_up, event.octets_down, event.session_seconds)
        at = event.event_seconds * 1000
        started_at = at - event.session_seconds * 1000
        self._reports[event.user_name, event.acct_session_id].append(
            _Report(at, started_at, received_at, event.status, counters, event.framed_address)
        )

    def report_flow(self, flow: FlowRecord, received_at: int) -> None:
        """Take a flow record, octets scaled by its sampling, received at an instant."""
        own, far, is_up = flow.source, flow.destination, True
        if not own.startswith("100.64."):
            own, far, is_up = flow.destination, flow.source, False
        traffic_class = class_of(far)
        length = flow.end_at - flow.start_at
        done = 0
        for minute in range(flow.start_at // MINUTE_MS, (flow.end_at - 1) // MINUTE_MS + 1):
            elapsed = min((minute + 1) * MINUTE_MS, flow.end_at) - flow.start_at
            due = flow.octets * elapsed // length
            part = due - done
            done = due
            octets = (part, 0) if is_up else (0, part)
            self._flows[own, minute].append((traffic_class, octets, received_at))

    def logins(self) -> list[str]:
        """Return every line that was heard of by accounting."""
        return sorted({login for login, _ in self._reports})

    def sessions(self, login: str) -> list[str]:
        """Return the sessions of a line."""
        return sorted(session for owner, session in self._reports if owner == login)

    def counted(
        self, login: str, from_at: int, until_at: int, before: int, session: str | None = None
    ) -> tuple[int, int, int]:
        """Return (up, down, seconds) that accounting received before an instant tells of a line."""
        total = [0, 0, 0]
        for (owner, name), reports in self._reports.items():
            if owner != login or (session is not None and name != session):
                continue
            if reports[0].started_at >= until_at or max(r.at for r in reports) <= from_at:
                continue
            known = sorted(
                (report for report in reports if report.received_at < before),
                key=lambda report: (report.at, report.counters),
            )
            for which in range(3):
                total[which] += _reading(known, until_at, which)
                total[which] -= _reading(known, from_at, which)
        return (total[0], total[1], total[2])

    def reach(self, login: str) -> tuple[int, int]:
        """Return the first and last instant that accounting tells of for a line (ms)."""
        reports = [r for (owner, _), some in self._reports.items() if owner == login for r in some]
        if not reports:
            return 0, 0
        return min(r.started_at for r in reports), max(r.at for r in reports)

    def holds(self, before: int) -> Iterator[Hold]:
        """Yield who had which address, as known at an instant."""
        boots = sorted(at for at, received_at in self._boots if received_at < before)
        for (login, _), reports in self._reports.items():
            known = sorted(
                (report for report in reports if report.received_at < before), key=lambda r: r.at
            )
            if not known:
                continue
            started_at = known[0].started_at
            ends = [report.at for report in known if report.status == "stop"]
            ends += [at for at in boots if at > started_at][:1]
            if not ends and max(r.received_at for r in known) + self.silence_ms < before:
                ends = [known[-1].at]
            until_at = min(ends, default=FOREVER)
            if until_at > started_at:
                yield Hold(login, known[0].address, started_at, until_at)

    def flowed(self, login: str, from_at: int, until_at: int, before: int) -> dict[str, Octets]:
        """Return octets by class that flows received before an instant tell of a line.

        Bounds are whole minutes.
        """
        if before not in self._minutes:
            self._minutes[before] = self._attributed(before)
        total: dict[str, Octets] = {}
        for minute, classes in self._minutes[before].get(login, {}).items():
            if from_at <= minute * MINUTE_MS < until_at:
                for name, (up, down) in classes.items():
                    had = total.get(name, (0, 0))
                    total[name] = (had[0] + up, had[1] + down)
        return total

    def _attributed(self, before: int) -> Mapping[str, Mapping[int, Mapping[str, Octets]]]:
        known: dict[int, dict[str, list[Hold]]] = {}
        lines: dict[str, dict[int, dict[str, Octets]]] = {}
        for (address, minute), parts in self._flows.items():
            if minute not in known:
                by_address: dict[str, list[Hold]] = defaultdict(list)
                for hold in self.holds((minute + 1) * MINUTE_MS + self.lateness_ms):
                    by_address[hold.address].append(hold)
                known[minute] = by_address
            login = self._owner(known[minute].get(address, []), address, minute)
            classes = lines.setdefault(login, {}).setdefault(minute, {})
            for name, (up, down), received_at in parts:
                if received_at < before:
                    had = classes.get(name, (0, 0))
                    classes[name] = (had[0] + up, had[1] + down)
        return lines

    def _owner(self, holds: list[Hold], address: str, minute: int) -> str:
        """Return whose an address is in a minute: who got it last, wholly; "" for nobody."""
        start_at = minute * MINUTE_MS
        holding = [h for h in holds if h.from_at < start_at + MINUTE_MS and h.until_at > start_at]
        if holding:
            return max(holding, key=lambda h: h.from_at).login
        for login, (prefix, since) in self.static_prefixes.items():
            is_inside = ipaddress.ip_address(address) in ipaddress.ip_network(prefix)
            if is_inside and since <= start_at:
                return login
        return ""


def _reading(reports: list[_Report], at: int, which: int) -> int:
    """Return what a session's counter showed at an instant: straight lines between reports.

    reports ascend.
    """
    if not reports:
        return 0
    since, value = reports[0].started_at, 0
    if at <= since:
        return 0
    for report in reports:
        if report.at >= at:
            return value + (report.counters[which] - value) * (at - since) // (report.at - since)
        since, value = report.at, report.counters[which]
    return value


@functools.cache
def class_of(address: str) -> str:
    """Return the traffic class in whose prefix a far end lies."""
    for name, prefix in REMOTES.items():
        if ipaddress.ip_address(address) in ipaddress.ip_network(prefix):
            return name
    return "unclassified"


def split(total: int, shares: Mapping[str, int]) -> dict[str, int]:
    """Return whole octets divided over classes: largest remainder, ties in order of names."""
    whole = sum(shares.values())
    if not whole:
        return {"unclassified": total}
    given = {name: total * share // whole for name, share in shares.items()}
    left = total - sum(given.values())
    by_rest = sorted(shares, key=lambda name: (-(total * shares[name] % whole), name))
    for name in by_rest[:left]:
        given[name] += 1
    return given
