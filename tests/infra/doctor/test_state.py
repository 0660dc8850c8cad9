"""What the doctor says of clocks, secrets, positions and processes."""

from __future__ import annotations

import pytest

from infra.doctor.state import (
    FileFact,
    LagFact,
    OwnClock,
    check_certificate,
    check_clocks,
    check_lag,
    check_mode,
    check_nas_secrets,
    check_own_clock,
    check_processes,
)

GOOD = "mX3v9qLkTz7wPb2R"


def test_wrong_clocks_are_named_worst_first_and_right_ones_counted() -> None:
    offsets = {"a": 200, "b": -7_000, "c": 90_000, "d": -1_000}
    found = check_clocks("NAS", offsets)
    assert [(each.subject, each.level) for each in found] == [
        ("NAS c", "fail"),
        ("NAS b", "warn"),
        ("NAS", "ok"),
    ]
    assert found[0].seen == "90 s ahead"
    assert found[1].seen == "7 s behind"
    assert found[2].seen == "2 within 5 s"


@pytest.mark.parametrize(
    ("offset_ms", "hours"), [(-3_601_000, "-1 h"), (20_700_000, "+5.75 h"), (900_000, "+0.25 h")]
)
def test_a_wrong_time_zone_is_called_one(offset_ms: int, hours: str) -> None:
    (found,) = check_clocks("NAS", {"a": offset_ms})
    assert f"{hours}: its time zone" in found.seen


def test_other_offsets_are_no_time_zone() -> None:
    (found,) = check_clocks("NAS", {"a": 500_000})
    assert "zone" not in found.seen


NOW = 10**12


@pytest.mark.parametrize(
    ("clock", "is_running", "levels"),
    [
        (OwnClock(NOW, NOW - 500, True, 0), True, ["ok", "ok"]),
        (OwnClock(NOW, NOW - 500, False, 0), True, ["warn", "ok"]),
        (OwnClock(NOW, NOW + 3_600_000, None, 0), True, ["fail"]),
        (OwnClock(NOW, NOW - 3_600_000, None, 0), True, ["fail"]),
        (OwnClock(NOW, NOW - 3_600_000, None, 0), False, ["ok"]),
        (OwnClock(NOW, 0, None, 5_000), False, ["warn"]),
    ],
)
def test_our_own_clock(clock: OwnClock, is_running: bool, levels: list[str]) -> None:
    assert [each.level for each in check_own_clock(clock, is_running=is_running)] == levels


@pytest.mark.parametrize(
    ("mode", "is_directory", "level"),
    [
        (0o600, False, "ok"),
        (0o640, False, "warn"),
        (0o644, False, "fail"),
        (0o700, True, "ok"),
        (0o755, True, "warn"),
    ],
)
def test_files_with_secrets_are_their_owners(mode: int, is_directory: bool, level: str) -> None:
    assert check_mode(FileFact("f", mode, is_directory)).level == level


@pytest.mark.parametrize(
    ("secret", "level"),
    [
        (GOOD, "ok"),
        (GOOD[:12], "warn"),
        ("short", "fail"),
        ("testing123", "fail"),
        ("Testing123", "fail"),
        ("ababababababababab", "fail"),
        ("bng1", "fail"),
    ],
)
def test_a_weak_secret_is_found_and_never_shown(secret: str, level: str) -> None:
    (found,) = check_nas_secrets({"bng1": secret})
    assert found.level == level
    assert secret == "bng1" or secret not in found.seen + found.advice


def test_a_secret_of_several_nases_is_found() -> None:
    found = check_nas_secrets({"a": GOOD, "b": GOOD, "c": GOOD[::-1]})
    assert [(each.subject, each.level) for each in found[3:]] == [("a, b", "warn")]


@pytest.mark.parametrize(
    ("behind_ms", "is_running", "level"),
    [
        (0, True, "ok"),
        (61_000, True, "warn"),
        (700_000, True, "fail"),
        (700_000, False, "ok"),
        (None, True, "ok"),
    ],
)
def test_a_reader_that_is_behind(behind_ms: int | None, is_running: bool, level: str) -> None:
    assert check_lag(LagFact("engine", 5, behind_ms), is_running=is_running).level == level


def test_processes_that_do_not_run_or_start_again_and_again() -> None:
    states = [("engine", "running", 0), ("web", "running", 9), ("radius", "waiting", 2)]
    assert [each.level for each in check_processes(states)] == ["ok", "warn", "fail"]


@pytest.mark.parametrize(
    ("days", "level"), [(400, "ok"), (30, "ok"), (29, "warn"), (0, "warn"), (-1, "fail")]
)
def test_a_certificate_that_ends_soon(days: int, level: str) -> None:
    assert check_certificate("c.pem", NOW + days * 86_400_000, NOW).level == level


def test_a_certificate_that_cannot_be_read() -> None:
    assert check_certificate("c.pem", None, NOW).level == "fail"
