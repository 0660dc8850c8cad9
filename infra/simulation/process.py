"""The demo's network on UDP loopback: two exporters and a NAS, each from its own address."""

from __future__ import annotations

import dataclasses
import json
import logging
import select
import socket
import threading
from collections.abc import Callable
from pathlib import Path

from infra.simulation.accounting_packets import NasIdentity, ServiceChange, answer_change
from infra.simulation.config import SimulationConfig
from infra.simulation.flow_packets import IpfixExporter, NetflowV9Exporter
from infra.simulation.network import AccountingEvent, Network, NetworkConfig, Subscriber, Tick
from infra.simulation.transmission import AccountingSender

_LOG = logging.getLogger("flowrate.simulation")
_DATAGRAM_OCTETS = 65_535
_BACKLOG_EVENTS = 50_000
_AFTER_DISCONNECT_SECONDS = 60


class SimulatedNetwork:
    """Sockets around `Network`: sends what a second brought, answers CoA, takes answers."""

    def __init__(self, config: SimulationConfig, now_ms: Callable[[], int]) -> None:
        """Bind the sockets. Raises OSError where an address or port is taken."""
        self._config = config
        self._now_ms = now_ms
        now = now_ms()
        self._nas = NasIdentity(
            config.nas_address, config.nas_identifier, config.nas_secret.encode()
        )
        self.network = Network(
            NetworkConfig(
                seed=config.seed,
                subscribers=config.subscribers,
                pools=config.pools,
                pool_members=config.pool_members,
                interim_interval_seconds=config.interim_interval_seconds,
                flow_export_interval_seconds=config.flow_export_interval_seconds,
                mean_rate_down_bps=config.mean_rate_down_bps,
                session_mean_seconds=config.session_mean_seconds,
            ),
            # A restarted simulation is a rebooted NAS: its session ids must be new.
            boot_id=f"{now // 1000:08x}",
        )
        self.sender = AccountingSender(self._nas, backlog_max=_BACKLOG_EVENTS)
        booted_at = now - 60_000
        self._v9 = NetflowV9Exporter(source_id=1, booted_at=booted_at)
        self._ipfix = IpfixExporter(domain=7, sampling_rate=config.ipfix_sampling_rate)
        self._v9_socket = _bound(config.netflow_v9_address, 0)
        self._ipfix_socket = _bound(config.ipfix_address, 0)
        self._accounting_socket = _bound(config.nas_address, 0)
        self._coa_socket = _bound(config.nas_address, config.coa_port)
        self._seconds = now // 1000
        self._is_template_sent = False

    def run(self, stop: threading.Event) -> None:
        """Live second by second until stop is set; seconds missed while paused are caught up."""
        while not stop.is_set():
            self._listen(0.05)
            now_seconds = self._now_ms() // 1000
            if now_seconds - self._seconds > 60:
                self._seconds = now_seconds - 1
            while self._seconds < now_seconds:
                self._seconds += 1
                self._send(self.network.advance(self._seconds))
            for datagram in self.sender.due(now_seconds):
                self._accounting_socket.sendto(
                    datagram, ("127.0.0.1", self._config.accounting_port)
                )
        for opened in (
            self._v9_socket,
            self._ipfix_socket,
            self._accounting_socket,
            self._coa_socket,
        ):
            opened.close()

    def _send(self, tick: Tick) -> None:
        now = self._seconds * 1000
        config = self._config
        v9_target, ipfix_target = ("127.0.0.1", config.flow_port), ("127.0.0.1", config.ipfix_port)
        if self._seconds % config.template_interval_seconds == 0 or not self._is_template_sent:
            self._is_template_sent = True
            self._v9_socket.sendto(self._v9.templates(now), v9_target)
            self._ipfix_socket.sendto(self._ipfix.templates(now), ipfix_target)
        for datagram in self._v9.data([f for f in tick.flows if f.exporter == 0], now):
            self._v9_socket.sendto(datagram, v9_target)
        for datagram in self._ipfix.data([f for f in tick.flows if f.exporter == 1], now):
            self._ipfix_socket.sendto(datagram, ipfix_target)
        for event in tick.accounting:
            self.sender.submit(event)

    def _listen(self, timeout_seconds: float) -> None:
        sockets = [self._accounting_socket, self._coa_socket]
        readable, _, _ = select.select(sockets, [], [], timeout_seconds)
        while readable:
            for ready in readable:
                try:
                    datagram, source = ready.recvfrom(_DATAGRAM_OCTETS)
                except OSError:
                    continue
                if ready is self._accounting_socket:
                    event = self.sender.answered(datagram)
                    if event is not None:
                        self._write_truth(event)
                else:
                    answer = answer_change(datagram, self._nas, self.apply)
                    if answer is not None:
                        self._coa_socket.sendto(answer, source)
            readable, _, _ = select.select(sockets, [], [], 0)

    def _write_truth(self, event: AccountingEvent) -> None:
        """Append what Flowrate has taken responsibility for, where the settings ask for it."""
        if self._config.truth_file:
            with Path(self._config.truth_file).open("a", encoding="utf-8") as file:
                file.write(json.dumps(dataclasses.asdict(event)) + "\n")

    def apply(self, change: ServiceChange) -> bool:
        """Change a line as a CoA or Disconnect asks; return whether its session exists."""
        line = self._line_of(change)
        if line is None:
            return False
        if change.is_disconnect:
            self.sender.submit(self.network.end_session(line, self._seconds))
            # A line that was put out would only come back through authentication.
            line.offline_until_seconds = self._seconds + _AFTER_DISCONNECT_SECONDS
            _LOG.info("disconnected", extra={"user_name": line.user_name})
            return True
        if change.rate_up_bps is not None:
            line.limit_up_bps = change.rate_up_bps
        if change.rate_down_bps is not None:
            line.limit_down_bps = change.rate_down_bps
        return True

    def _line_of(self, change: ServiceChange) -> Subscriber | None:
        for line in self.network.subscribers:
            session = line.session
            if session is None:
                continue
            if change.acct_session_id:
                if session.acct_session_id == change.acct_session_id:
                    return line
            elif change.user_name == line.user_name:
                return line
        return None


def _bound(address: str, port: int) -> socket.socket:
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        opened.bind((address, port))
    except OSError as error:
        opened.close()
        raise OSError(f"simulated network: cannot bind {address}:{port}: {error}") from error
    return opened
