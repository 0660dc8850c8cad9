"""`flowrate nat` on an embedded installation, word for word: outside to inside, and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from billing.adapters.databases import writing
from billing.adapters.rows import write_rows
from infra.cli import main
from infra.settings import Settings, load_settings
from infra.wiring.databases import business_database
from infra.wiring.engine import runner
from infra.wiring.preparation import prepare_data_directory
from rating.addresses import parse_prefix
from rating.records import DirectoryEntry, NatEvent, SessionBinding, frame_of
from rating.rows import LiveSession
from streams.adapters import sqlite_topics
from tests.rating.accounting_log import at
from tests.rating.translation_log import freed, told

SETTINGS = """
data_dir = "data"
[network]
own_prefixes = ["100.64.0.0/10"]
[[network.nat_pools]]
outside = "198.51.100.0/24"
[[network.nat_pools]]
outside = "203.0.113.0/30"
inside = "100.65.0.0/24"
ports_per_subscriber = 1000
"""
DAY = "2025-06-15"
"""The day of `accounting_log.at`."""

PEOPLE = (
    DirectoryEntry("m", 1, "membership", "s-alice", "pool-family", 0, 0, None),
    DirectoryEntry("s", 1, "static_prefix", "100.65.0.0/24", "s-office", 0, 0, None),
)


def binding(address: str, subscriber: str, since: str, until: str | None) -> SessionBinding:
    parsed = parse_prefix(address)
    return SessionBinding(
        f"{subscriber}/{address}", 1, parsed.address, parsed.length, 0, subscriber,
        f"bras/{subscriber}", at(since), at(until) if until else None, at(since),
    )  # fmt: skip


EVENTS = [
    told("100.64.0.1", 1024, 1535, "10:00:00"),
    freed("100.64.0.1", 1024, 1535, "10:30:30"),
    told("100.64.0.2", 1024, 1535, "10:30:50"),
    told("100.64.0.1", 1536, 2047, "10:40:00"),
    told("", 2048, 2559, "10:00:00"),
    told("100.64.0.9", 2560, 2560, "10:00:00", protocol=6),
]
BINDINGS = [
    binding("100.64.0.1", "s-alice", "09:00:00", "10:20:00"),
    binding("100.64.0.1", "s-bob", "10:20:30", None),
    binding("100.64.0.2", "s-carol", "09:00:00", None),
]


@pytest.fixture
def installation(tmp_path: Path) -> Path:
    """Return the settings file of an installation that has run."""
    file = tmp_path / "flowrate.toml"
    file.write_text(SETTINGS)
    settings = load_settings(file)
    prepare_data_directory(settings)
    append(settings, "directory", frame_of(DirectoryEntry, PEOPLE))
    append(settings, "nat.events", frame_of(NatEvent, EVENTS))
    append(settings, "session.bindings", frame_of(SessionBinding, BINDINGS))
    run(settings)
    return file


def run(settings: Settings) -> None:
    engine = runner(settings)
    while engine.run_once():
        pass


def append(settings: Settings, topic: str, frame: Any) -> None:
    database = business_database(settings, "test")
    with writing(database) as connection:
        sqlite_topics.append_rows(connection, topic, "test", frame, partitions=1)
    database.dispose()


def asked(
    capsys: pytest.CaptureFixture[str], file: Path, *words: str, clock: str, status: int = 0
) -> str:
    capsys.readouterr()
    when = ["--at", f"{DAY}T{clock}+00:00", "--config", str(file)]
    assert main(["nat", *words, *when]) == status
    return capsys.readouterr().out


def test_what_is_printed_of_a_port_that_an_event_tells_of(
    installation: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asked(capsys, installation, "198.51.100.7", "1100", clock="10:10:00") == (
        f"198.51.100.7 port 1100 at {DAY}T10:10:00Z (outside, NAT pool 198.51.100.0/24)\n"
        "  inside  100.64.0.1\n"
        "  holds   ports 1024 to 1535\n"
        f"  because event of the NAT: given {DAY}T10:00:00Z, until {DAY}T10:30:30Z\n"
        "  who     s-alice by radius, session bras/s-alice\n"
    )


def test_the_subscriber_is_the_one_of_that_instant(
    installation: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = asked(capsys, installation, "198.51.100.7", "1100", clock="10:25:00")
    assert "  who     s-bob by radius" in text
    text = asked(capsys, installation, "198.51.100.7", "1100", clock="10:20:15")
    assert "  who     nobody known by RADIUS or static prefix\n" in text


def test_between_two_holders_of_a_minute_nobody_is_certain(
    installation: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = asked(capsys, installation, "198.51.100.7", "1100", clock="10:30:40", status=1)
    lines = text.splitlines()
    assert lines[1].startswith("  nobody  no formula and no event of a NAT says who held it then")
    assert lines[2] == "  in the same minute, not at that instant:"
    assert [line for line in lines if line.startswith("  inside")] == [
        "  inside  100.64.0.2",
        "  inside  100.64.0.1",
    ]
    text = asked(capsys, installation, "198.51.100.7", "1100", clock="10:30:55")
    assert text.splitlines()[1] == "  inside  100.64.0.2"
    assert "no end told" in text.splitlines()[3]


def test_the_formula_needs_no_event(installation: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(capsys, installation, "203.0.113.1", "3024", clock="03:00:00") == (
        f"203.0.113.1 port 3024 at {DAY}T03:00:00Z (outside, NAT pool 203.0.113.0/30)\n"
        "  inside  100.65.0.66\n"
        "  holds   ports 3024 to 4023\n"
        "  because formula of NAT pool 203.0.113.0/30\n"
        "  who     s-office by static_prefix\n"
    )


def test_an_inside_address_has_its_outside_ports(
    installation: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asked(capsys, installation, "100.64.0.1", clock="10:45:00") == (
        f"100.64.0.1 at {DAY}T10:45:00Z (in no NAT pool)\n"
        "  outside 198.51.100.7, ports 1536 to 2047\n"
        f"  because event of the NAT: given {DAY}T10:40:00Z, no end told\n"
        "  who     s-bob by radius, session bras/s-bob\n"
    )
    text = asked(capsys, installation, "100.65.0.66", clock="10:45:00")
    assert "  outside 203.0.113.1, ports 3024 to 4023\n" in text


def test_all_ports_of_an_outside_address(
    installation: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = json.loads(asked(capsys, installation, "198.51.100.7", "--json", clock="10:10:00"))
    held = {(a["first_port"], a["inside"], a["subscriber_id"]) for a in report["answers"]}
    assert held == {
        (1024, "100.64.0.1", "s-alice"),
        (2048, "", ""),
        (2560, "100.64.0.9", ""),
    }


def test_the_protocol_of_a_session_counts(
    installation: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("198.51.100.7", "2560", "--protocol")
    assert "100.64.0.9" in asked(capsys, installation, *words, "tcp", clock="10:10:00")
    text = asked(capsys, installation, *words, "17", clock="10:10:00", status=1)
    assert "  nobody  " in text


def test_what_belongs_to_another_routing_instance_is_said_to(
    installation: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = asked(capsys, installation, "198.51.100.7", "2048", clock="10:10:00")
    assert "  inside  an address of another routing instance\n" in text
    assert "who" not in text


def test_the_json_has_every_field(installation: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = json.loads(
        asked(capsys, installation, "198.51.100.7", "1100", "--json", clock="10:10:00")
    )
    assert report == {
        "address": "198.51.100.7",
        "port": 1100,
        "protocol": None,
        "at": f"{DAY}T10:10:00Z",
        "pool": "198.51.100.0/24",
        "is_outside": True,
        "answers": [
            {
                "outside": "198.51.100.7",
                "first_port": 1024,
                "last_port": 1535,
                "port_step": 1,
                "protocol": None,
                "inside": "100.64.0.1",
                "evidence": "event",
                "pool": "198.51.100.0/24",
                "since": f"{DAY}T10:00:00Z",
                "told_last": f"{DAY}T10:00:00Z",
                "until": f"{DAY}T10:30:30Z",
                "has_end": True,
                "is_certain": True,
                "subscriber_id": "s-alice",
                "rating_key": "pool-family",
                "by": "radius",
                "session_id": "bras/s-alice",
            }
        ],
    }


def test_what_the_stages_have_forgotten_is_still_known(
    installation: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = load_settings(installation)
    late = told("100.64.0.3", 1024, 1535, "18:00:00")
    append(settings, "nat.events", frame_of(NatEvent, [late]))
    database = business_database(settings, "test")
    old = LiveSession(
        "old", "bras", "", "0001", "s-old", "old", "100.64.0.1", "", at("09:00:00"), at("10:15:00"),
        at("10:15:00"), "User-Request", 0, 0, 0, 0, at("09:00:00"),
    )  # fmt: skip
    with writing(database) as connection:
        write_rows(connection, [old])
        for topic in ("nat.minutes", "nat.events"):
            sqlite_topics.append_watermark(
                connection, topic, "decode/0", at("18:00:10"), partitions=1
            )
        connection.exec_driver_sql(
            "delete from stage_state where space_id in"
            " (select space_id from state_space where collection = 'bindings')"
        )
    run(settings)
    with writing(database) as connection:
        past = connection.exec_driver_sql(
            "select count(*) from stage_state natural join state_space"
            " where collection = 'translations_past'"
        ).scalar_one()
    database.dispose()
    assert past
    text = asked(capsys, installation, "198.51.100.7", "1100", clock="10:10:00")
    assert "  inside  100.64.0.1\n" in text
    assert "  who     s-old by radius, session old\n" in text


@pytest.mark.parametrize(
    ("words", "told_of"),
    [
        (["nowhere"], "'nowhere' is no IP address"),
        (["198.51.100.7", "70000"], "'70000' is no port"),
        (["198.51.100.7", "1", "--at", "noon"], "expected an instant such as"),
        (["198.51.100.7", "1", "--at", "2026-11-29T13:05"], "expected an offset"),
        (["198.51.100.7", "1", "--protocol", "ip"], "expected 1 to 255 or one of icmp"),
    ],
)
def test_mistakes_are_messages(
    words: list[str], told_of: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["nat", *words])
    assert ended.value.code == 2
    assert told_of in capsys.readouterr().err


def test_where_nothing_has_run_there_is_nothing_to_look_into(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "flowrate.toml"
    file.write_text(SETTINGS)
    assert main(["nat", "198.51.100.7", "1100", "--config", str(file)]) == 1
    assert "nothing has run on" in capsys.readouterr().err
