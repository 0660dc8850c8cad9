"""A collector's real shell over a real segment log, as a process of its own.

`python -m tests.limits.shell_child flows|radius DIRECTORY SETTINGS` prints its port as a line of
JSON, answers every line on standard input with its counters, and stops at the end of the input.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

from collectors.adapters import flow_receiver, radius_listener
from collectors.adapters.segments import SegmentWriter
from collectors.config import FlowReceiverConfig, NasConfig, RadiusConfig
from collectors.metrics import Counters

ONE_SEGMENT_SECONDS = 10**9
"""No new segment during a test: what is full stays full."""

SECRET = "limits"


def main() -> None:
    """Run the shell until standard input ends."""
    shell, directory, text = sys.argv[1:4]
    settings = json.loads(text)
    counters, stop = Counters(), threading.Event()

    def answer() -> None:
        for _ in sys.stdin:
            counted = {f"{name}{label}": n for (name, label), n in counters.snapshot().items()}
            print(json.dumps(counted), flush=True)
        stop.set()

    def on_listening(ports: list[int]) -> None:
        print(json.dumps(ports[0]), flush=True)
        threading.Thread(target=answer, daemon=True).start()

    writer = SegmentWriter(Path(directory), segment_seconds=ONE_SEGMENT_SECONDS)
    common: dict[str, Any] = {
        "now_ms": lambda: time.time_ns() // 1_000_000,
        "stop": stop,
        "counters": counters,
        "on_listening": on_listening,
    }
    listen = ("127.0.0.1:0",)
    if shell == "flows":
        flow_receiver.run(FlowReceiverConfig(listen=listen, **settings), writer, **common)
    else:
        clients = (NasConfig("nas1", "127.0.0.1", SECRET),)
        radius_listener.run(RadiusConfig(listen, clients, **settings), writer, **common)


if __name__ == "__main__":
    main()
