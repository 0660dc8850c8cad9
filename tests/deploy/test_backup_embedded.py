"""A running Flowrate is backed up; the copy opens elsewhere, and goes on to the same usage."""

from __future__ import annotations

import functools
import json
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import clickhouse_connect
import pytest
from clickhouse_connect.driver.exceptions import OperationalError

from collectors.adapters.segments import SegmentReader
from infra.backups.manifest import Manifest, parts_in, read_manifest
from infra.settings import Settings, load_settings
from infra.wiring.logs import CONSUMERS, consumed_number
from infra.wiring.paths import log_directory
from tests.deploy.flowrate_runs import run_flowrate, serving
from tests.infra.waiting import wait_until
from tests.simulation.installation import Installation

LINES = 12
USAGE = (
    "select subscriber_id, source, sum(octets_up), sum(octets_down), sum(seconds), sum(packets_up)"
    " from usage_rated where meter_id = 'volume' and subscriber_id != ''"
    " group by subscriber_id, source order by subscriber_id, source"
)


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A demo whose network is at work, with rated usage in its warehouse."""
    made = Installation(
        tmp_path_factory.mktemp("first") / "data",
        lines=LINES,
        seconds_before=3600,
        lateness_seconds=25,
    )
    try:
        made.start()
        wait_until(lambda: made.count_acknowledged() > 4 * LINES, "usage to come", 60)
        wait_until(lambda: count_rated(made) > 50, f"rated rows:\n{made.output()}", 60)
        yield made
    finally:
        made.abandon()


@pytest.fixture(scope="module")
def backup(installation: Installation) -> Path:
    """A backup, made while the network went on."""
    directory = installation.directory.parent / "backup"
    before = installation.count_acknowledged()
    made = run_flowrate("backup", "create", str(directory), "--config", config_of(installation))
    assert made.returncode == 0, made.stderr
    assert "books: every ledger sums to zero" in made.stdout
    wait_until(lambda: installation.count_acknowledged() > before + LINES, "the network", 60)
    return directory


def count_rated(installation: Installation) -> int:
    try:
        return int(installation.warehouse("select count() from usage_rated")[0][0])
    except OperationalError:
        return 0


def config_of(installation: Installation) -> str:
    return str(installation.directory / "demo.toml")


def test_a_backup_lies_in_files_that_only_their_owner_reads(backup: Path) -> None:
    modes = {path.name: path.stat().st_mode & 0o077 for path in [backup, *backup.rglob("*")]}
    assert set(modes.values()) == {0}
    manifest = read_manifest(backup)
    assert {"database/flowrate.sqlite", "secrets", "clock.json"} <= {p.path for p in manifest.parts}
    assert manifest.warehouse is not None
    assert manifest.warehouse.rows > 50
    assert run_flowrate("backup", "verify", str(backup)).returncode == 0


def test_an_altered_octet_is_found_and_nothing_is_restored(backup: Path, tmp_path: Path) -> None:
    altered = tmp_path / "altered"
    shutil.copytree(backup, altered)
    with (altered / "database/flowrate.sqlite").open("r+b") as file:
        file.seek(20_000)
        octet = file.read(1)
        file.seek(20_000)
        file.write(bytes([octet[0] ^ 1]))
    verified = run_flowrate("backup", "verify", str(altered))
    assert verified.returncode == 1
    assert "database/flowrate.sqlite has another SHA-256" in verified.stderr
    target = tmp_path / "target"
    refused = run_flowrate("backup", "restore", str(altered), "--set", f"data_dir={target}")
    assert refused.returncode == 1
    assert not target.exists()


def test_an_altered_booking_is_found_though_every_checksum_fits(
    backup: Path, tmp_path: Path
) -> None:
    forged = tmp_path / "forged"
    shutil.copytree(backup, forged)
    with sqlite3.connect(forged / "database/flowrate.sqlite") as connection:
        changed = connection.execute(
            "update ledger_entry set amount_minor = amount_minor + 1 where rowid ="
            " (select min(rowid) from ledger_entry)"
        )
        assert changed.rowcount == 1, "the demo has posted something"
    connection.close()
    sign_again(forged)
    verified = run_flowrate("backup", "verify", str(forged))
    assert verified.returncode == 1
    assert "sums to" in verified.stderr
    assert "was altered" in verified.stderr


def sign_again(directory: Path) -> None:
    """Write checksums that fit, as a forger would."""
    path = directory / "manifest.json"
    content = json.loads(path.read_text())
    content["parts"] = [
        {"path": part.path, "octets": part.octets, "sha256": part.sha256}
        for part in parts_in(directory)
    ]
    path.write_text(json.dumps(content))


def test_a_data_directory_in_use_is_left_alone(backup: Path, installation: Installation) -> None:
    config = config_of(installation)
    refused = run_flowrate("backup", "restore", str(backup), "--config", config)
    assert refused.returncode == 1
    assert "is not empty" in refused.stderr
    again = run_flowrate("backup", "create", str(backup), "--config", config)
    assert again.returncode == 1
    assert "is not empty" in again.stderr


@pytest.mark.timeout(280)
def test_the_copy_goes_on_to_the_same_usage_as_the_original(
    backup: Path, installation: Installation, tmp_path: Path
) -> None:
    assert installation.stop() == 0, installation.output()
    config = config_of(installation)
    second = tmp_path / "second"
    restored = run_flowrate(
        "backup", "restore", str(backup), "--config", config, "--set", f"data_dir={second}"
    )
    assert restored.returncode == 0, restored.stderr
    manifest = read_manifest(backup)
    assert rows_of(second, "select branch_id, max(chain_number) from ledger_transaction"
                   " group by branch_id") == list(manifest.chain_heads.items())  # fmt: skip
    first = load_settings(Path(config))
    # The collectors' disk survived: the copy gets what was received since the backup.
    for folder in ("flows", "radius"):
        shutil.rmtree(second / folder)
        shutil.copytree(first.data_dir / folder, second / folder)
    usages = []
    for data_dir in (first.data_dir, second):
        flags = ("--config", config, "--set", f"data_dir={data_dir}")
        settings = load_settings(Path(config), flags[3:])
        ends = {log: SegmentReader(log_directory(settings, log)).last_number() for log in CONSUMERS}
        until = functools.partial(is_settled, settings, ends)
        with serving(*flags, until=until, seconds=120):
            usages.append(warehouse_rows(settings, installation))
    assert usages[0] == usages[1]
    assert has_grown(manifest, usages[1])


def is_settled(settings: Settings, ends: dict[str, int]) -> bool:
    """Return whether the engine read every block, and time has passed every wait of the stages."""
    read = {log: consumed_number(settings, log) for log in ends}
    # A block a second is "received through T": so many seconds behind the last usage.
    return all(read[log] >= ends[log] + 25 for log in ends)


def warehouse_rows(settings: Settings, installation: Installation) -> list[tuple[object, ...]]:
    """Return usage per subscriber once the sink has taken it all."""
    time.sleep(3 * settings.warehouse.sink.interval_seconds)
    client = clickhouse_connect.get_client(
        host="127.0.0.1",
        port=settings.warehouse.endpoint.port,
        username="reader",
        password=installation.secrets["store_reader_password"],
        autogenerate_session_id=False,
    )
    try:
        return [tuple(row) for row in client.query(USAGE).result_rows]
    finally:
        client.close()


def has_grown(manifest: Manifest, usage: list[tuple[object, ...]]) -> bool:
    assert manifest.warehouse is not None
    return sum(int(str(row[3])) for row in usage) > manifest.warehouse.octets_down


def rows_of(data_dir: Path, query: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(data_dir / "flowrate.sqlite")
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()
