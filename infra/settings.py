"""One typed settings tree: the sum of each package's config, from file, environment and flags.

A flag beats a variable, a variable beats the file, the file beats the default::

    flowrate.toml                [api] listen_port = 8080
    environment                  FLOWRATE_API__LISTEN_PORT=8080
    flag                         --set api.listen_port=8080

Whatever is wrong is reported at once, each finding with its place, key, value and what was
expected. Adding a package's config is one field of `Settings` (or of one of its groups).
"""

from __future__ import annotations

import dataclasses
import functools
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from api.config import ApiConfig
from billing.acting.profiles import VENDOR_PROFILES
from billing.config import CableConfig, DatabaseConfig, OfficeConfig
from collectors.checks import check_flow_receiver, check_radius, check_spool
from collectors.config import FlowReceiverConfig, RadiusConfig, SpoolConfig
from collectors.netflow.config import FlowDecodeConfig, check_decode
from infra import clock, network
from infra.config import (
    ClockConfig,
    LogsConfig,
    MetricsConfig,
    SupervisorConfig,
    TracesConfig,
    check_traces,
)
from infra.conversion import Mismatch, from_text, nearest, shown, to_value
from infra.schema import Key, keys_of, walk
from infra.simulation.config import SimulationConfig
from rating import config as rate_config
from rating import session_config
from rating.connections import KafkaConfig, check_kafka
from streams import config as streams_config
from warehouse.config import WarehouseConfig

DEFAULT_FILE = Path("flowrate.toml")
"""Read where no other file is named and it exists."""

VARIABLE_PREFIX = "FLOWRATE_"
FOREIGN_VARIABLES = frozenset({"FLOWRATE_CONFIG", "FLOWRATE_CORPUS"})
"""Variables under our prefix that are no settings; so is everything under FLOWRATE_TEST_."""


def section(config: type) -> Any:
    """Return a dataclass field that holds a section with its defaults."""
    return dataclasses.field(default_factory=config)


@dataclasses.dataclass(frozen=True, slots=True)
class CollectorsSettings:
    """What comes in: flows and RADIUS."""

    flows: FlowReceiverConfig = section(FlowReceiverConfig)
    radius: RadiusConfig = section(RadiusConfig)


@dataclasses.dataclass(frozen=True, slots=True)
class RatingSettings:
    """The stages, from datagrams to charges."""

    decode: FlowDecodeConfig = section(FlowDecodeConfig)
    sessions: session_config.SessionsConfig = section(session_config.SessionsConfig)
    attribution: session_config.AttributionConfig = section(session_config.AttributionConfig)
    rate: rate_config.RateConfig = section(rate_config.RateConfig)


@dataclasses.dataclass(frozen=True, slots=True)
class ClusterSettings:
    """What the processes of a cluster share; unused while `mode` is "embedded"."""

    database_url: str = dataclasses.field(default="", repr=False)
    """PostgreSQL 15 or newer, ``postgresql://user:password@host:5432/flowrate``: stage state,
    positions, outbox and business data. Its collation must be C: `flowrate migrate` checks it."""
    database: DatabaseConfig = section(DatabaseConfig)
    kafka: KafkaConfig = section(KafkaConfig)
    topics: streams_config.TopicsConfig = section(streams_config.TopicsConfig)
    worker: streams_config.WorkerConfig = section(streams_config.WorkerConfig)
    spool: SpoolConfig = section(SpoolConfig)


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """Everything an operator may set."""

    mode: Literal["embedded", "cluster"] = "embedded"
    """"embedded" runs everything on this machine (`flowrate serve`); "cluster" runs one role per
    process over Kafka, PostgreSQL and ClickHouse."""
    data_dir: Path = Path("flowrate-data")
    """Directory of everything Flowrate keeps: logs, database, warehouse, secrets. A relative path
    counts from the folder of this file (without a file: from the working directory)."""
    network: network.NetworkConfig = section(network.NetworkConfig)
    collectors: CollectorsSettings = section(CollectorsSettings)
    rating: RatingSettings = section(RatingSettings)
    streams: streams_config.StreamsConfig = section(streams_config.StreamsConfig)
    cluster: ClusterSettings = section(ClusterSettings)
    office: OfficeConfig = section(OfficeConfig)
    warehouse: WarehouseConfig = section(WarehouseConfig)
    api: ApiConfig = section(ApiConfig)
    clock: ClockConfig = section(ClockConfig)
    logs: LogsConfig = section(LogsConfig)
    metrics: MetricsConfig = section(MetricsConfig)
    traces: TracesConfig = section(TracesConfig)
    supervisor: SupervisorConfig = section(SupervisorConfig)
    simulation: SimulationConfig = section(SimulationConfig)


