"""A real Kafka and a real PostgreSQL of a test's own: started, frozen, killed and restarted.

Both keep their directory and their port over restarts, listen on 127.0.0.1 only and end with the
process that started them. `infra/peers/install` installs what they need.
"""

from __future__ import annotations

import base64
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

import psycopg
from kafka import KafkaAdminClient
from kafka.errors import KafkaError
from psycopg import sql

from tests.cluster.processes import ServerProcess, as_user, free_port

KAFKA_VERSION = "4.1.0"
POSTGRES_PROGRAMS = Path("/usr/lib/postgresql/15/bin")
PASSWORD = "flowrate"

KAFKA_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
controller.listener.names=CONTROLLER
listeners={listeners},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners={advertised}
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,\
SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL{further_protocols}
log.dirs={directory}/kafka
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
log.cleaner.dedupe.buffer.size=16777216
"""

POSTGRES_OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "128MB",
    "max_connections": "200",
    "fsync": "on",
    "synchronous_commit": "on",
    "logging_collector": "off",
    "log_min_messages": "warning",
}


def kafka_jars() -> Path:
    """Return the folder of Kafka's jars, where `infra/peers/install` puts them."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "flowrate" / f"kafka-{KAFKA_VERSION}"


class Kafka:
    """One broker that is its own controller."""

    def __init__(
        self,
        directory: Path,
        listeners: Sequence[str] = (),
        properties: str = "",
        advertised: Mapping[str, str] | None = None,
    ) -> None:
        """Keep everything under directory.

        listeners are security protocols to speak beside PLAINTEXT, each on a port of its own;
        properties are further lines of server.properties. advertised are further PLAINTEXT
        listeners by name, with the host:port that clients are sent to: a path to the broker that
        a test may cut.
        """
        self.directory = directory
        self._advertised = dict(advertised or {})
        names = ("PLAINTEXT", *listeners, *self._advertised)
        self.ports = {name: free_port() for name in names}
        self._properties = properties
        self._process = ServerProcess("kafka", directory)

    @property
    def bootstrap(self) -> str:
        """Address of the broker, host:port."""
        return self.address("PLAINTEXT")

    def address(self, protocol: str) -> str:
        """Return host:port where the broker listens, by security protocol or listener."""
        return f"127.0.0.1:{self.ports[protocol]}"

    @property
    def pid(self) -> int:
        """Process id of the broker."""
        return self._process.pid

    def start(self) -> None:
        """Start the broker, formatting its directory the first time; wait until it answers."""
        file = self.directory / "server.properties"
        if not file.exists():
            self._format(file)
        self._process.start(self._java("-Xmx512m", "kafka.Kafka", str(file)), self._answers)

    def stop(self) -> None:
        """End it in order."""
        self._process.stop(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL it."""
        self._process.kill()

    def pause(self) -> None:
        """SIGSTOP it: it keeps its connections and answers nobody."""
        self._process.pause()

    def resume(self) -> None:
        """Let a paused broker go on."""
        self._process.resume()

    def run_tool(self, tool: str, *arguments: str) -> str:
        """Run one of Kafka's own programs, such as org.apache.kafka.tools.ProducerPerformance.

        Returns what it printed; AssertionError with what it said where it failed.
        """
        command = self._java("-Xmx256m", tool, *arguments)
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def _java(self, heap: str, program: str, *arguments: str) -> list[str]:
        quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
        return ["java", heap, quiet, "-cp", f"{kafka_jars()}/*", program, *arguments]

    def _format(self, file: Path) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        text = KAFKA_PROPERTIES.format(
            listeners=",".join(f"{name}://{self.address(name)}" for name in self.ports),
            advertised=",".join(
                f"{name}://{self._advertised.get(name, self.address(name))}" for name in self.ports
            ),
            further_protocols="".join(f",{name}:PLAINTEXT" for name in self._advertised),
            controller_port=free_port(),
            directory=self.directory,
        )
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        unfinished = file.with_suffix(".new")
        unfinished.write_text(text + self._properties)
        command = ["format", f"--cluster-id={cluster}", "--config", str(unfinished)]
        self.run_tool("kafka.tools.StorageTool", *command)
        unfinished.rename(file)

    def _answers(self) -> bool:
        host, _, port = self.bootstrap.partition(":")
        try:
            # The client would wait ever longer between its attempts.
            socket.create_connection((host, int(port)), timeout=5).close()
            admin = KafkaAdminClient(bootstrap_servers=self.bootstrap, bootstrap_timeout_ms=2_000)
        except (KafkaError, OSError):
            return False
        try:
            return bool(admin.describe_cluster()["brokers"])
        except (KafkaError, OSError):
            return False
        finally:
            admin.close()


class Postgres:
    """One PostgreSQL 15 that writes to disk as a production one does (fsync on)."""

    def __init__(self, directory: Path) -> None:
        """Keep everything under directory.

        PostgreSQL refuses to run as root: then it runs as Debian's user `postgres`, and where that
        user may not enter directory (pytest's are private), its data lies in a temporary folder.
        """
        self.directory = directory
        self.port = free_port()
        self._user = "postgres" if os.geteuid() == 0 else None
        self._elsewhere: tempfile.TemporaryDirectory[str] | None = None
        if self._user is not None and not _may_be_entered(directory):
            self._elsewhere = tempfile.TemporaryDirectory(prefix="flowrate-postgresql-")
            Path(self._elsewhere.name).chmod(0o711)
        self.data = Path(self._elsewhere.name if self._elsewhere else directory) / "postgresql"
        self._process = ServerProcess("postgresql", directory, self._user)

    @property
    def url(self) -> str:
        """URL of the first database, `flowrate`, of a superuser."""
        return self.database_url("flowrate")

    def database_url(self, name: str) -> str:
        """Return the URL of a database of this server."""
        return f"postgresql://flowrate:{PASSWORD}@127.0.0.1:{self.port}/{name}"

    @property
    def pid(self) -> int:
        """Process id of the postmaster."""
        return self._process.pid

    def start(self) -> None:
        """Start the server, creating its data directory the first time; wait until it answers."""
        is_new = not (self.data / "PG_VERSION").exists()
        if is_new:
            self._create_data()
        options = {**POSTGRES_OPTIONS, "port": str(self.port)}
        flags = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        command = [str(POSTGRES_PROGRAMS / "postgres"), "-D", str(self.data), *flags]
        self._process.start(command, self._answers)
        if is_new:
            self.create_database("flowrate")

    def stop(self) -> None:
        """End it in order: "fast", which closes its clients' connections."""
        self._process.stop(signal.SIGINT)

    def kill(self) -> None:
        """SIGKILL the postmaster and all its children, as a crash of the machine ends them."""
        self._process.kill()

    def pause(self) -> None:
        """SIGSTOP all of it: it keeps its connections and answers nobody."""
        self._process.pause()

    def resume(self) -> None:
        """Let a paused server go on."""
        self._process.resume()

    def create_database(self, name: str) -> str:
        """Create an empty database and return its URL."""
        with psycopg.connect(self.database_url("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.database_url(name)

    def drop_database(self, name: str) -> None:
        """Drop a database, whoever is still connected to it."""
        statement = sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
        with psycopg.connect(self.database_url("postgres"), autocommit=True) as connection:
            connection.execute(statement)

    def _create_data(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.data.mkdir(mode=0o700)
        if self._user is not None:
            shutil.chown(self.data, self._user, self._user)
        password = self.data.with_name("password")
        password.write_text(PASSWORD)
        if self._user is not None:
            shutil.chown(password, self._user, self._user)
        command = [str(POSTGRES_PROGRAMS / "initdb"), "-D", str(self.data), "-U", "flowrate"]
        command += ["--auth=scram-sha-256", f"--pwfile={password}"]
        command += ["--encoding=UTF8", "--locale=C.UTF-8", "--no-instructions"]
        ended = subprocess.run(
            command, capture_output=True, text=True, cwd="/", **as_user(self._user)
        )
        assert ended.returncode == 0, ended.stderr

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.database_url("postgres"), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True


def _may_be_entered(directory: Path) -> bool:
    """Whether every user may walk into directory."""
    existing = [folder for folder in (directory, *directory.parents) if folder.exists()]
    return all(folder.stat().st_mode & 0o001 for folder in existing)
