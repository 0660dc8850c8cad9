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


@dataclasses.dataclass(frozen=True, slots=True)
class WarehouseConfig:
    """Everything the warehouse needs; `infra.settings` has it as the section `warehouse`."""

    store_directory: str = "./flowrate-data/store"
    """Directory of the chDB files (`chdb/`) and of the sink's `store.sqlite`."""

    database: str = "default"
    """ClickHouse database that holds the tables."""

    generation: int = 1
    """Number of the tables' generation; a rebuild fills the next one beside the old."""

    reader_user: str = "reader"
    """User of API, CLI and Grafana: reads only."""

    reader_password: str = ""
    """Password of the reader's user, from the secrets file. Empty: the store does not start."""

    sink_user: str = "sink"
    """User that may write; used by a sink outside the store process and by migrations."""

    sink_password: str = ""
    """Password of the sink's user, from the secrets file. Empty: the store does not start."""

    secure: bool = False
    """Whether clients use https (a ClickHouse server in cluster mode; never the store)."""

    connect_timeout_seconds: int = 5
    """How long a client waits for a connection."""

    query_timeout_seconds: int = 60
    """How long a client waits for an answer."""

    endpoint: EndpointConfig = dataclasses.field(default_factory=EndpointConfig)
    """The HTTP endpoint, which is also the address that clients connect to."""

    sink: SinkConfig = dataclasses.field(default_factory=SinkConfig)
    """The sink of rated usage."""
