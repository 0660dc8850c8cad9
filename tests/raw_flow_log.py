"""A log of datagrams as two collectors write it to one partition, and the flows that are in it."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence

import polars as pl

from collectors.datagrams import Datagram, decode_datagrams, encode_datagrams
from collectors.netflow.config import FlowDecodeConfig
from collectors.netflow.decoder import decode
from rating.envelopes import Envelope, Mark, decode_message, encode_envelope, encode_marks
from rating.ports import MemoryState
from streams.raw_flows import raw_rows
from tests.collectors.netflow import exports as x

AT_MS = x.EXPORTED_AT * 1000
PRODUCERS = ("flows@ams1", "flows@ams2")


@dataclasses.dataclass
class MadeLog:
    """Messages by a seed: data of random flows, templates now and then, repeats and marks."""

    seed: int
    exporters: int = 3
    messages: list[bytes] = dataclasses.field(default_factory=list)
    datagrams: list[Datagram] = dataclasses.field(default_factory=list)
    """What is in the log, each once, in its order."""
    numbers: dict[str, int] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Seed the chance."""
        self._chance = random.Random(self.seed)
        self._sent: dict[str, list[bytes]] = {name: [] for name in PRODUCERS}
        self._now_ms = AT_MS
        self._has_template: set[int] = set()

    def write(self, entries: int) -> Sequence[bytes]:
        """Append so many data messages and what comes with them; return the new messages."""
        before = len(self.messages)
        for _ in range(entries):
            self._now_ms += 200
            producer = self._chance.choice(PRODUCERS)
            datagrams = [self._datagram() for _ in range(self._chance.randrange(1, 5))]
            self._append(producer, datagrams)
            if self._chance.random() < 0.2:
                again = self._sent[producer][-self._chance.randrange(1, 4) :]
                self.messages += again
            if self._chance.random() < 0.3:
                mark = Mark(producer, self.numbers[producer], self._now_ms)
                self.messages.append(encode_marks([mark]))
        return self.messages[before:]

    def _append(self, producer: str, datagrams: list[Datagram]) -> None:
        self.numbers[producer] = self.numbers.get(producer, 0) + 1
        body = encode_datagrams(datagrams)
        envelope = Envelope(producer, self.numbers[producer], self._now_ms, body)
        self.datagrams += datagrams
        self._sent[producer].append(encode_envelope(envelope))
        self.messages.append(self._sent[producer][-1])

    def _datagram(self) -> Datagram:
        exporter = self._chance.randrange(self.exporters)
        sets = []
        # The first template comes late: what is before it waits. The next ones come so seldom that
        # whoever forgets one still waits for it in the end.
        if self._chance.random() < (0.01 if exporter in self._has_template else 0.2):
            self._has_template.add(exporter)
            sets.append(x.template(256, x.BASIC))
        records = [self._record() for _ in range(self._chance.randrange(1, 20))]
        sets.append(x.data(256, records))
        payload = x.v9(sets, domain=exporter)
        return Datagram(self._now_ms, x.mapped(f"192.0.2.{1 + exporter}"), 50_000, 2055, payload)

    def _record(self) -> bytes:
        def address() -> str:
            return f"198.51.100.{self._chance.randrange(256)}"

        return x.basic(address(), address(), self._chance.randrange(1, 10**6))


def decoded_at_once(log: MadeLog) -> pl.DataFrame:
    """Return the rows of everything in a log, decoded as one block, in any order."""
    block = decode_datagrams(encode_datagrams(log.datagrams))
    decoded = decode(MemoryState(), block, watermark_at=0, config=FlowDecodeConfig())
    return raw_rows(decoded.flows, decoded.origins)


def is_data(message: bytes) -> bool:
    """Return whether a message has data and not marks."""
    return isinstance(decode_message(message), Envelope)


def sorted_rows(rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows in an order that depends on nothing but their values."""
    return rows.sort(rows.columns)