def check_rating(config: RatingSettings) -> list[str]:
    """Return one message where the stages disagree about what is late."""
    bounds = {
        "sessions": config.sessions.lateness_bound_seconds,
        "attribution": config.attribution.lateness_bound_seconds,
        "rate": config.rate.lateness_bound_seconds,
    }
    if len(set(bounds.values())) == 1:
        return []
    told = ", ".join(f"{name}.lateness_bound_seconds = {bound}" for name, bound in bounds.items())
    return [f"{told}: expected the same bound in all three"]


def check_vendors(config: RadiusConfig) -> list[str]:
    """Return one message per NAS whose vendor has no profile for CoA."""
    return [
        f"clients[{number}].vendor = {nas.vendor!r}: expected one of"
        f" {', '.join(sorted(VENDOR_PROFILES))}"
        for number, nas in enumerate(config.clients)
        if nas.vendor not in VENDOR_PROFILES
    ]


def check_cluster(settings: Settings) -> list[str]:
    """Return one message where a cluster cannot find its database."""
    if settings.mode == "embedded":
        return []
    if not settings.cluster.database_url.startswith(("postgresql://", "postgres://")):
        return ["database_url: expected postgresql://user:password@host:port/database"]
    return []


def check_raw_flows(settings: Settings) -> list[str]:
    """Return one message where a table is asked for that only a cluster's sinks can write."""
    if settings.mode == "embedded" and settings.warehouse.raw_flows.is_enabled:
        return ['is_enabled = true: expected mode = "cluster"; embedded has no raw flows']
    return []


def check_cable(config: CableConfig) -> list[str]:
    """Return one message where entitlements would expire before they are renewed."""
    if config.entitlement_days >= 2 * config.renewal_days:
        return []
    return [
        f"entitlement_days = {config.entitlement_days}: expected at least twice renewal_days"
        f" ({config.renewal_days}), so that a card outlives a renewal that fails"
    ]


NEVER_ZERO = (
    "office.billing.invoices_per_run",
    "office.billing.postings_per_run",
    "office.acting.commands_per_round",
    "office.cable.cards_per_round",
    "office.cable.entitlement_days",
    "office.cable.renewal_days",
    "office.cable.reconcile_hours",
    "office.cable.retry_seconds",
    "office.cable.verify_rounds",
    "office.cable.cas.window_requests",
    "office.notifications.batch_size",
    "office.notifications.attempts_max",
    "warehouse.endpoint.workers",
    "warehouse.endpoint.waiting_requests",
    "warehouse.endpoint.statement_octets",
    "warehouse.endpoint.insert_octets",
    "warehouse.endpoint.result_rows",
    "warehouse.endpoint.result_octets",
    "warehouse.endpoint.execution_seconds",
    "warehouse.endpoint.memory_octets",
    "warehouse.endpoint.threads_per_query",
    "warehouse.sink.batch_rows",
    "warehouse.raw_flows.batch_rows",
    "warehouse.raw_flows.buffered_rows",
    "warehouse.raw_flows.entry_rows",
    "cluster.database.pool_connections",
    "cluster.database.connect_timeout_seconds",
    "cluster.database.statement_timeout_seconds",
    "cluster.database.lock_timeout_seconds",
    "cluster.database.idle_transaction_timeout_seconds",
    "cluster.database.silence_seconds",
    "cluster.database.role_silence_seconds",
    "cluster.worker.mark_interval_milliseconds",
    "cluster.worker.idle_interval_milliseconds",
    "api.page_size_default",
    "api.page_size_max",
    "api.series_points_max",
    "api.request_octets_max",
    "api.live_samples_max",
)
"""Keys that would stop the work at 0, or (ClickHouse's limits) leave it without a bound."""


