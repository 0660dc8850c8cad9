"""A full disk stops acknowledgement, not the process; with room again everything goes on."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from collectors.adapters.segments import SegmentReader
from collectors.datagrams import decode_datagrams
from collectors.drops import split_reports
from collectors.radius.log_codec import decode_packets
from infra.simulation.accounting_packets import NasIdentity, encode_accounting
from infra.simulation.network import AccountingEvent
from rating.ports import Block
from tests.limits.disks import DISKS
from tests.limits.shell_child import SECRET

PATIENCE_SECONDS = 20.0
ANSWER_SECONDS = 0.4
NAS = NasIdentity("127.0.0.1", "nas1", SECRET.encode())


@dataclasses.dataclass(slots=True)
class Child:
    """A shell in a process of its own, and a socket that talks to it."""

    process: subprocess.Popen[str]
    socket: socket.socket

    def counters(self) -> dict[str, int]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        assert self.process.poll() is None, "the process ended"
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        counted: dict[str, int] = json.loads(self.process.stdout.readline())
        return counted

    def wait(self, condition: Callable[[dict[str, int]], bool]) -> dict[str, int]:
        until = time.monotonic() + PATIENCE_SECONDS
        while not condition(counted := self.counters()):
            assert time.monotonic() < until, counted
            time.sleep(0.02)
        return counted

    def ask(self, packet: bytes) -> bool:
        """Whether a packet is answered within a moment."""
        self.socket.send(packet)
        try:
            return self.socket.recv(4096)[1] == packet[1]
        except TimeoutError:
            return False

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(PATIENCE_SECONDS) == 0


@contextlib.contextmanager
def running(shell: str, directory: Path, **settings: Any) -> Iterator[Child]:
    """Run the shell over the directory's log until the block ends."""
    command = [sys.executable, "-m", "tests.limits.shell_child", shell, str(directory / "log")]
    process = subprocess.Popen(
        [*command, json.dumps(settings)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        port = int(process.stdout.readline())
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            peer.connect(("127.0.0.1", port))
            peer.settimeout(ANSWER_SECONDS)
            yield Child(process, peer)
    finally:
        process.kill()
        process.wait(PATIENCE_SECONDS)
        process.stdout.close()


def blocks(directory: Path) -> list[Block]:
    reader = SegmentReader(directory / "log")
    try:
        return list(reader.read(0, 2**31))
    finally:
        reader.close()


def accounting(number: int) -> bytes:
    event = AccountingEvent(
        "interim", f"s{number}", "rahim", "10.0.0.7", "2001:db8::/64", 1_767_225_600 + number,
        300, number, number, 1, 1,
    )  # fmt: skip
    return encode_accounting(event, NAS, number % 256)


def logged_packets(directory: Path) -> list[bytes]:
    return [
        packet.packet
        for block in blocks(directory)
        if block.kind == "data"
        for packet in decode_packets(block.body)
    ]


@pytest.mark.parametrize("ending", ["stop", "kill"])
@pytest.mark.parametrize("disk", sorted(DISKS))
def test_radius_answers_nothing_that_is_not_durable(tmp_path: Path, disk: str, ending: str) -> None:
    with DISKS[disk](tmp_path) as full, running("radius", full.directory) as child:
        full.prepare(child.process.pid)
        answered: list[bytes] = []
        while child.ask(packet := accounting(len(answered))):
            answered.append(packet)
            assert len(answered) < 2_000, "the disk never was full"
        refused = [packet, *(accounting(5_000 + n) for n in range(3))]
        assert not any(child.ask(packet) for packet in refused)
        counted = child.counters()  # alive
        assert counted["radius_unanswered_packets"] >= len(refused)
        assert counted["radius_append_failures"] >= len(refused)
        assert child.ask(answered[-1]), "what is durable is answered again from memory"

        full.make_room(child.process.pid)
        assert all(child.ask(packet) for packet in refused)  # the NAS retransmits
        assert child.ask(last := accounting(9_000))
        if ending == "stop":
            child.stop()
        else:
            child.process.kill()
            child.process.wait(PATIENCE_SECONDS)
        assert logged_packets(full.directory) == [*answered, *refused, last]


@pytest.mark.parametrize("disk", sorted(DISKS))
def test_flows_wait_bounded_and_are_appended_when_there_is_room(tmp_path: Path, disk: str) -> None:
    payload = os.urandom(1_396)
    sent = 0
    settings = {
        "block_octets": 40_000,
        "block_milliseconds": 20,
        "queue_octets": 400_000,
        "append_retry_milliseconds": 50,
        "marker_interval_milliseconds": 20,
    }

    def send(child: Child, count: int) -> None:
        nonlocal sent
        for _ in range(count):
            child.socket.send(struct.pack(">I", sent) + payload)
            sent += 1
        time.sleep(0.005)

    def all_received(counted: dict[str, int]) -> bool:
        lost = counted.get("flow_kernel_drops", 0)
        return counted.get("flow_received_datagrams", 0) + lost >= sent

    with DISKS[disk](tmp_path) as full, running("flows", full.directory, **settings) as child:
        full.prepare(child.process.pid)
        until = time.monotonic() + PATIENCE_SECONDS
        while not (counted := child.counters()).get("flow_overflow_datagrams"):
            assert time.monotonic() < until, counted
            send(child, 20)
        assert counted["flow_append_failures"] >= 1
        assert counted["flow_queue_octets"] <= settings["queue_octets"]
        durable_while_full = counted["flow_appended_datagrams"]

        full.make_room(child.process.pid)
        child.wait(lambda c: c["flow_queue_octets"] == 0 and all_received(c))
        send(child, 5)
        counted = child.wait(lambda c: c["flow_queue_octets"] == 0 and all_received(c))
        child.stop()
        check_flow_log(blocks(full.directory), counted, sent)
        assert counted["flow_appended_datagrams"] > durable_while_full


def check_flow_log(log: list[Block], counted: dict[str, int], sent: int) -> None:
    """Nothing is there twice or out of order; what is missing was counted; markers keep their word.

    A marker of T says that what was received before T stands before it. What was dropped is told in
    the log itself.
    """
    numbers: list[int] = []
    told = 0
    marked_at = 0
    for block in log:
        if block.kind == "marker":
            marked_at = block.received_at
            continue
        whole = decode_datagrams(block.body)
        assert int(whole.received_at.min()) >= marked_at
        datagrams, reports = split_reports(whole)
        told += sum(report.kernel + report.queue for report in reports)
        for index in range(len(datagrams)):
            numbers.append(struct.unpack(">I", datagrams.datagram(index).payload[:4])[0])
    assert numbers == sorted(set(numbers))
    assert numbers[-5:] == list(range(sent - 5, sent)), "what came after there was room"
    assert len(numbers) == counted["flow_appended_datagrams"]
    missing = sent - len(numbers)
    assert missing == counted["flow_overflow_datagrams"] + counted.get("flow_kernel_drops", 0)
    assert told == missing
