"""Several `api` processes over one PostgreSQL: each command is done once, whoever takes it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, func, select, text

from billing.adapters import ledger, tables
from billing.adapters.databases import open_database, reading, writing
from rating.records import DirectoryEntry
from streams.adapters.postgres_topics import EVERY, read_rows
from tests.cluster.processes import ServerProcess, free_port
from tests.databases import sqlalchemy_url

PROCESSES = 3
REQUESTS = 12

SETTINGS = """\
mode = "cluster"
[cluster]
database_url = "{url}"
[cluster.topics]
partitions = 4
[network]
own_prefixes = ["100.64.0.0/16"]
[api]
operator_key = "frk_the-key-of-all"
page_session_key = "the same on every machine"
account_event_wait_seconds = 0.0
[metrics]
is_enabled = false
"""


class Site:
    """Processes of the role `api`, each with a data directory and a port of its own."""

    def __init__(self, directory: Path, url: str) -> None:
        self._directory = directory
        self._config = directory / "flowrate.toml"
        self._config.write_text(SETTINGS.format(url=url))
        self._processes: list[ServerProcess] = []
        self.clients: list[httpx.Client] = []
        self.database: Engine = open_database(sqlalchemy_url(url))

    def command(self, *words: str) -> list[str]:
        """Return the command line of a role or tool."""
        return [sys.executable, "-m", "infra.cli", *words, "--config", str(self._config)]

    def start(self) -> None:
        """Prepare the database, twice at once, and start the processes."""
        preparing = [
            subprocess.Popen(self.command("migrate"), stdout=subprocess.PIPE) for _ in range(2)
        ]
        self.migrated = [process.communicate(timeout=90)[0].decode() for process in preparing]
        assert [process.returncode for process in preparing] == [0, 0]
        headers = {"Authorization": "Bearer frk_the-key-of-all"}
        for number in range(PROCESSES):
            port = free_port()
            command = self.command("api")
            command += ["--set", f"data_dir={self._directory / str(number)}"]
            command += ["--set", f"api.listen_port={port}"]
            client = httpx.Client(
                base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60.0
            )
            process = ServerProcess(f"api-{number}", self._directory)
            self._processes.append(process)
            process.start(command, lambda: _answers(client))  # noqa: B023
            self.clients.append(client)

    def close(self) -> None:
        """End everything."""
        for client in self.clients:
            client.close()
        for process in self._processes:
            process.kill()
        self.database.dispose()

    def post(self, path: str, body: dict[str, Any], key: str = "") -> dict[str, Any]:
        """Send one command to the first process and return its answer."""
        headers = {"Idempotency-Key": key} if key else {}
        answer = self.clients[0].post(path, json=body, headers=headers)
        assert answer.is_success, answer.text
        document: dict[str, Any] = answer.json()
        return document

    def at_once(self, send: Callable[[httpx.Client, int], httpx.Response]) -> list[httpx.Response]:
        """Send REQUESTS requests together, spread over the processes."""
        with ThreadPoolExecutor(REQUESTS) as pool:
            waiting = [pool.submit(send, self.clients[n % PROCESSES], n) for n in range(REQUESTS)]
            return [one.result() for one in waiting]


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/v1/health").status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, postgres: Any) -> Iterator[Site]:
    name = "api_of_a_cluster"
    opened = Site(tmp_path_factory.mktemp("api"), postgres.create_database(name))
    try:
        opened.start()
        opened.post("/v1/branches", BRANCH)
        opened.post("/v1/plans", PLAN)
        yield opened
    finally:
        opened.close()
        postgres.drop_database(name)


BRANCH = {
    "branch_id": "dhk",
    "name": "Dhaka",
    "timezone": "Asia/Dhaka",
    "currency": "BDT",
    "invoice_prefix": "DHK",
    "language": "en",
}
PLAN = {
    "plan_id": "home",
    "branch_id": "dhk",
    "name": "Home",
    "document": {
        "currency": "BDT",
        "recurring_fee": "1000",
        "tax_rate": "0.15",
        "meters": [
            {
                "meter_id": "data",
                "name": "Data",
                "curve": {
                    "model": "allowance_overage",
                    "allowance": 10**9,
                    "unit_price": "10",
                    "unit": 10**9,
                },
            }
        ],
    },
}


def customer(site: Site, name: str) -> str:
    """Create an account and return its id."""
    body = {"branch_id": "dhk", "name": name, "kind": "person"}
    return str(site.post("/v1/accounts", body)["account_id"])


def subscriber(site: Site, name: str) -> str:
    """Create an account with a subscriber and return the subscriber's id."""
    body = {"account_id": customer(site, name), "name": name, "user_name": name}
    return str(site.post("/v1/subscribers", body)["subscriber_id"])


def rows(site: Site, table: Any) -> int:
    """Return how many rows a table has."""
    with reading(site.database) as connection:
        return int(connection.scalar(select(func.count()).select_from(table)) or 0)


def test_two_who_migrate_at_once_do_it_once(site: Site) -> None:
    assert sorted("already" in told for told in site.migrated) == [False, True]
    with reading(site.database) as connection:
        frames, _ = read_rows(connection, "directory", EVERY, after=0, rows_max=10**6)
    kinds = [row["kind"] for frame in frames for row in frame.iter_rows(named=True)]
    assert kinds.count("own_prefix") == 1


