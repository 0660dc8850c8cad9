"""nfcapd, nfacctd, goflow2 and the Python package netflow as collectors that a test starts.

Each is started on a free port of loopback with a socket buffer as large as the system gives, ends
as it wants to be ended, and is asked what it took. Their traps: goflow2 without `blocking=true`
hides overload in a queue of a million datagrams; nfacctd overruns its ring in silence when that is
small; nfcapd writes its file only at its end; nfdump 1.7.1 ignores an options template with both 34
and 35.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from tests.benchmarks.process_usage import wait_until_bound

PATIENCE_SECONDS = 40.0
SOCKET_BUFFER_OCTETS = 33_554_432
"""What the collectors ask for; the system's limit (net.core.rmem_max) may be far below."""


@dataclasses.dataclass(frozen=True, slots=True)
class Taken:
    """What a collector says it took; None where it does not count that."""

    flows: int | None = None
    octets: int | None = None
    packets: int | None = None


class PeerCollector:
    """A collector at work on a UDP port; `finish` ends it and returns what it took."""

    def __init__(
        self, process: subprocess.Popen[bytes], port: int, ask: Callable[[], Taken]
    ) -> None:
        self.process = process
        self.port = port
        self.ask = ask

    @property
    def pids(self) -> Sequence[int]:
        """The process; its children count too."""
        return (self.process.pid,)

    def finish(self) -> Taken:
        """End the collector and return what it took."""
        return self.ask()

    def close(self) -> None:
        """End the process if it has not ended."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE_SECONDS)


def free_udp_port() -> int:
    """Return a UDP port of loopback that nobody has."""
    return _free_port(socket.SOCK_DGRAM)


def _free_port(kind: socket.SocketKind) -> int:
    with contextlib.closing(socket.socket(socket.AF_INET, kind)) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start(command: Sequence[str], directory: Path) -> subprocess.Popen[bytes]:
    with (directory / "output").open("wb") as output:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=directory
        )


def _until_bound(process: subprocess.Popen[bytes], port: int, directory: Path) -> None:
    """Return when the collector listens; end it and say what it said where it does not."""
    try:
        wait_until_bound(port, PATIENCE_SECONDS)
    except TimeoutError as error:
        process.kill()
        process.wait(PATIENCE_SECONDS)
        said = (directory / "output").read_text(errors="replace")[-2_000:]
        raise TimeoutError(f"{error}; the collector said: {said}") from error


def _end(process: subprocess.Popen[bytes], how: signal.Signals) -> None:
    process.send_signal(how)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(PATIENCE_SECONDS)


def start_nfcapd(program: str, nfdump: str, directory: Path) -> PeerCollector:
    """Start nfcapd into a folder; nfdump sums its file up."""
    port = free_udp_port()
    flows = directory / "nfcapd"
    flows.mkdir()
    buffer = ("-B", str(SOCKET_BUFFER_OCTETS))
    command = (program, "-w", str(flows), "-p", str(port), "-b", "127.0.0.1", "-t", "3600", *buffer)
    process = _start(command, directory)

    def ask() -> Taken:
        _end(process, signal.SIGTERM)
        return read_nfcapd(nfdump, flows)

    _until_bound(process, port, directory)
    return PeerCollector(process, port, ask)


def read_nfcapd(nfdump: str, folder: Path) -> Taken:
    """Return what the files of a folder hold, by nfdump's own statistics (`-I`)."""
    sums = {"Flows": 0, "Bytes": 0, "Packets": 0}
    for path in sorted(folder.glob("nfcapd.*")):
        told = subprocess.run(
            [nfdump, "-r", str(path), "-I"], capture_output=True, text=True, check=False, timeout=60
        ).stdout
        for name in sums:
            found = re.search(rf"^{name}: (\d+)", told, re.MULTILINE)
            sums[name] += int(found.group(1)) if found else 0
    return Taken(sums["Flows"], sums["Bytes"], sums["Packets"])


_NFACCTD = """
daemonize: false
nfacctd_ip: 127.0.0.1
nfacctd_port: {port}
nfacctd_pipe_size: {buffer}
nfacctd_renormalize: false
nfacctd_disable_checks: true
plugins: print[out]
aggregate[out]: {aggregate}
print_output[out]: csv
print_output_file[out]: {output}
print_refresh_time[out]: 86400
print_cache_entries[out]: 16381
plugin_buffer_size[out]: 10240
plugin_pipe_size[out]: 536870912
"""


def start_nfacctd(
    program: str, directory: Path, aggregate: str = "dst_host, flows"
) -> PeerCollector:
    """Start nfacctd that aggregates in memory and writes it all at its end (SIGINT)."""
    port = free_udp_port()
    output = directory / "nfacctd.csv"
    text = _NFACCTD.format(
        port=port, buffer=SOCKET_BUFFER_OCTETS, output=output, aggregate=aggregate
    )
    configuration = directory / "nfacctd.conf"
    configuration.write_text(text)
    process = _start((program, "-f", str(configuration)), directory)

    def ask() -> Taken:
        process.send_signal(signal.SIGINT)
        _wait_until_still(output)
        return _sum_csv(output)

    # Its plugin is a process of its own, and what comes before it has made its cache may be lost.
    _wait_until_says(directory / "output", "base cache memory=")
    _until_bound(process, port, directory)
    return PeerCollector(process, port, ask)


