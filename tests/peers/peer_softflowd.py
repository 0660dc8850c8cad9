"""softflowd as a peer: an exporter that counts packets by its own rules and says what it counted.

It reads a capture at once (`-r`) and in the foreground (`-d`), flushes every flow at its end and
prints the statistics that `softflowctl statistics` would show of one that runs. `-c none` because
softflowd 1.1.0 asks no poll(2) while it reads a file, yet looks at its result: by the garbage on
its stack it then waits in accept(2) for a client of the control socket, for ever.
"""

from __future__ import annotations

import dataclasses
import re
import subprocess
from pathlib import Path

from tests.peers_available import require_peer

PATIENCE_SECONDS = 20.0

_PROTOCOL_LINE = re.compile(r"^ +\S+ +\(\d+\): +(\d+) +(\d+) ", re.MULTILINE)
_EXPORTED_LINE = re.compile(r"\((\d+) records\) in (\d+) packets \((\d+) failures\)")


@dataclasses.dataclass(frozen=True, slots=True)
class Export:
    """What softflowd says it saw (octets and packets of IP) and sent (records, datagrams)."""

    octets: int
    packets: int
    records: int
    datagrams: int


def export_capture(capture: Path, port: int, version: int, *options: str) -> Export:
    """Export a capture to a port of this host, UDP if no option says else.

    Returns softflowd's own statistics.
    """
    source = ["-d", "-r", str(capture), "-c", "none"]
    target = ["-v", str(version), "-n", f"127.0.0.1:{port}"]
    command = [require_peer("softflowd"), *source, *target, *options]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return parse_statistics(done.stdout)


def parse_statistics(text: str) -> Export:
    """Return the numbers of softflowd's statistics."""
    per_protocol = [(int(octets), int(packets)) for octets, packets in _PROTOCOL_LINE.findall(text)]
    exported = _EXPORTED_LINE.search(text)
    assert exported is not None, text
    records, datagrams, failures = map(int, exported.groups())
    assert failures == 0, text
    return Export(
        octets=sum(octets for octets, _ in per_protocol),
        packets=sum(packets for _, packets in per_protocol),
        records=records,
        datagrams=datagrams,
    )
