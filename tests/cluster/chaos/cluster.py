"""Settings, servers, roles and the paths between them: everything that a cluster is."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg

from infra.clock import Clock, open_clock
from infra.demonstration.settings import settings_text
from infra.settings import Settings, load_settings
from tests.cluster.chaos.disk import SmallDisk
from tests.cluster.chaos.paths import Paths
from tests.cluster.chaos.supervision import Supervised
from tests.cluster.processes import free_port
from tests.cluster.servers import Kafka, Postgres
from tests.cluster.tasks import STAGES
from tests.infra.waiting import wait_until
from tests.simulation.installation import free_ports
from warehouse.connect import WarehouseClient, client

PARTITIONS = 4
API_KEY = "fr_chaos"
START_SECONDS = 120.0
DATABASE = "flowrate_chaos"
COMMANDS_SECONDS = 10.0
"""What `migrate` and `topics apply` take together on two cores that do nothing else is half."""

ROLES = {
    "flows": ("collect", "flows"),
    "radius": ("collect", "radius"),
    "worker-0": ("worker",),
    "worker-1": ("worker",),
    "sink": ("sink",),
    "api": ("api",),
    "act": ("act",),
    "schedule": ("schedule",),
}
"""Processes by name -> the command of their role."""

KAFKA_CLIENTS = ("flows", "radius", "worker-0", "worker-1", "sink")
"""Who has a path of its own to Kafka; everyone has one to PostgreSQL."""

SETTINGS_MORE = """\

[cluster]
database_url = "{database_url}"

[cluster.kafka]
bootstrap_servers = ["{bootstrap}"]
request_timeout_milliseconds = 5000
delivery_timeout_milliseconds = 15000

[cluster.spool]
collector_id = "chaos"
radius_ack_after = "{ack_after}"
lease_seconds = 300.0

[cluster.database]
role_silence_seconds = 5

[cluster.topics]
partitions = {partitions}
replication_factor = 1
min_insync_replicas = 1

[warehouse]
reader_password = "r"
sink_password = "s"

[warehouse.sink]
claim_timeout_seconds = 6.0
claim_renew_seconds = 1.0
retry_seconds = 0.5
check_at_hour = 24

