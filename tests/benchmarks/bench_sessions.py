"""How fast accounting packets become usage: `python -m tests.benchmarks.bench_sessions`.

Every subscriber has one running session and sends an interim update each round of five minutes, up
to the lateness bound and beyond it, so that groups have their usual number of knots. One core;
records are decoded already; state lives in memory, without the runner's commit.
"""

from __future__ import annotations

import argparse
import time

from rating.accounting import INTERIM, START, AccountingRecord
from rating.addresses import IPV4_MAPPED
from rating.ports import MemoryState
from rating.records import DirectoryEntry, empty_frame, frame_of
from rating.session_config import SessionsConfig
from rating.session_step import step

FIRST_AT = 28_401_120 * 60_000
INTERIM_MS = 300_000


def packets(round_number: int, subscribers: int) -> list[AccountingRecord]:
    """Return one packet of each subscriber."""
    made = []
    for number in range(subscribers):
        event_at = FIRST_AT + round_number * INTERIM_MS + number * 10
        octets = round_number * (1_000_003 + number)
        made.append(
            AccountingRecord(
                status=INTERIM if round_number else START,
                nas_id="bras",
                acct_session_id=f"{number:08x}",
                received_at=event_at + 20,
                event_at=event_at,
                user_name=f"user-{number}",
                nas_address=IPV4_MAPPED + b"\x0a\x00\x00\x01",
                framed_address=IPV4_MAPPED + b"\x64" + number.to_bytes(3, "big"),
                octets_up=octets // 8,
                octets_down=octets,
                packets_up=octets // 900,
                packets_down=octets // 900,
                session_seconds=round_number * INTERIM_MS // 1000,
            )
        )
    return made


def main() -> None:
    """Print packets per second and CPU seconds per million packets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subscribers", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    people = [
        DirectoryEntry(f"i{n}", 1, "identity", f"user_name:user-{n}", f"s-{n}", 0, 0, None)
        for n in range(options.subscribers)
    ]
    state, config = MemoryState(), SessionsConfig()
    directory = frame_of(DirectoryEntry, people)
    wall = cpu = 0.0
    count = usage_rows = 0
    for round_number in range(options.rounds):
        records = packets(round_number, options.subscribers)
        began, busy = time.perf_counter(), time.process_time()
        watermark_at = records[-1].received_at
        result = step(state, records, directory, watermark_at=watermark_at, config=config)
        wall += time.perf_counter() - began
        cpu += time.process_time() - busy
        state.apply(result)
        directory = empty_frame(DirectoryEntry)
        count += len(records)
        usage_rows += sum(output.frame.height for output in result.outputs)
    print(
        f"sessions   {count / wall:10,.0f} packets/s  {cpu / count * 1e6:8.1f} CPU s per million"
        f" packets  ({count:,} packets -> {usage_rows:,} rows)"
    )


if __name__ == "__main__":
    main()
