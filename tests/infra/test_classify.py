"""`flowrate classify` and `flowrate network apply` on an embedded installation, word for word."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from billing.adapters.databases import writing
from billing.adapters.rows import write_rows
from infra.cli import main
from infra.settings import Settings, load_settings
from infra.wiring.databases import business_database
from infra.wiring.engine import runner
from infra.wiring.preparation import apply_network
from rating.addresses import parse_prefix
from rating.records import DirectoryEntry, SessionBinding, frame_of
from rating.rows import LiveSession
from streams.adapters import sqlite_topics
from tests.asn_files import geolite, write_mmdb

AT = 1_795_953_600_000
"""2026-11-29T12:00:00Z."""
TIME = "2026-11-29T17:45+05:45"
MINUTE = 60_000

SETTINGS = """
data_dir = "data"
[network]
own_prefixes = ["100.64.0.0/10", "2001:db8::/32"]
asn_file = "{asn_file}"
[[network.class_rules]]
traffic_class = "international"
prefixes = ["0.0.0.0/0", "::/0"]
[[network.class_rules]]
traffic_class = "cdn"
asns = [64500]
priority = 1
[[network.class_rules]]
traffic_class = "voice"
prefixes = ["198.51.100.0/24"]
protocols = [17]
ports = ["5060-5061"]
priority = 2
"""

PEOPLE = (
    DirectoryEntry("i", 1, "identity", "user_name:alice", "s-alice", 0, 0, None),
    DirectoryEntry("m", 1, "membership", "s-alice", "pool-family", 0, 0, None),
    DirectoryEntry("s", 1, "static_prefix", "100.64.7.0/24", "s-office", 0, 0, None),
)


def binding(prefix: str, subscriber: str, since: int) -> SessionBinding:
    parsed = parse_prefix(prefix)
    return SessionBinding(
        f"{subscriber}/{prefix}", 1, parsed.address, parsed.length, 0, subscriber, "bras/0001",
        since, None, since,
    )  # fmt: skip


@pytest.fixture
def installation(tmp_path: Path) -> Path:
    """Return the settings file of an installation that has run."""
    networks = {"203.0.113.0/24": geolite(64_500, "Example CDN")}
    path = write_mmdb(tmp_path / "asn.mmdb", networks)
    file = tmp_path / "flowrate.toml"
    file.write_text(SETTINGS.format(asn_file=path))
    assert main(["migrate", "--config", str(file)]) == 0
    settings = load_settings(file)
    append(settings, "directory", frame_of(DirectoryEntry, PEOPLE))
    held = [
        binding("100.64.0.9/32", "s-alice", AT - 10 * MINUTE),
        binding("100.64.7.1/32", "s-alice", 0),
    ]
    append(settings, "session.bindings", frame_of(SessionBinding, held))
    engine = runner(settings)
    while engine.run_once():
        pass
    return file


def append(settings: Settings, topic: str, frame: Any) -> None:
    database = business_database(settings, "test")
    with writing(database) as connection:
        sqlite_topics.append_rows(connection, topic, "api", frame, partitions=1)
    database.dispose()


def told(capsys: pytest.CaptureFixture[str], file: Path, *words: str) -> str:
    capsys.readouterr()
    assert main(["classify", *words, "--at", TIME, "--config", str(file)]) == 0
    return capsys.readouterr().out


def test_what_is_printed_of_a_subscribers_address(
    installation: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told(capsys, installation, "100.64.7.1") == (
        "100.64.7.1 at 2026-11-29T12:00:00+00:00\n"
        "  own     yes\n"
        "  holder  s-alice by radius, session bras/0001, counted with pool-family\n"
        "  else    s-office by static_prefix\n"
        "  AS      unknown (nobody: AS file asn.mmdb has none for it)\n"
        "  rule 1  cdn, priority 1, any address: if AS 64500\n"
        "  rule 2  international, priority 0, prefix 0.0.0.0/0: matches\n"
        "  class   international: rule 2 is the first that matches, unless cdn matches\n"
    )


def test_what_is_printed_of_a_far_end(
    installation: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = told(capsys, installation, "203.0.113.5", "198.51.100.1", "--protocol", "tcp")
    assert out == (
        "203.0.113.5 at 2026-11-29T12:00:00+00:00\n"
        "  own     no\n"
        "  holder  nobody (asked: radius, static_prefix, flow_user)\n"
        "  AS      64500 Example CDN (AS file asn.mmdb)\n"
        "  rule 1  cdn, priority 1, any address: matches\n"
        "  rule 2  international, priority 0, prefix 0.0.0.0/0: matches\n"
        "  class   cdn: rule 1 is the first that matches\n"
        "\n"
        "198.51.100.1 at 2026-11-29T12:00:00+00:00\n"
        "  own     no\n"
        "  holder  nobody (asked: radius, static_prefix, flow_user)\n"
        "  AS      unknown (nobody: AS file asn.mmdb has none for it)\n"
        "  rule 1  voice, priority 2, prefix 198.51.100.0/24: no: not protocol 17\n"
        "  rule 2  cdn, priority 1, any address: if AS 64500\n"
        "  rule 3  international, priority 0, prefix 0.0.0.0/0: matches\n"
        "  class   international: rule 3 is the first that matches, unless cdn matches\n"
    )


def test_options_tell_what_the_flow_would(
    installation: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("198.51.100.1", "--port", "5060", "--protocol", "UDP", "--asn", "AS64500", "--json")
    (report,) = json.loads(told(capsys, installation, *words))
    assert report["traffic_class"] == "voice"
    assert report["asn"] == {"number": 64_500, "name": "Example CDN", "source": "the flow"}
    assert [rule["matches"] for rule in report["rules"]] == [True, True, True]
    (report,) = json.loads(told(capsys, installation, "2001:db8::1", "--asn", "23456", "--json"))
    assert (report["is_own"], report["asn"]["number"]) == (True, 23_456)


def test_an_address_is_held_from_when_its_session_began(
    installation: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def holders(at: str) -> list[str]:
        capsys.readouterr()
        words = ["100.64.0.9", "--at", at, "--json", "--config", str(installation)]
        assert main(["classify", *words]) == 0
        (report,) = json.loads(capsys.readouterr().out)
        return [holder["subscriber_id"] for holder in report["holders"]]

    assert holders("2026-11-29T11:51+00:00") == ["s-alice"]
    assert holders("2026-11-29T11:49+00:00") == []


def test_who_held_an_address_long_ago_is_in_the_record_of_sessions(
    installation: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = AT - 20 * 86_400_000
    session = LiveSession(
        "bras/0007", "bras", "192.0.2.1", "0007", "s-dora", "dora", "100.64.0.9", "",
        begun, begun + MINUTE, begun + 5 * MINUTE, "stop", 1, 1, 0, 0, begun,
    )  # fmt: skip
    database = business_database(load_settings(installation), "test")
    with writing(database) as connection:
        write_rows(connection, [session])
    database.dispose()
    capsys.readouterr()
    words = ["100.64.0.9", "--at", "2026-11-09T12:02+00:00", "--json"]
    assert main(["classify", *words, "--config", str(installation)]) == 0
    (report,) = json.loads(capsys.readouterr().out)
    (holder,) = report["holders"]
    assert (holder["by"], holder["subscriber_id"]) == ("radius", "s-dora")


def test_it_answers_beside_an_engine_that_writes(
    installation: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database = business_database(load_settings(installation), "test")
    with writing(database) as connection:
        connection.exec_driver_sql("create table in_the_way(x)")
        assert "class   cdn" in told(capsys, installation, "203.0.113.5")
    database.dispose()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["100.64.0"], "'100.64.0' is no IPv4 or IPv6 address"),
        (["10.0.0.0/8"], "'10.0.0.0/8' is no IPv4 or IPv6 address"),
        (["10.0.0.1", "--port", "65536"], "'65536' is no whole number from 0 to 65535"),
        (["10.0.0.1", "--dscp", "-1"], "'-1' is no whole number from 0 to 63"),
        (["10.0.0.1", "--protocol", "quic"], "'quic' is no whole number from 0 to 255"),
        (["10.0.0.1", "--at", "yesterday"], "'yesterday': expected an instant such as"),
        (
            ["10.0.0.1", "--at", "2026-11-29T12:00"],
            "expected an offset, such as 2026-",
        ),
        (["10.0.0.1", "--exporter", "bras"], "'bras' is no IPv4 or IPv6 address"),
        (["10.0.0.1", "--asn", "ASX"], "'X' is no whole number"),
        ([], "the following arguments are required: ADDRESS"),
    ],
)
def test_bad_input_is_told_in_a_line(
    words: Sequence[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["classify", *words])
    assert refused.value.code == 2
    assert message in capsys.readouterr().err


def test_where_nothing_has_run_it_says_so_and_makes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = f"data_dir={tmp_path / 'data'}"
    for words in (["classify", "10.0.0.1"], ["network", "apply"]):
        assert main([*words, "--set", where]) == 1
        assert "nothing has run on" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


# -- the AS file of the settings -------------------------------------------------------------------


def asns(capsys: pytest.CaptureFixture[str], file: Path, at: str) -> int | None:
    capsys.readouterr()
    assert main(["classify", "203.0.113.5", "--at", at, "--json", "--config", str(file)]) == 0
    (report,) = json.loads(capsys.readouterr().out)
    number: int | None = report["asn"]["number"]
    return number


def test_a_new_file_holds_from_the_next_minute_and_the_old_one_before(
    installation: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = load_settings(installation)
    assert apply_network(settings, AT + 5) == [
        "network settings: no changes written to the directory"
    ]
    write_mmdb(Path(settings.network.asn_file), {"203.0.113.0/24": geolite(64_511)})
    done = apply_network(settings, AT + 5)
    assert done == [
        f"AS file: 1 networks of {settings.network.asn_file} read",
        "network settings: 2 changes written to the directory",
    ]
    assert asns(capsys, installation, "2026-11-29T12:00:59+00:00") == 64_500
    assert asns(capsys, installation, "2026-11-29T12:01:00+00:00") == 64_511
    Path(settings.network.asn_file).unlink()
    assert asns(capsys, installation, "2026-11-29T12:00:59+00:00") == 64_500


@pytest.mark.parametrize("command", [["migrate"], ["network", "apply"]])
def test_a_broken_file_is_refused_and_the_old_one_stays(
    command: list[str], installation: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(load_settings(installation).network.asn_file)
    path.write_bytes(path.read_bytes()[:-60])
    capsys.readouterr()
    assert main([*command, "--config", str(installation)]) == 2
    assert f"network.asn_file = {path}: not a MaxMind DB" in capsys.readouterr().err
    assert asns(capsys, installation, TIME) == 64_500


def test_without_the_setting_the_file_ends(
    installation: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = load_settings(installation, ["network.asn_file="])
    apply_network(settings, AT + 5)
    assert asns(capsys, installation, "2026-11-29T12:01:00+00:00") is None
    assert asns(capsys, installation, TIME) == 64_500