[metrics]
is_enabled = false
"""


class BusyKafka(Kafka):
    """A broker during whose start somebody else is looked after."""

    meanwhile: Callable[[], None] = staticmethod(lambda: None)

    def _answers(self) -> bool:
        self.meanwhile()
        return super()._answers()


class Cluster:
    """One directory with everything in it; `start` brings up all but the network."""

    def __init__(
        self, directory: Path, *, lines: int, minutes: int, lateness: int, ack_after: str
    ) -> None:
        """Write the settings. The month ends so many whole minutes after the founding's."""
        self.directory = directory
        self._minutes = minutes
        self.data_dir = directory / "data"
        self.data_dir.mkdir(mode=0o700)
        self.truth_file = directory / "truth.jsonl"
        self.paths = Paths()
        self.disk = SmallDisk(self.data_dir / "spool")
        ports = {name: free_port() for name in KAFKA_CLIENTS}
        self._kafka_paths = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
        self.kafka = BusyKafka(
            _made(directory / "kafka"),
            advertised={_listener(name): at for name, at in self._kafka_paths.items()},
        )
        self.postgres = Postgres(_made(directory / "postgres"))
        self._ports = free_ports()
        text = settings_text(self._ports, lines=lines)
        for old, new in (
            ('data_dir = "."', f"data_dir = {json.dumps(str(self.data_dir))}"),
            ("lateness_bound_seconds = 10", f"lateness_bound_seconds = {lateness}"),
            ("[api]\n", f'[api]\noperator_key = "{API_KEY}"\n'),
            (
                "[simulation]\n",
                "[simulation]\npools = 2\nsession_mean_seconds = 30\n"
                f"truth_file = {json.dumps(str(self.truth_file))}\n",
            ),
        ):
            assert old in text, f"the demo's settings no longer have {old!r}"
            text = text.replace(old, new)
        more = SETTINGS_MORE.format(
            database_url=self.postgres.database_url(DATABASE),
            bootstrap=self.kafka.bootstrap,
            partitions=PARTITIONS,
            ack_after=ack_after,
        )
        self.file = directory / "flowrate.toml"
        self.file.write_text(f'mode = "cluster"\n{text}{more}')
        self.settings: Settings = load_settings(self.file, ())
        self.roles: dict[str, Supervised] = {}
        self.clock = Clock()

    # -- starting and ending -------------------------------------------------------------------

    def start_servers(self) -> None:
        """Start Kafka, PostgreSQL, warehouse and API, with tables and topics; fix the clock."""
        self.kafka.start()
        self.postgres.start()
        self.postgres.create_database(DATABASE)
        started = time.monotonic()
        for words in (("migrate",), ("topics", "apply")):
            self._run_once(*words)
        self._fix_the_clock(time.monotonic() - started)
        for name in ROLES:
            self._add_role(name)
        store = [sys.executable, "-m", "tests.warehouse.endpoint_process"]
        store += [str(_made(self.directory / "store")), str(self._ports["store"])]
        self.roles["store"] = Supervised("store", store, self.directory)
        self.kafka.meanwhile = self.look_after
        self.roles["api"].start()
        wait_until(self.answers, "the API to answer", START_SECONDS)

    def _fix_the_clock(self, commands_seconds: float) -> None:
        """Begin 20 s into a minute: API and founding have its rest where a machine is free.

        How long two commands took tells how many more minutes a busy machine needs.
        """
        more = int(commands_seconds / COMMANDS_SECONDS)
        seconds = 40 + 60 * (more + self._minutes)
        at = dataclasses.replace(self.settings.clock, starts_at=f"{seconds} s before month end")
        self.clock = open_clock(self.data_dir, at)

    def start_roles(self) -> None:
        """Start every role but the API, and wait until the stages have begun."""
        for name, role in self.roles.items():
            if name != "api":
                role.start()

        def have_begun() -> bool:
            self.look_after()
            return self.watermark_at() > 0

        wait_until(have_begun, "every stage to have a watermark", START_SECONDS)

    def _add_role(self, name: str) -> None:
        path = self.paths.open(f"{name} postgres", f"127.0.0.1:{self.postgres.port}")
        _, _, rest = self.postgres.database_url(DATABASE).rpartition("@")
        url = self.postgres.database_url(DATABASE).replace(rest, f"{path}/{DATABASE}")
        command = [sys.executable, "-m", "infra.cli", *ROLES[name], "--config", str(self.file)]
        command += ["--set", f"cluster.database_url={url}"]
        if name in self._kafka_paths:
            at = self._kafka_paths[name]
            target = self.kafka.address(_listener(name))
            self.paths.open(f"{name} kafka", target, int(at.rpartition(":")[2]))
            command += ["--set", f"cluster.kafka.bootstrap_servers={json.dumps([at])}"]
        self.roles[name] = Supervised(name, command, self.directory)

    def _run_once(self, *words: str) -> None:
        name = "-".join(words)
        command = [sys.executable, "-m", "infra.cli", *words, "--config", str(self.file)]
        once = Supervised(name, command, self.directory)
        once.start()
        wait_until(lambda: not once.runs, name, START_SECONDS)
        assert once.stop() == 0, once.output()

    def look_after(self) -> None:
        """Start again every role that has ended."""
        for role in self.roles.values():
            role.look_after()

    def stop(self) -> dict[str, int | None]:
        """End every role in order; return the exit statuses."""
        return {name: role.stop() for name, role in self.roles.items()}

    def abandon(self) -> None:
        """End everything at once."""
        for role in self.roles.values():
            role.abandon()
        self.kafka.kill()
        self.postgres.kill()
        self.paths.close()
        self.disk.close()

    # -- looking inside, past every path -------------------------------------------------------

    @property
    def api_url(self) -> str:
        """Address of the API."""
        return f"http://127.0.0.1:{self._ports['page']}"

    def api(self, timeout_seconds: float = 10.0) -> httpx.Client:
        """Return a client of the API; its caller closes it."""
        headers = {"Authorization": f"Bearer {API_KEY}"}
        return httpx.Client(base_url=self.api_url, headers=headers, timeout=timeout_seconds)

    def answers(self) -> bool:
        """Return whether the API answers now."""
        self.look_after()
        try:
            with self.api() as api:
                return api.get("/v1/branches").status_code == 200
        except httpx.HTTPError:
            return False

    def items(self, path: str) -> Iterator[dict[str, Any]]:
        """Yield every item of a list of the API."""
        cursor = ""
        with self.api() as api:
            while True:
                answer = api.get(f"{path}?limit=100{cursor}")
                answer.raise_for_status()
                page = answer.json()
                yield from page["items"]
                if not page.get("next_cursor"):
                    return
                cursor = f"&cursor={page['next_cursor']}"

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Run a query on PostgreSQL."""
        with contextlib.closing(self.connect()) as connection:
            return connection.execute(query.encode()).fetchall()

    def connect(self) -> psycopg.Connection[Any]:
        """Connect to PostgreSQL, each statement for itself."""
        return psycopg.connect(
            self.postgres.database_url(DATABASE), autocommit=True, connect_timeout=5
        )

    def watermark_at(self) -> int:
        """Return the least watermark of every task of every stage, in ms; 0 before all have one."""
        [(count, at)] = self.rows("select count(*), min(watermark_at) from stage_task")
        return int(at) if count == STAGES * PARTITIONS else 0

    def warehouse(self, *, may_write: bool = False) -> WarehouseClient:
        """Return a client of the store; its caller closes it."""
        return client(self.settings.warehouse, may_write=may_write)

    def wait_for_the_clock(self, at: int, what: str, seconds: float) -> None:
        """Look after the roles until the watermark has passed an instant (ms)."""

        def has_passed() -> bool:
            self.look_after()
            time.sleep(0.1)
            return self.watermark_at() > at

        wait_until(has_passed, what, seconds)


def _made(directory: Path) -> Path:
    directory.mkdir(parents=True)
    return directory


def _listener(name: str) -> str:
    """Return the name of the listener that only one role uses."""
    return f"PATH{name.upper().replace('-', '')}"
