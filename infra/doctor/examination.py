"""Examines an installation: facts from the shells, findings from the checks, area by area.

Nothing that is examined is changed. What cannot be examined is a finding like any other, so one
broken part hides nothing of the others.
"""

from __future__ import annotations

import json
import platform
import sqlite3
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from collectors.config import TlsConfig
from infra.doctor import machine, machine_facts, stored_facts
from infra.doctor.cluster_facts import cluster_findings
from infra.doctor.findings import Finding
from infra.doctor.machine import LogFact
from infra.doctor.nases import (
    CounterFact,
    by_nas,
    check_direction,
    check_gigawords,
    check_unit,
)
from infra.doctor.state import (
    FileFact,
    LagFact,
    OwnClock,
    check_certificate,
    check_clocks,
    check_lag,
    check_mode,
    check_nas_secrets,
    check_own_clock,
    check_processes,
)
from infra.secrets import FILE_NAME as SECRETS_FILE
from infra.settings import Settings
from infra.supervisor import SupervisorStatus, read_status
from infra.wiring.logs import CONSUMERS
from infra.wiring.paths import LOGS, log_directory
from infra.wiring.relaying import relay_sources, relayed_number


class Case(NamedTuple):
    """What is examined: settings, their file, the supervisor's word (None in a cluster)."""

    settings: Settings
    file: Path | None
    status: SupervisorStatus | None

    @property
    def is_running(self) -> bool:
        """Whether an embedded instance runs on the data directory."""
        return self.status is not None and self.status.state == "running"

    @property
    def own_pids(self) -> frozenset[int]:
        """The processes of that instance."""
        if self.status is None:
            return frozenset()
        return frozenset(p.pid for p in self.status.processes if p.pid) | {self.status.pid}


def examine(settings: Settings, file: Path | None) -> list[Finding]:
    """Return the findings on settings that could be loaded, in the order of areas."""
    is_embedded = settings.mode == "embedded"
    case = Case(settings, file, read_status(settings.data_dir) if is_embedded else None)
    findings = [Finding("settings", str(file or "defaults"), "ok", "every key can be used")]
    for area, look in _AREAS:
        try:
            findings += look(case)
        except Exception as error:
            advice = "the other areas are examined all the same"
            findings.append(Finding(area, "examination", "fail", _told(error), advice))
    return findings


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"


def _processes(case: Case) -> list[Finding]:
    if case.settings.mode != "embedded":
        return []
    if case.status is None:
        return [Finding("processes", "instance", "ok", "nothing has run on this data directory")]
    if not case.is_running:
        return [Finding("processes", "instance", "ok", case.status.state)]
    states = [(p.name, p.state, p.restarts) for p in case.status.processes]
    return check_processes(states)


def _sockets(case: Case) -> list[Finding]:
    collectors, api = case.settings.collectors, case.settings.api
    udp = [("collectors.flows.listen", each) for each in collectors.flows.listen]
    udp += [("collectors.radius.listen", each) for each in collectors.radius.listen]
    more, radsec = collectors.flows.connections, collectors.radius.radsec
    tcp = [("collectors.flows.connections.listen", each) for each in more.listen]
    tcp += [("collectors.flows.connections.tls_listen", each) for each in more.tls_listen]
    tcp += [("collectors.radius.radsec.listen", each) for each in radsec.listen]
    tcp += [("api.listen_port", _listen(api.listen_address, api.listen_port))]
    if case.settings.mode == "embedded":
        endpoint = case.settings.warehouse.endpoint
        tcp.append(("warehouse.endpoint.port", _listen(endpoint.host, endpoint.port)))
    findings = []
    for key, listen, is_tcp in [(*e, False) for e in udp] + [(*e, True) for e in tcp]:
        if listen.endswith(":0"):
            continue
        fact = machine_facts.port_fact(key, listen, case.own_pids, is_tcp=is_tcp)
        findings.append(machine.check_port(fact, is_running=case.is_running))
    for name, asked in _buffers(case.settings).items():
        findings.append(machine.check_buffer(name, asked, machine_facts.granted_octets(asked)))
    return findings


