"""`flowrate classify` on a cluster's PostgreSQL: rules, AS file, holders; as embedded says them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from billing.adapters.databases import writing
from infra.cli import main
from infra.settings import load_settings
from infra.wiring.databases import business_database
from infra.wiring.engine import stage_configs
from rating.attribution import BINDING_SCHEMA, bindings_of
from rating.page_bodies import encode_page
from rating.records import DirectoryEntry, SessionBinding, frame_of
from streams.adapters import postgres_topics
from streams.adapters.postgres_state import PostgresState, StateWrites
from streams.codec import encode_value
from streams.topics import block_partition
from streams.topology import build_stages
from tests.asn_files import geolite, write_mmdb
from tests.infra.test_classify import AT, PEOPLE, SETTINGS, TIME, binding


def test_a_cluster_is_read_as_it_stands(
    database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_mmdb(tmp_path / "asn.mmdb", {"203.0.113.0/24": geolite(64_500, "Example CDN")})
    file = tmp_path / "flowrate.toml"
    cluster = f'mode = "cluster"\n{SETTINGS.format(asn_file=path)}\n'
    file.write_text(f'{cluster}[cluster]\ndatabase_url = "{database_url}"\n')
    assert main(["classify", "203.0.113.5", "--config", str(file)]) == 1
    assert "flowrate migrate" in capsys.readouterr().err
    assert main(["migrate", "--config", str(file)]) == 0
    settings = load_settings(file)
    held = binding("100.64.0.9/32", "s-alice", AT - 600_000)
    partition = block_partition(held.address, settings.cluster.topics.partitions)
    (attribute,) = [s for s in build_stages(stage_configs(settings)) if s.name == "attribute"]
    writes = StateWrites()
    state = PostgresState(
        f"attribute/{partition}", attribute.collections, entries_max=10, writes=writes
    )
    database = business_database(settings, "test")
    with writing(database) as connection:
        rows = frame_of(DirectoryEntry, PEOPLE)
        postgres_topics.append_rows(connection, "directory", "api", rows, partitions=1)
        state.bind(connection)
        table = bindings_of(frame_of(SessionBinding, [held])).select(BINDING_SCHEMA.names())
        state.write([("bindings", "00", encode_value(encode_page(table)))], [])
        writes.flush(connection)
    database.dispose()
    capsys.readouterr()
    words = ["203.0.113.5", "100.64.0.9", "100.64.7.9", "--at", TIME, "--json"]
    assert main(["classify", *words, "--config", str(file)]) == 0
    far, alice, office = json.loads(capsys.readouterr().out)
    assert (far["traffic_class"], far["is_own"], far["holders"]) == ("cdn", False, [])
    assert far["asn"] == {"number": 64_500, "name": "Example CDN", "source": "AS file asn.mmdb"}
    assert alice["is_own"]
    assert alice["holders"] == [
        {
            "by": "radius",
            "subscriber_id": "s-alice",
            "session_id": "bras/0001",
            "rating_key": "pool-family",
        }
    ]
    assert [holder["subscriber_id"] for holder in office["holders"]] == ["s-office"]
    path.unlink()
    write_mmdb(path, {"203.0.113.0/24": geolite(64_511)})
    assert main(["network", "apply", "--config", str(file)]) == 0
    assert "network settings: 2 changes" in capsys.readouterr().out
