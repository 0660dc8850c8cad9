"""What one look at the connections takes from them is bounded, and each has its turn."""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from collections import Counter

import pytest

from collectors.adapters import connections
from collectors.adapters.connections import Connections, open_listening
from collectors.config import ConnectionsConfig, TlsConfig
from collectors.framing import ipfix_octets
from collectors.metrics import Counters
from tests.collectors.netflow import exports as x

MESSAGE = x.ipfix([x.one_set(999, bytes(980))])


def test_messages_of_one_turn_are_bounded_and_nobody_waits_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "TURN_OCTETS_MAX", 50_000)
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
        listening = open_listening(("127.0.0.1:0",), (), TlsConfig(), 0.0)
        served = Connections(
            selector,
            listening,
            ConnectionsConfig(),
            ipfix_octets,
            (Counters(), "flow_connections"),
        )
        exporters = [
            stack.enter_context(socket.create_connection(("127.0.0.1", listening[0].port)))
            for _ in range(6)
        ]
        for exporter in exporters:
            exporter.sendall(MESSAGE * 60)
        found: Counter[int] = Counter()
        turns = []
        until = time.monotonic() + 10
        while sum(found.values()) < 6 * 60 and time.monotonic() < until:
            messages = served.serve(selector.select(0.1), time.monotonic(), 1)
            found.update(connection.port for connection, _ in messages)
            turns.append(len(messages))
        served.stop_accepting()
        served.close_all()
    assert sorted(found.values()) == [60] * 6
    assert max(turns) <= 50 + 60