def check_never_zero(settings: Settings) -> list[str]:
    """Return one message per key of NEVER_ZERO that is 0."""
    return [
        f"{key} = 0: expected 1 or more"
        for key in NEVER_ZERO
        if not functools.reduce(getattr, key.split("."), settings)
    ]


CHECKS: tuple[tuple[str, Callable[[Settings], list[str]]], ...] = (
    ("office.cable", lambda settings: check_cable(settings.office.cable)),
    ("network", lambda settings: network.check(settings.network)),
    ("collectors.flows", lambda settings: check_flow_receiver(settings.collectors.flows)),
    ("collectors.radius", lambda settings: check_radius(settings.collectors.radius)),
    ("collectors.radius", lambda settings: check_vendors(settings.collectors.radius)),
    ("rating.decode", lambda settings: check_decode(settings.rating.decode)),
    ("rating", lambda settings: check_rating(settings.rating)),
    ("rating.rate", lambda settings: rate_config.check_rate(settings.rating.rate)),
    ("rating.sessions", lambda settings: session_config.check_sessions(settings.rating.sessions)),
    (
        "rating.attribution",
        lambda settings: session_config.check_attribution(settings.rating.attribution),
    ),
    ("streams", lambda settings: streams_config.check(settings.streams)),
    ("cluster", check_cluster),
    ("cluster.kafka", lambda settings: check_kafka(settings.cluster.kafka)),
    ("cluster.topics", lambda settings: streams_config.check_topics(settings.cluster.topics)),
    ("cluster", lambda settings: check_spool(settings.cluster.spool, settings.cluster.kafka)),
    ("cluster.worker", lambda settings: streams_config.check_worker(settings.cluster.worker)),
    ("warehouse.raw_flows", check_raw_flows),
    ("clock", lambda settings: clock.check(settings.clock)),
    ("traces", lambda settings: check_traces(settings.traces)),
)
"""What types cannot say: (section, function that returns one message per finding)."""


class SettingsError(Exception):
    """Settings that cannot be used; `problems` has one line per finding, in order of place."""

    def __init__(self, problems: Sequence[str]) -> None:
        """Keep the findings; str() joins them with line breaks."""
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@dataclasses.dataclass(frozen=True, slots=True)
class Written:
    """One value as somebody wrote it: where, how the key is spelt there, and the value.

    is_text marks a variable's or flag's text, which `conversion.from_text` reads. A relative path
    counts from folder.
    """

    place: str
    spelling: str
    value: Any
    is_text: bool
    folder: Path


KeyPath = tuple[str, ...]


