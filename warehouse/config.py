"""Settings of the warehouse: the store process, its endpoint, the sink and the client."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class EndpointConfig:
    """The ClickHouse HTTP endpoint that the store process serves (DESIGN §5)."""

    host: str = "127.0.0.1"
    """Address to listen on. Anything but loopback puts the passwords on the wire in clear text."""

    port: int = 8123
    """TCP port; 0 takes a free one, which `warehouse.store.Store.port` then tells."""

    allowed_hosts: tuple[str, ...] = ("127.0.0.1", "localhost", "[::1]")
    """Names accepted in the Host header, without the port; others are refused (DNS rebinding)."""

    workers: int = 6
    """Threads that run queries, hence queries at one time."""

    waiting_requests: int = 64
    """Requests that may wait for a worker; one more is answered with 503."""

    statement_octets: int = 1 << 20
    """Longest statement in octets, and the longest body that a reader may send."""

    insert_octets: int = 256 << 20
    """Longest insert body of the sink's user in octets, after decompression."""

    result_rows: int = 1_000_000
    """Rows that a reader's query may return."""

    result_octets: int = 256 << 20
    """Octets that a reader's query may return, as the engine counts them uncompressed."""

    execution_seconds: int = 30
    """Longest run time of a reader's query."""

    memory_octets: int = 2 << 30
    """Memory that one reader's query may take."""

    threads_per_query: int = 2
    """Engine threads of one reader's query."""


@dataclasses.dataclass(frozen=True, slots=True)
class SinkConfig:
    """How rated usage is moved from the engine's topic into the warehouse (DESIGN §3.7)."""

    topic: str = "usage.rated"
    """The topic that the sink follows; also the first part of every deduplication token."""

    partition: int = 0
    """The topic's partition that this sink follows (embedded mode has only 0)."""

    batch_rows: int = 100_000
    """Rows of one insert. A single log entry with more rows is still one insert."""

    interval_seconds: float = 1.0
    """Longest wait before what is there is inserted, however little: the dashboards' age."""

    snapshot_interval_seconds: float = 5.0
    """Time between two copies of sessions, alerts and commands into the warehouse."""

    retry_seconds: float = 2.0
    """Wait before a failed insert is replayed as recorded."""

    invoice_interval_seconds: float = 300.0
    """Time between two copies of issued invoices and their lines into the warehouse."""

    claim_timeout_seconds: float = 30.0
    """Cluster: a sink silent for this long loses its partitions to the others. Also the longest
    that an insert may wait to be taken: later, ClickHouse refuses it."""

    claim_renew_seconds: float = 5.0
    """Cluster: how often a sink renews its claims and shares partitions out with the others."""

    buffered_rows: int = 400_000
    """Cluster: rows read ahead from Kafka per sink process; then it reads no more until some are
    inserted."""

    consumer_group: str = "flowrate-sink"
    """Cluster: the group under which offsets are told to Kafka, for watching the lag. Positions
    are kept in PostgreSQL and never read from there."""

    check_at_hour: int = 3
    """Hour of the day (UTC) of the nightly check of rollups; 24 never."""

    check_months: int = 2
    """Newest months that the nightly check compares; 0 all."""

    hold_seconds: float = 120.0
    """Longest that a repair holds inserts off; one that takes longer is begun again later."""


@dataclasses.dataclass(frozen=True, slots=True)
class RetentionConfig:
    """How many days each table keeps its rows, by the rows' own time; 0, or more than 20,000,
    keeps them for ever."""

    rated_days: int = 0
    """Rated usage, the base: invoices are explained from it. Rollups are kept on their own."""

    network_minute_days: int = 0
    """Everybody's usage per minute and class."""

    subscriber_minute_days: int = 62
    """Usage per subscriber, class and minute: the largest rollup."""

    subscriber_quarter_hour_days: int = 0
    """Usage per subscriber, class and quarter hour: what local hours and days are made of."""

    subscriber_hour_days: int = 0
    """Usage per subscriber, class and hour (UTC)."""

    subscriber_day_days: int = 0
    """Usage per subscriber, class and day (UTC)."""

    charge_days: int = 0
    """Charges per quarter hour, rating key and meter."""

    live_session_days: int = 0
    """Newest state of sessions, by when they were last seen."""

    session_days: int = 0
    """History of sessions, by when they were last seen."""

    alert_days: int = 0
    """Thresholds crossed."""

    command_days: int = 0
    """Commands to NASes."""

    loss_days: int = 0
    """Lost export datagrams per minute and hour."""

    flow_hour_days: int = 0
    """What flows say of each subscriber per hour and exporter."""

    invoice_days: int = 0
    """Issued invoices and their lines, by their period's end."""

    raw_flow_days: int = 30
    """Raw flows, by when they were received. They say who talked to whom: keep them no longer than
    the law wants."""


@dataclasses.dataclass(frozen=True, slots=True)
class RawFlowConfig:
    """Cluster: the optional table of raw flows, one row per flow that an exporter reported."""

    is_enabled: bool = False
    """Whether sinks write it. It is by far the largest table, and nothing that is billed needs it:
    it answers who talked to an address at a time."""

    batch_rows: int = 200_000
    """Rows of one insert. A single log entry with more rows is still one insert."""

    interval_seconds: float = 5.0
    """Longest wait before what is there is inserted, however little."""

    buffered_rows: int = 400_000
    """Rows decoded ahead per sink process; then it reads no more until some are inserted."""

    entry_rows: int = 800_000
    """Rows of one log entry; the flows beyond are dropped. Only data sets that waited for a
    template of their exporter and come free all at once are ever so many."""

    consumer_group: str = "flowrate-raw-flows"
    """The group under which offsets are told to Kafka, for watching the lag."""


@dataclasses.dataclass(frozen=True, slots=True)
class WarehouseConfig:
    """Everything the warehouse needs; `infra.settings` has it as the section `warehouse`."""

    store_directory: str = "./flowrate-data/store"
    """Directory of the chDB files (`chdb/`) and of the sink's `store.sqlite`."""

    database: str = "default"
    """ClickHouse database that holds the tables."""

    generation: int = 1
    """Number of the first tables' generation. Which one is in force afterwards is recorded by
    `flowrate warehouse rebuild`, which fills the next one beside it."""

    reader_user: str = "reader"
    """User of API, CLI and Grafana: reads only."""

    reader_password: str = dataclasses.field(default="", repr=False)
    """Password of the reader's user. Empty: the one that the secrets file has, made by itself."""

    sink_user: str = "sink"
    """User that may write; used by a sink outside the store process and by migrations."""

    sink_password: str = dataclasses.field(default="", repr=False)
    """Password of the sink's user. Empty: the one that the secrets file has, made by itself."""

    secure: bool = False
    """Whether clients use https (a ClickHouse server in cluster mode; never the store)."""

    ca_file: str = ""
    """File of the certificates that the server's is checked against; empty: the system's."""

    connect_timeout_seconds: int = 5
    """How long a client waits for a connection."""

    query_timeout_seconds: int = 60
    """How long a client waits for an answer."""

    endpoint: EndpointConfig = dataclasses.field(default_factory=EndpointConfig)
    """The HTTP endpoint, which is also the address that clients connect to."""

    sink: SinkConfig = dataclasses.field(default_factory=SinkConfig)
    """The sink of rated usage."""

    raw_flows: RawFlowConfig = dataclasses.field(default_factory=RawFlowConfig)
    """The optional table of raw flows."""

    retention: RetentionConfig = dataclasses.field(default_factory=RetentionConfig)
    """How long each table keeps its rows."""
