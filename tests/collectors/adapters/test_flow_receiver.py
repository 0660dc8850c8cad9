"""The flow receiver: every datagram once into the log, whatever the disk does."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import socket
import time

import pytest

from collectors.adapters import drop_reports, flow_receiver
from collectors.adapters.sockets import to_address
from collectors.config import FlowReceiverConfig
from collectors.datagrams import DatagramBlock, decode_datagrams, encode_datagrams
from collectors.drops import Drops, split_reports
from tests.collectors.adapters.running import MemoryLog, eventually, now_ms, running

QUICK = FlowReceiverConfig(
    listen=("127.0.0.1:0", "[::1]:0"),
    receive_buffer_octets=1_048_576,
    block_milliseconds=20,
    marker_interval_milliseconds=50,
    append_retry_milliseconds=20,
)


def send(port: int, payloads: list[bytes], host: str = "127.0.0.1") -> tuple[bytes, int]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        sender.bind((host, 0))
        for payload in payloads:
            sender.sendto(payload, (host, port))
        return to_address(host), sender.getsockname()[1]


def logged_of(log: MemoryLog) -> tuple[DatagramBlock, list[Drops]]:
    """Return the datagrams in the log, and the reports of drops among them."""
    return split_reports(decode_datagrams(encode_datagrams(log.datagrams())))


def test_datagrams_are_logged_in_order_with_where_they_came_from() -> None:
    payloads = [bytes((n % 256,)) * n for n in range(0, 1_400, 7)]
    before = now_ms()
    with running(flow_receiver.run, QUICK) as shell:
        four = send(shell.ports[0], payloads)
        six = send(shell.ports[1], [b"six"], "::1")
        assert eventually(lambda: len(shell.log.datagrams()) == len(payloads) + 1)
    found = [d for d in shell.log.datagrams() if d.local_port == shell.ports[0]]
    assert [d.payload for d in found] == payloads
    assert {(d.source_address, d.source_port) for d in found} == {four}
    (other,) = [d for d in shell.log.datagrams() if d.local_port == shell.ports[1]]
    assert (other.payload, other.source_address, other.source_port) == (b"six", *six)
    assert all(before <= d.received_at <= now_ms() for d in shell.log.datagrams())


def test_the_largest_datagram_fits() -> None:
    with running(flow_receiver.run, QUICK) as shell:
        send(shell.ports[0], [bytes(65_507)] * 20)
        assert eventually(lambda: len(shell.log.datagrams()) == 20)


def test_what_waits_in_the_kernel_at_the_stop_is_in_the_log_after_it() -> None:
    def slow_clock() -> int:
        time.sleep(0.01)  # Each datagram takes so long that most wait when the stop comes.
        return now_ms()

    one_by_one = dataclasses.replace(QUICK, burst_datagrams=1)
    with running(flow_receiver.run, one_by_one, slow_clock) as shell:
        send(shell.ports[0], [b"x" * 1_000] * 60)
        assert len(shell.log.datagrams()) < 30
    assert len(shell.log.datagrams()) == 60


def test_received_through_is_told_also_when_nothing_comes() -> None:
    with running(flow_receiver.run, QUICK) as shell:
        assert eventually(lambda: len(shell.log.markers()) >= 3)
    markers = shell.log.markers()
    assert markers == sorted(set(markers))


def test_no_datagram_comes_behind_a_marker_that_is_later_than_it() -> None:
    with running(flow_receiver.run, QUICK) as shell:
        for _ in range(30):
            send(shell.ports[0], [b"four"] * 5)
            send(shell.ports[1], [b"six"] * 5, "::1")
            time.sleep(0.005)
        assert eventually(lambda: len(shell.log.markers()) >= 5)
    through = 0
    for block in shell.log.blocks:
        if block.kind == "marker":
            through = block.received_at
            continue
        log = type(shell.log)()
        log.blocks = [block]
        assert all(through <= d.received_at <= block.received_at for d in log.datagrams())
    assert len(shell.log.datagrams()) == 300


def test_a_clock_that_steps_back_does_not_take_markers_back() -> None:
    steps = itertools.cycle([5_000, 5_040, 5_080, 1_000, 5_200, 5_300, 100, 5_600])
    base = itertools.count(0, 100)
    with running(flow_receiver.run, QUICK, lambda: next(base) + next(steps)) as shell:
        send(shell.ports[0], [b"x"] * 50)
        assert eventually(lambda: len(shell.log.markers()) >= 4)
    assert shell.log.markers() == sorted(set(shell.log.markers()))


def test_a_clock_set_back_an_hour_does_not_hold_datagrams_back() -> None:
    set_back = [0]
    with running(flow_receiver.run, QUICK, lambda: now_ms() - set_back[0]) as shell:
        send(shell.ports[0], [b"before"])
        assert eventually(lambda: len(shell.log.datagrams()) == 1)
        set_back[0] = 3_600_000
        # Never idle, and far from a full block: only age hands these over.
        for _ in range(100):
            send(shell.ports[0], [b"after"])
            time.sleep(0.002)
        assert len(shell.log.datagrams()) > 1
    times = [d.received_at for d in shell.log.datagrams()]
    assert times == sorted(times)


def test_a_block_of_empty_datagrams_ends_too() -> None:
    with running(flow_receiver.run, QUICK) as shell:
        send(shell.ports[0], [b""] * 100)
        assert eventually(lambda: len(shell.log.datagrams()) == 100)


def test_a_full_disk_is_told_once_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), running(flow_receiver.run, QUICK) as shell:
        shell.log.is_full = True
        send(shell.ports[0], [b"x"] * 10)
        assert eventually(lambda: shell.counters.get("flow_append_failures") >= 5)
        assert shell.counters.get("flow_received_datagrams") == 10
        shell.log.is_full = False
        assert eventually(lambda: len(shell.log.datagrams()) == 10)
    told = [r.message for r in caplog.records if "append" in r.message]
    assert len(told) == 2
    assert "No space left" in told[0]
    assert "again" in told[1]


def test_a_full_disk_loses_nothing_that_fits_the_queue() -> None:
    with running(flow_receiver.run, QUICK) as shell:
        shell.log.is_full = True
        send(shell.ports[0], [b"x" * 1_000] * 300)
        assert eventually(lambda: shell.counters.get("flow_append_failures") >= 2)
        marked = len(shell.log.markers())
        shell.log.is_full = False
        assert eventually(lambda: len(shell.log.datagrams()) == 300)
        assert eventually(lambda: len(shell.log.markers()) > marked)
    assert shell.counters.get("flow_overflow_datagrams") == 0
    assert shell.counters.get("flow_appended_datagrams") == 300


def test_what_does_not_fit_the_queue_is_counted() -> None:
    small = FlowReceiverConfig(
        listen=("127.0.0.1:0",),
        burst_datagrams=2,
        block_octets=2_000,
        queue_octets=10_000,
        append_retry_milliseconds=20,
        receive_buffer_octets=1_048_576,
    )
    with running(flow_receiver.run, small) as shell:
        shell.log.is_full = True
        send(shell.ports[0], [b"x" * 1_000] * 200)
        counters = shell.counters
        assert eventually(lambda: counters.get("flow_overflow_datagrams") > 100)
        shell.log.is_full = False
    block, reports = logged_of(shell.log)
    logged, lost = len(block), counters.get("flow_overflow_datagrams")
    assert logged > 0
    assert logged + lost == 200 == counters.get("flow_received_datagrams")
    assert sum(report.queue for report in reports) == lost
    assert {report.local_port for report in reports} == set(shell.ports)


def test_what_the_kernel_drops_is_told_in_the_log_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's own count is tested in test_sockets; here it is a table that we fill."""
    dropped = [0, 0]
    monkeypatch.setattr(drop_reports, "socket_drops", lambda sockets: list(dropped))
    with running(flow_receiver.run, QUICK) as shell:
        assert eventually(lambda: len(shell.log.markers()) >= 2)
        dropped[:] = [7, 0]
        assert eventually(lambda: len(logged_of(shell.log)[1]) == 1)
        shell.log.is_full = True
        dropped[:] = [9, 4]
        assert eventually(lambda: shell.counters.get("flow_append_failures") > 1)
        shell.log.is_full = False
        assert eventually(lambda: len(logged_of(shell.log)[1]) == 3)
        many = len(shell.log.markers())
        assert eventually(lambda: len(shell.log.markers()) >= many + 2)
    found = [(r.local_port, r.kernel, r.queue) for r in logged_of(shell.log)[1]]
    assert found == [(shell.ports[0], 7, 0), (shell.ports[0], 2, 0), (shell.ports[1], 4, 0)]