def _wait_until_says(output: Path, words: str) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while words not in output.read_text(errors="replace"):
        if time.monotonic() > until:
            raise TimeoutError(output.read_text(errors="replace")[-2_000:])
        time.sleep(0.05)


def _wait_until_still(output: Path) -> None:
    """Return when a file has stopped growing; nfacctd itself may never end."""
    until, octets, still = time.monotonic() + PATIENCE_SECONDS, -1, 0
    while time.monotonic() < until and still < 5:
        time.sleep(0.1)
        now = output.stat().st_size if output.exists() else -1
        still = still + 1 if now == octets and now > 0 else 0
        octets = now


def _sum_csv(output: Path) -> Taken:
    if not output.exists():
        return Taken(0, 0, 0)
    with output.open(newline="") as rows:
        table = list(csv.DictReader(rows))
    return Taken(*(sum(int(row[name] or 0) for row in table) for name in _CSV_SUMS))


_CSV_SUMS = ("FLOWS", "BYTES", "PACKETS")


def start_goflow2(program: str, directory: Path, kind: str = "bin") -> PeerCollector:
    """Start goflow2 with one worker that blocks; its own metrics count the records it decoded.

    kind is its output format; "json" goes into the file `flows.json`, anything else nowhere.
    """
    port, metrics = free_udp_port(), _free_port(socket.SOCK_STREAM)
    listen = f"netflow://127.0.0.1:{port}?count=1&workers=1&blocking=true"
    target = str(directory / "flows.json") if kind == "json" else "/dev/null"
    output = ("-transport", "file", "-transport.file", target, "-format", kind)
    command = (program, "-listen", listen, "-addr", f"127.0.0.1:{metrics}", *output)
    process = _start(command, directory)

    def ask() -> Taken:
        # Of v5 it counts records where it counts sets of the others.
        of_v5 = _metric(metrics, "goflow2_flow_process_nf_flowset_total", 'version="5"')
        others = _metric(metrics, "goflow2_flow_process_nf_flowset_records_total", "DataFlowSet")
        flows = int(of_v5 + others)
        _end(process, signal.SIGTERM)
        return Taken(flows)

    _until_bound(process, port, directory)
    return PeerCollector(process, port, ask)


def _metric(port: int, name: str, mark: str) -> float:
    """Return the sum of a Prometheus metric's values over the lines that have a mark."""
    url = f"http://127.0.0.1:{port}/metrics"
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE_SECONDS) as answer:
                text = answer.read().decode()
            break
        except (urllib.error.URLError, ConnectionError):
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
    lines = [line for line in text.splitlines() if line.startswith(name) and mark in line]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


_NETFLOW = """
import signal, socket, sys
from netflow import parse_packet
opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, int(sys.argv[2]))
opened.bind(("127.0.0.1", int(sys.argv[1])))
opened.settimeout(0.1)
stop, flows, templates = [], 0, {"netflow": {}, "ipfix": {}}
signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
while not stop:
    try:
        datagram = opened.recv(65_535)
    except TimeoutError:
        continue
    try:
        flows += len(parse_packet(datagram, templates).flows)
    except Exception as error:
        print(type(error).__name__, error, file=sys.stderr)
print("flows", flows)
"""
"""Its parser behind a bare loop: its own collector starts a thread for every datagram."""


def start_netflow(python: str, directory: Path) -> PeerCollector:
    """Start a loop around the package netflow's parser, in the environment that has it."""
    port = free_udp_port()
    command = (python, "-c", _NETFLOW, str(port), str(SOCKET_BUFFER_OCTETS))
    process = _start(command, directory)

    def ask() -> Taken:
        _end(process, signal.SIGTERM)
        found = re.search(r"^flows (\d+)", (directory / "output").read_text(), re.MULTILINE)
        return Taken(int(found.group(1)) if found else 0)

    _until_bound(process, port, directory)
    return PeerCollector(process, port, ask)


@contextlib.contextmanager
def closing(collector: PeerCollector) -> Iterator[PeerCollector]:
    """Give a collector and see that its process ends."""
    try:
        yield collector
    finally:
        collector.close()


PROGRAMS: Mapping[str, Sequence[str]] = {
    "nfcapd": ("nfcapd", "nfdump"),
    "nfacctd": ("nfacctd",),
    "goflow2": ("goflow2",),
    "netflow": ("netflow",),
}
"""The programs that each collector needs, by `tests.peers_available.find_peer`."""
STARTERS: Mapping[str, Callable[..., PeerCollector]] = {
    "nfcapd": start_nfcapd,
    "nfacctd": start_nfacctd,
    "goflow2": start_goflow2,
    "netflow": start_netflow,
}
"""Each is called with its programs' paths and a folder of its own."""