def load_settings(
    file: Path | None = None,
    flags: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Return the settings; SettingsError lists everything that is wrong with them.

    file is read if given; flags are ``section.key=value`` texts; environment defaults to the
    process's own. Relative paths resolve against the file's folder, else the working directory.
    """
    problems: list[str] = []
    variables = os.environ if environment is None else environment
    layers = [
        *([_from_file(file, problems)] if file is not None else []),
        _from_environment(variables, problems),
        _from_flags(flags, problems),
    ]
    folder = file.parent if file is not None else Path()
    values: dict[KeyPath, tuple[Any, Written]] = {}
    leaves = dict(walk(Settings))
    for layer in layers:
        for path, written in layer:
            try:
                values[path] = (_convert(leaves[path], written, problems), written)
            except Mismatch as mismatch:
                problems.append(_complaint(leaves[path], written, mismatch))
    settings = _build(Settings, (), values, problems)
    if problems:
        raise SettingsError(problems)
    assert isinstance(settings, Settings)
    findings = [f"{name}: {found}" for name, check in CHECKS for found in check(settings)]
    findings += check_never_zero(settings)
    if findings:
        raise SettingsError([f"{file or 'settings'}: {finding}" for finding in findings])
    return dataclasses.replace(settings, data_dir=(folder / settings.data_dir).resolve())


def find_file(named: Path | None, environment: Mapping[str, str] | None = None) -> Path | None:
    """Return the settings file in force: the named one, FLOWRATE_CONFIG's, or ./flowrate.toml."""
    variables = os.environ if environment is None else environment
    if named is not None:
        return named
    if variables.get("FLOWRATE_CONFIG"):
        return Path(variables["FLOWRATE_CONFIG"])
    return DEFAULT_FILE if DEFAULT_FILE.exists() else None


def variable_of(path: KeyPath) -> str:
    """Return the environment variable of a key: FLOWRATE_API__LISTEN_PORT."""
    return VARIABLE_PREFIX + "__".join(part.upper() for part in path)


def _from_file(file: Path, problems: list[str]) -> list[tuple[KeyPath, Written]]:
    try:
        tree = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        problems.append(f"{file}: cannot be read: {error.strerror}")
        return []
    except UnicodeDecodeError as error:
        problems.append(f"{file}: not UTF-8 text (octet {error.start})")
        return []
    except tomllib.TOMLDecodeError as error:
        problems.append(f"{file}: not valid TOML: {error}")
        return []
    return list(_flatten(Settings, tree, (), file, problems))


def _flatten(
    config: type, table: Mapping[str, Any], path: KeyPath, file: Path, problems: list[str]
) -> Iterator[tuple[KeyPath, Written]]:
    """Yield what a file sets, leaf by leaf; an unknown key is a finding."""
    known = keys_of(config)
    for name, value in table.items():
        here = (*path, name)
        key = known.get(name)
        if key is None:
            problems.append(f"{file}: {'.'.join(here)}: unknown key{_meant(here)}")
        elif key.section is None:
            yield here, Written(str(file), ".".join(here), value, False, file.parent)
        elif isinstance(value, Mapping):
            yield from _flatten(key.section, value, here, file, problems)
        else:
            problems.append(
                f"{file}: {'.'.join(here)} = {shown(None, value)}: expected a section,"
                f" [{'.'.join(here)}]"
            )


def _from_environment(
    variables: Mapping[str, str], problems: list[str]
) -> list[tuple[KeyPath, Written]]:
    found = []
    leaves = dict(walk(Settings))
    for name in sorted(variables):
        if not name.startswith(VARIABLE_PREFIX) or name.startswith("FLOWRATE_TEST_"):
            continue
        path = tuple(name.removeprefix(VARIABLE_PREFIX).lower().split("__"))
        if path in leaves:
            found.append((path, Written("environment", name, variables[name], True, Path())))
        elif name not in FOREIGN_VARIABLES:
            guess = nearest(name, [variable_of(leaf).lower() for leaf in leaves])
            meant = f"; did you mean {guess.upper()}?" if guess else ""
            problems.append(f"environment: {name}: unknown setting{meant}")
    return found


def _from_flags(flags: Sequence[str], problems: list[str]) -> list[tuple[KeyPath, Written]]:
    found = []
    leaves = dict(walk(Settings))
    for flag in flags:
        name, equals, text = flag.partition("=")
        path = tuple(name.strip().split("."))
        if not equals:
            problems.append(f"flag --set {flag}: expected section.key=value")
        elif path in leaves:
            found.append((path, Written("flag --set", ".".join(path), text, True, Path())))
        else:
            is_section = any(leaf[: len(path)] == path for leaf in leaves)
            wrong = "a section, not a key" if is_section else f"unknown key{_meant(path)}"
            problems.append(f"flag --set: {name}: {wrong}")
    return found


def _meant(path: KeyPath) -> str:
    """Return "; did you mean …?" for a key that is a sibling misspelt or stands elsewhere."""
    leaves = [".".join(leaf) for leaf, _ in walk(Settings)]
    sections = {leaf.rpartition(".")[0] for leaf in leaves} - {""}
    sections |= {section.rpartition(".")[0] for section in sections} - {""}
    elsewhere = [leaf for leaf in leaves if leaf.rpartition(".")[2] == path[-1]]
    dotted = ".".join(path)
    parent = ".".join(path[:-1])
    siblings = [name for name in (*leaves, *sections) if name.rpartition(".")[0] == parent]
    guess = elsewhere[0] if len(elsewhere) == 1 else nearest(dotted, siblings)
    guess = guess or nearest(dotted, [*leaves, *sections])
    return f"; did you mean {guess}?" if guess else ""


def _convert(key: Key, written: Written, problems: list[str]) -> Any:
    value = from_text(key.type, written.value) if written.is_text else written.value
    if key.row is None:
        typed = to_value(key.type, value, key.name)
        return (written.folder / typed.expanduser()).resolve() if key.type is Path else typed
    if not isinstance(value, list) or not all(isinstance(row, Mapping) for row in value):
        raise Mismatch(f"a list of tables, [[{written.spelling}]]")
    return tuple(
        _row(key.row, row, f"{written.place}: {written.spelling}[{number}]", problems)
        for number, row in enumerate(value)
    )


def _row(row: type, table: Mapping[str, Any], place: str, problems: list[str]) -> Any:
    """Return one entry of a list of tables; findings name it by its number, from 0."""
    keys = keys_of(row)
    values = {}
    before = len(problems)
    for name, value in table.items():
        key = keys.get(name)
        if key is None:
            guess = nearest(name, keys)
            problems.append(
                f"{place}.{name}: unknown key{f'; did you mean {guess}?' if guess else ''}"
            )
            continue
        try:
            values[name] = to_value(key.type, value, name)
        except Mismatch as mismatch:
            wrong = shown(key, value if mismatch.value is None else mismatch.value)
            problems.append(f"{place}.{name}{mismatch.at} = {wrong}: {_wanted(mismatch)}")
    problems.extend(
        f"{place}.{key.name}: missing: {key.doc or 'it has no default'}"
        for key in keys.values()
        if key.is_required and key.name not in table
    )
    return _construct(row, values, place, problems) if len(problems) == before else None


def _build(
    config: type,
    path: KeyPath,
    values: Mapping[KeyPath, tuple[Any, Written]],
    problems: list[str],
) -> Any:
    """Return the section with its values; None where it could not be made."""
    arguments = {}
    places = []
    before = len(problems)
    for key in keys_of(config).values():
        here = (*path, key.name)
        if key.section is not None:
            arguments[key.name] = _build(key.section, here, values, problems)
        elif here in values:
            value, written = values[here]
            arguments[key.name] = value
            places.append(written.place)
        elif key.is_required:
            problems.append(f"settings: {'.'.join(here)}: missing: {key.doc}")
    if len(problems) > before:
        return None
    place = " and ".join(dict.fromkeys(places)) or "settings"
    return _construct(config, arguments, f"{place}: {'.'.join(path)}", problems)


def _construct(config: type, arguments: dict[str, Any], place: str, problems: list[str]) -> Any:
    """Return config(**arguments); what its own checks refuse (ValueError) is a finding."""
    try:
        return config(**arguments)
    except ValueError as error:
        problems.append(f"{place}: {error}")
        return None


def _complaint(key: Key, written: Written, mismatch: Mismatch) -> str:
    wrong = shown(key, written.value if mismatch.value is None else mismatch.value)
    return f"{written.place}: {written.spelling}{mismatch.at} = {wrong}: {_wanted(mismatch)}"


def _wanted(mismatch: Mismatch) -> str:
    return f"expected {mismatch.expected}{f'; {mismatch.hint}' if mismatch.hint else ''}"