def test_nothing_dropped_is_nothing_told() -> None:
    with running(flow_receiver.run, QUICK) as shell:
        send(shell.ports[0], [b"x"])
        assert eventually(lambda: len(shell.log.markers()) >= 3)
    block, reports = logged_of(shell.log)
    assert (len(block), reports) == (1, [])


def test_what_the_disk_refuses_until_the_end_is_counted_as_lost() -> None:
    with running(flow_receiver.run, QUICK) as shell:
        shell.log.is_full = True
        send(shell.ports[0], [b"x"] * 10)
    assert shell.counters.get("flow_abandoned_datagrams") == 10
    assert shell.log.blocks == [] or not shell.log.datagrams()


def test_receiving_goes_on_while_the_disk_is_slow() -> None:
    with running(flow_receiver.run, QUICK) as shell:
        shell.log.pause.clear()
        send(shell.ports[0], [b"first"])
        assert shell.log.entered.wait(5)
        # Thrice the kernel's buffer: a receive thread that stood still would lose most of it.
        for _ in range(100):
            send(shell.ports[0], [bytes(30_000)] * 2)
            time.sleep(0.005)
        shell.log.pause.set()
        assert eventually(lambda: len(shell.log.datagrams()) == 201)


def test_an_address_that_cannot_be_bound_ends_the_process() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        config = FlowReceiverConfig(listen=(f"127.0.0.1:{taken.getsockname()[1]}",))
        with (
            pytest.raises(OSError, match="cannot listen"),
            running(flow_receiver.run, config),
        ):
            pass
