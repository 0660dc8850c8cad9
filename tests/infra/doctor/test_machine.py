"""What the doctor says of sockets, kernel, disk and versions."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from infra.doctor.machine import (
    DiskFact,
    LogFact,
    PortFact,
    check_buffer,
    check_dependencies,
    check_port,
    check_space,
    check_sync,
    check_sysctls,
    check_version,
    locked_versions,
)
from infra.doctor.machine_facts import (
    certificate_end_at,
    granted_octets,
    needed_names,
    port_fact,
    synced_seconds,
    sysctls,
)
from tests.collectors.adapters.certificates import Authority

GB = 10**9
DAY_MS = 86_400_000


@pytest.mark.parametrize(
    ("fact", "is_running", "level", "word"),
    [
        (PortFact("k", "*:1813", "free"), False, "ok", "free"),
        (PortFact("k", "*:1813", "free"), True, "warn", "nobody listens"),
        (PortFact("k", "*:1813", "ours"), True, "ok", "listening"),
        (PortFact("k", "*:1813", "ours", drops=7), True, "warn", "dropped 7"),
        (PortFact("k", "*:1813", "taken", "freeradius (pid 9)"), False, "fail", "freeradius"),
        (PortFact("k", "*:813", "refused", "Permission denied"), False, "fail", "Permission"),
    ],
)
def test_a_port_is_free_ours_or_somebody_elses(
    fact: PortFact, is_running: bool, level: str, word: str
) -> None:
    found = check_port(fact, is_running=is_running)
    assert found.level == level
    assert word in found.seen
    assert bool(found.advice) == (level != "ok")


@pytest.mark.parametrize(("granted", "level"), [(100, "ok"), (99, "warn"), (24, "fail")])
def test_a_receive_buffer_is_granted_or_capped(granted: int, level: str) -> None:
    found = check_buffer("k", 100, granted)
    assert found.level == level
    assert ("rmem_max=100" in found.advice) == (level != "ok")


def test_kernel_settings_that_are_too_small_are_named() -> None:
    good = {"net.core.rmem_max": 100, "net.core.netdev_max_backlog": 1_000}
    assert {each.level for each in check_sysctls(good, 100)} == {"ok"}
    small = {"net.core.rmem_max": 99, "net.ipv4.udp_mem": 199}
    assert [(each.subject, each.level) for each in check_sysctls(small, 100)] == [
        ("net.core.rmem_max", "warn"),
        ("net.ipv4.udp_mem", "warn"),
    ]


def test_a_disk_is_judged_by_its_rate_and_the_days_to_keep() -> None:
    disk = DiskFact("/data", 500 * GB, 1_000 * GB)
    log = LogFact("flow.datagrams", 46 * GB, 0, 2 * DAY_MS)
    assert {each.level for each in check_space(disk, [log], 7.0)} == {"ok"}
    (failed,) = [each for each in check_space(disk, [log], 30.0) if each.level == "fail"]
    assert failed.subject == "retention"
    assert "644.0 GB more" in failed.seen


def test_a_young_log_is_not_judged() -> None:
    disk = DiskFact("/data", 500 * GB, 1_000 * GB)
    log = LogFact("flow.datagrams", 46 * GB, 0, 60_000)
    assert "too young" in check_space(disk, [log], 365.0)[1].seen


@pytest.mark.parametrize(
    ("free", "total", "level"),
    [(500, 1_000, "ok"), (149, 1_000, "warn"), (49, 1_000, "fail"), (0, 0, "fail")],
)
def test_a_full_disk_is_told(free: int, total: int, level: str) -> None:
    assert check_space(DiskFact("/", free * GB, total * GB), [], 1.0)[0].level == level


@pytest.mark.parametrize(
    ("seconds", "level"),
    [([0.001] * 5, "ok"), ([0.03] * 5, "warn"), ([0.5] * 5, "fail"), ([], "warn")],
)
def test_slow_synced_writes_are_told(seconds: list[float], level: str) -> None:
    assert check_sync(seconds).level == level


@pytest.mark.parametrize(
    ("found", "level"),
    [("15.4 (Debian 15.4-1)", "ok"), ("14.9", "fail"), ("", "fail"), ("16", "ok")],
)
def test_a_version_is_new_enough_or_not(found: str, level: str) -> None:
    assert check_version("PostgreSQL", found, (15,)).level == level


def test_what_is_installed_is_compared_with_the_lock() -> None:
    locked = locked_versions("Foo_bar==1.2 \\\n    --hash=x\nbaz[extra]==3 ; marker\n")
    assert locked == {"foo-bar": "1.2", "baz": "3"}
    needed = ["foo.bar", "baz", "unlocked"]
    assert check_dependencies(locked, {"foo-bar": "1.2", "baz": "3"}, needed)[0].level == "ok"
    (found,) = check_dependencies(locked, {"Foo-Bar": "1.3"}, needed)
    assert found.level == "warn"
    assert "foo-bar 1.3 (locked 1.2)" in found.seen
    assert "baz is missing" in found.seen


def test_a_port_that_another_process_holds_is_not_ours() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as held:
        held.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{held.getsockname()[1]}"
        fact = port_fact("k", listen, frozenset(), is_tcp=False)
        assert fact.state == "taken"
        assert "pid" in fact.owner
        assert port_fact("k", listen, frozenset({os.getpid()}), is_tcp=False).state == "ours"
    assert port_fact("k", listen, frozenset(), is_tcp=False).state == "free"


def test_a_tcp_port_counts_where_somebody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        listen = f"127.0.0.1:{held.getsockname()[1]}"
        assert port_fact("k", listen, frozenset(), is_tcp=True).state == "taken"
    assert port_fact("k", listen, frozenset(), is_tcp=True).state == "free"


def test_an_address_that_is_none_is_refused() -> None:
    assert port_fact("k", "nowhere", frozenset(), is_tcp=False).state == "refused"
    assert port_fact("k", "192.0.2.1:1813", frozenset(), is_tcp=False).state == "refused"


def test_this_machine_gives_facts() -> None:
    assert granted_octets(65_536) >= 65_536
    assert sysctls()["net.core.rmem_max"] > 0
    assert "polars" in needed_names()


def test_synced_writes_are_timed_and_leave_nothing(tmp_path: Path) -> None:
    assert len(synced_seconds(tmp_path)) == 20
    assert list(tmp_path.iterdir()) == []
    assert synced_seconds(tmp_path / "absent") == []


def test_a_certificate_is_dated_by_its_own_word(tmp_path: Path) -> None:
    made = Authority(tmp_path / "ca").sign("radius.example", "DNS:radius.example")
    now_at = time.time_ns() // 1_000_000
    ends_at = certificate_end_at(made.file)
    assert ends_at is not None
    assert abs(ends_at - now_at - 30 * DAY_MS) < 300_000
    late = tmp_path / "late.pem"
    late.write_text("a comment\n" + made.file.read_text())
    assert certificate_end_at(late) == ends_at


@pytest.mark.parametrize("text", ["", "no certificate", "-----BEGIN CERTIFICATE-----\nMA==\n"])
def test_what_is_no_certificate_has_no_end(tmp_path: Path, text: str) -> None:
    file = tmp_path / "file.pem"
    file.write_text(text)
    assert certificate_end_at(file) is None
    file.write_text(f"{text}\n-----END CERTIFICATE-----\n")
    assert certificate_end_at(file) is None
    assert certificate_end_at(tmp_path / "absent.pem") is None