def test_one_idempotency_key_at_several_processes_is_one_account(site: Site) -> None:
    before = rows(site, tables.account)
    body = {"branch_id": "dhk", "name": "Karim", "kind": "person"}
    headers = {"Idempotency-Key": "the same"}
    answers = site.at_once(lambda c, _: c.post("/v1/accounts", json=body, headers=headers))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["account_id"] for answer in answers}) == 1
    assert sum("idempotency-replayed" in answer.headers for answer in answers) == REQUESTS - 1
    assert rows(site, tables.account) == before + 1


def test_one_user_name_at_several_processes_is_one_subscriber(site: Site) -> None:
    account = customer(site, "Rahima")
    body = {"account_id": account, "name": "Rahima", "user_name": "rahima@isp"}
    answers = site.at_once(lambda c, _: c.post("/v1/subscribers", json=body))
    codes = [answer.status_code for answer in answers]
    assert sorted(codes) == [201] + [409] * (REQUESTS - 1)


def test_one_rating_key_gets_one_subscription(site: Site) -> None:
    key = subscriber(site, "one-plan")
    body = {"rating_key": key, "plan_id": "home"}
    answers = site.at_once(lambda c, _: c.post("/v1/subscriptions", json=body))
    assert sorted(answer.status_code // 100 for answer in answers) == [2] + [4] * (REQUESTS - 1)


def test_one_receipt_at_several_processes_is_money_once(site: Site) -> None:
    key = subscriber(site, "prepaid")
    body = {"rating_key": key, "amount_minor": 5000, "currency": "BDT", "reference": "r-1"}
    answers = site.at_once(lambda c, _: c.post("/v1/top-ups", json=body))
    assert {answer.status_code // 100 for answer in answers} == {2}, answers[0].text
    with reading(site.database) as connection:
        assert ledger.trial_balance(connection, "dhk")["cash", "BDT"] == 5000
        assert ledger.broken_link(connection, "dhk") is None


def test_versions_of_a_plan_made_at_once_follow_each_other(site: Site) -> None:
    body = PLAN | {"plan_id": "many"}
    answers = site.at_once(lambda c, _: c.post("/v1/plans", json=body))
    versions = sorted(answer.json()["version"] for answer in answers)
    assert versions == list(range(1, REQUESTS + 1))


def test_different_commands_at_once_are_all_done_and_numbered_densely(site: Site) -> None:
    keys = [subscriber(site, f"busy-{n}") for n in range(REQUESTS)]
    answers = site.at_once(
        lambda c, n: c.post("/v1/subscriptions", json={"rating_key": keys[n], "plan_id": "home"})
    )
    assert {answer.status_code // 100 for answer in answers} == {2}
    with reading(site.database) as connection:
        counted = connection.execute(
            text(
                "select partition, count(*), max(number) from topic_record"
                " where topic = 'account.events' group by partition"
            )
        ).all()
    assert counted
    assert all(count == newest for _, count, newest in counted)


def test_every_process_lets_a_login_of_another_in(site: Site) -> None:
    form = {"key": "frk_the-key-of-all"}
    answer = site.clients[0].post("/login", data=form, follow_redirects=False)
    cookie = f"flowrate_session={answer.cookies['flowrate_session']}"
    for client in site.clients:
        page = client.get("/status", headers={"Cookie": cookie}, follow_redirects=False)
        assert page.status_code == 200
        assert "The roles of a cluster run on machines of their own" in page.text
    site.clients[0].cookies.clear()


def test_the_status_says_how_far_the_slowest_partition_of_each_stage_is(site: Site) -> None:
    with writing(site.database) as connection:
        connection.execute(
            text(
                "insert into stage_task(task, epoch, owner, watermark_at, standing) values"
                " ('rate/0', 1, 0, 9000, ''), ('rate/1', 1, 0, 7000, ''), ('decode/0', 1, 0, 0, '')"
            )
        )
    status = site.clients[1].get("/v1/status").json()
    assert (status["mode"], status["supervised"], status["processes"]) == ("cluster", False, [])
    assert [(w["stage"], w["at"]) for w in status["watermarks"]] == [
        ("rate", "1970-01-01T00:00:07Z")
    ]


def test_usage_waits_for_a_warehouse_that_is_away_and_the_rest_goes_on(site: Site) -> None:
    client = site.clients[2]
    day = {"from_at": "2026-11-01T00:00:00Z", "until_at": "2026-11-02T00:00:00Z"}
    assert client.get("/v1/usage/by-class", params=day).status_code == 503
    assert client.get("/v1/accounts").status_code == 200


def test_a_process_says_what_to_do_where_nothing_is_prepared(
    tmp_path: Path, database_url: str
) -> None:
    config = tmp_path / "flowrate.toml"
    config.write_text(SETTINGS.format(url=database_url))
    command = [sys.executable, "-m", "infra.cli", "api", "--config", str(config)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert ended.returncode == 1
    assert "run `flowrate migrate`" in ended.stderr


def test_a_fresh_directory_entry_reaches_the_workers_topic(site: Site) -> None:
    key = subscriber(site, "in-the-directory")
    with reading(site.database) as connection:
        frames, _ = read_rows(connection, "directory", EVERY, after=0, rows_max=10**6)
    entries = [DirectoryEntry(**row) for frame in frames for row in frame.iter_rows(named=True)]
    assert any(e.kind == "identity" and e.target == key for e in entries)