def _listen(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _buffers(settings: Settings) -> dict[str, int]:
    collectors = settings.collectors
    return {
        "collectors.flows.receive_buffer_octets": collectors.flows.receive_buffer_octets,
        "collectors.radius.receive_buffer_octets": collectors.radius.receive_buffer_octets,
    }


def _sysctls(case: Case) -> list[Finding]:
    asked = max(_buffers(case.settings).values())
    return machine.check_sysctls(machine_facts.sysctls(), asked)


def _clocks(case: Case) -> list[Finding]:
    settings = case.settings
    offset_ms = 0
    shift = settings.data_dir / "clock.json"
    if shift.exists():
        offset_ms = int(json.loads(shift.read_text(encoding="utf-8"))["offset_ms"])
    newest = max((log.last_at for log in _logs(settings)), default=0)
    own = OwnClock(
        time.time_ns() // 1_000_000 + offset_ms,
        newest,
        machine_facts.is_synchronised(),
        offset_ms,
    )
    findings = check_own_clock(own, is_running=case.is_running)
    findings += check_clocks("NAS", stored_facts.nas_facts(settings).offsets_ms)
    with stored_facts.open_rows(settings) as rows:
        findings += check_clocks("exporter", stored_facts.exporter_offsets_ms(rows))
    return findings


def _secrets(case: Case) -> list[Finding]:
    settings, radius = case.settings, case.settings.collectors.radius
    findings = []
    for path in (case.file, settings.data_dir / SECRETS_FILE, settings.data_dir):
        if path is not None and path.exists():
            mode = stat.S_IMODE(path.stat().st_mode)
            findings.append(check_mode(FileFact(str(path), mode, path.is_dir())))
    findings += [finding for tls in _tls(settings) for finding in _of_tls(tls)]
    # Without an address a NAS comes by RadSec alone, where its certificate says who it is.
    secrets = {nas.nas_id: nas.secret for nas in radius.clients if nas.address}
    if radius.relay.server:
        secrets[f"relay to {radius.relay.server}"] = radius.relay.secret
    return findings + check_nas_secrets(secrets)


def _tls(settings: Settings) -> list[TlsConfig]:
    """Return what servers that take connections by TLS show."""
    collectors = settings.collectors
    flows, radsec = collectors.flows.connections, collectors.radius.radsec
    found = [flows.tls] if flows.tls_listen else []
    return found + ([radsec.tls] if radsec.listen else [])


def _of_tls(tls: TlsConfig) -> list[Finding]:
    now = time.time_ns() // 1_000_000
    path, key = Path(tls.certificate_file), Path(tls.key_file or tls.certificate_file)
    findings = [check_certificate(str(path), machine_facts.certificate_end_at(path), now)]
    if key.exists():
        findings.append(check_mode(FileFact(str(key), stat.S_IMODE(key.stat().st_mode))))
    return findings


def _disk(case: Case) -> list[Finding]:
    directory = case.settings.data_dir
    if not directory.exists():
        return [Finding("disk", str(directory), "ok", "not there yet: `flowrate serve` makes it")]
    findings = machine.check_space(
        machine_facts.disk_fact(directory),
        _logs(case.settings),
        case.settings.streams.log_retention_days,
    )
    return [*findings, machine.check_sync(machine_facts.synced_seconds(directory))]


def _logs(settings: Settings) -> list[LogFact]:
    """Return the raw logs on this disk; in a cluster they are in Kafka."""
    if settings.mode != "embedded":
        return []
    facts = [stored_facts.log_fact(log, log_directory(settings, log)) for log in LOGS]
    return [fact for fact in facts if fact is not None]


def _versions(case: Case) -> list[Finding]:
    findings = [
        machine.check_version("Python", platform.python_version(), machine.PYTHON_LEAST),
        machine.check_version("SQLite", sqlite3.sqlite_version, machine.SQLITE_LEAST),
    ]
    installed = machine_facts.installed_versions()
    if case.settings.mode == "embedded":
        findings.append(machine.check_version("chDB", installed.get("chdb", ""), (1,)))
    locked = machine.locked_versions(machine_facts.lock_text())
    needed = machine_facts.needed_names()
    return findings + machine.check_dependencies(locked, installed, needed)


def _positions(case: Case) -> list[Finding]:
    settings = case.settings
    findings = []
    with stored_facts.open_rows(settings) as rows:
        for log in LOGS if settings.mode == "embedded" else ():
            directory = log_directory(settings, log)
            found = rows(
                "select position from topic_position where task = ? and topic = ?",
                (CONSUMERS[log], log),
            )
            lag = _lag(f"engine in {log}", directory, int(found[0][0]) if found else 0)
            findings.append(check_lag(lag, is_running=case.is_running))
    for source in relay_sources(settings)[-1:] if settings.collectors.radius.relay.server else ():
        through = relayed_number(settings, source.name)
        directory = settings.data_dir / LOGS.get(source.name, f"spool/{source.name}")
        lag = _lag(f"relay in {source.name}", directory, through or 0)
        findings.append(check_lag(lag, is_running=case.is_running or case.status is None))
    return findings


def _lag(name: str, directory: Path, position: int) -> LagFact:
    fact = stored_facts.log_fact(name, directory)
    if fact is None:
        return LagFact(name, 0, 0)
    number = stored_facts.last_number(directory)
    if position >= number:
        return LagFact(name, 0, 0)
    reached_at = stored_facts.received_at(directory, position) or fact.first_at
    return LagFact(name, number - position, max(0, fact.last_at - reached_at))


def _nases(case: Case) -> list[Finding]:
    settings = case.settings
    with stored_facts.open_rows(settings) as rows:
        days = by_nas(stored_facts.subscriber_days(rows), stored_facts.nases_of_subscribers(rows))
    counters = stored_facts.nas_facts(settings).counters
    findings = []
    for nas in settings.collectors.radius.clients:
        of_nas = days.get(nas.nas_id, [])
        findings.append(check_direction(nas, of_nas))
        findings.append(check_unit(nas, of_nas))
        findings.append(check_gigawords(nas, counters.get(nas.nas_id, CounterFact(0, 0, 0, 0))))
    return findings


def _cluster(case: Case) -> list[Finding]:
    return cluster_findings(case.settings) if case.settings.mode == "cluster" else []


_AREAS: tuple[tuple[str, Callable[[Case], list[Finding]]], ...] = (
    ("processes", _processes),
    ("sockets", _sockets),
    ("sysctls", _sysctls),
    ("clocks", _clocks),
    ("secrets", _secrets),
    ("disk", _disk),
    ("versions", _versions),
    ("cluster", _cluster),
    ("positions", _positions),
    ("nas", _nases),
)
"""Areas in the order of the table, each with the function that looks at it."""
