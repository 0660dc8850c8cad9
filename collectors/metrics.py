"""Every counter of the collectors, with its meaning."""

from __future__ import annotations

import threading
from collections.abc import Mapping

METRICS: Mapping[str, str] = {
    "flow_received_datagrams": "Flow datagrams, and messages of connections, that were read.",
    "flow_received_octets": "Octets of their payloads.",
    "flow_appended_datagrams": "Flow datagrams made durable.",
    "flow_appended_blocks": "Blocks of flow datagrams made durable.",
    "flow_append_failures": "Appends that failed (full disk) and were or will be tried again.",
    "flow_overflow_datagrams": "Flow datagrams dropped because the queue to the disk was full.",
    "flow_abandoned_datagrams": "Flow datagrams lost at stop: the log would not take them.",
    "flow_kernel_drops": "Flow datagrams the kernel dropped: socket buffer full (gauge).",
    "flow_receive_buffer_octets": "Socket receive buffer the system gave (gauge).",
    "flow_queue_octets": "Payload waiting for the disk (gauge).",
    "flow_connections": "Connections of exporters (gauge).",
    "flow_connections_accepted": "Connections of exporters that were accepted.",
    "flow_connections_refused": "Connections that were not let in, by reason.",
    "flow_connections_closed": "Connections of exporters that ended, by reason.",
    "flow_connections_cut_messages": "Messages whose connection ended in their midst: dropped.",
    "flow_connections_waits": "Times that reading from connections waited for the log.",
    "flow_received_through_at": "Newest durable `received through T`, ms (gauge).",
    "radius_received_packets": "Datagrams read from the accounting sockets.",
    "radius_accepted_packets": "Accounting-Requests verified, not yet durable.",
    "radius_durable_packets": "Accounting-Requests made durable and answered.",
    "radius_duplicate_packets": "Retransmissions: dropped while waiting, else answered again.",
    "radius_status_server_packets": "Status-Server requests (RFC 5997).",
    "radius_refused_packets": "Packets refused and not answered, by reason.",
    "radius_append_failures": "Appends that failed (full disk); nothing of them was answered.",
    "radius_unanswered_packets": "Verified packets not answered because an append failed.",
    "radius_send_failures": "Answers the system would not send.",
    "radius_duplicate_cache_entries": "Answers held for retransmissions (gauge).",
    "radius_duplicate_cache_evicted": "Answers forgotten before their time by the cache's limit.",
    "radius_kernel_drops": "Accounting datagrams the kernel dropped (gauge).",
    "radius_clock_offset_milliseconds": "How far a NAS's clock is ahead, by NAS (gauge).",
    "radius_receive_buffer_octets": "Socket receive buffer the system gave (gauge).",
    "radius_connections": "Connections of RadSec clients (gauge).",
    "radius_connections_accepted": "Connections of RadSec clients that were accepted.",
    "radius_connections_refused": "RadSec connections that were not let in, by reason.",
    "radius_connections_closed": "RadSec connections that ended, by reason.",
    "radius_connections_cut_messages": "Packets whose connection ended in their midst: dropped.",
    "radius_received_through_at": "Newest durable `received through T`, ms (gauge).",
    "radius_relay_sent_packets": "Packets sent to the second server for the first time.",
    "radius_relay_repeated_packets": "Retransmissions to the second server.",
    "radius_relay_acknowledged_packets": "Relayed packets that the second server acknowledged.",
    "radius_relay_abandoned_packets": "Packets given up: the server acknowledged others instead.",
    "radius_relay_dropped_packets": "Packets given up: too many octets waited, or for too long.",
    "radius_relay_looping_packets": "Packets that had been relayed from here, not relayed again.",
    "radius_relay_refused_answers": "Answers of the second server not believed, by reason.",
    "radius_relay_send_failures": "Relayed packets the system would not send.",
    "radius_relay_failures": "Times the relay stood still: its disk, or the server's name.",
    "radius_relay_queued_octets": "Octets of the log not yet relayed (gauge).",
    "radius_relay_held_packets": "Packets read from the log and not yet acknowledged (gauge).",
    "radius_relay_oldest_seconds": "Age of the oldest of those packets (gauge).",
    "spool_octets": "Octets in the spool that Kafka has not acknowledged (gauge).",
    "spool_blocks": "Blocks made durable in the spool.",
    "spool_parts": "Parts of those blocks, one message to one partition each.",
    "spool_refused_full": "Appends refused because the spool is full: Kafka is away too long.",
    "spool_refused_away": "Appends refused because Kafka has not yet taken an earlier one.",
    "spool_ack_timeouts": "Appends that Kafka did not acknowledge in time; nothing was answered.",
    "spool_segments_deleted": "Segments of the spool deleted after Kafka had them long enough.",
    "published_messages": "Messages of data that Kafka acknowledged.",
    "published_octets": "Octets of those messages before compression.",
    "published_marks": "Marks of `received through T` handed to Kafka, one per partition.",
    "publish_failures": "Failures after which publishing began anew behind what was acknowledged.",
    "kafka_away": "1 while Kafka cannot be reached or does not answer, else 0 (gauge).",
    "lease_renewals": "Renewals of the collector's lease.",
    "lease_failures": "Renewals that failed: PostgreSQL is away; receiving goes on.",
    "leases_expired": "Collectors given up because they did not renew their lease.",
}
"""NAME -> meaning. A gauge is set, everything else only rises."""


class Counters:
    """Counts by metric name and, where a metric is split, by one label; safe between threads.

    A name outside METRICS is an error of ours: KeyError.
    """

    def __init__(self) -> None:
        """Start with nothing counted."""
        self._lock = threading.Lock()
        self._values: dict[tuple[str, str], int] = {}

    def add(self, name: str, count: int = 1, label: str = "") -> None:
        """Raise a counter."""
        METRICS[name]
        key = (name, label)
        with self._lock:
            self._values[key] = self._values.get(key, 0) + count

    def set(self, name: str, value: int, label: str = "") -> None:
        """Set a gauge."""
        METRICS[name]
        with self._lock:
            self._values[(name, label)] = value

    def get(self, name: str, label: str = "") -> int:
        """Return one count, 0 where nothing was counted."""
        METRICS[name]
        return self._values.get((name, label), 0)

    def snapshot(self) -> dict[tuple[str, str], int]:
        """Return every (name, label) with its count, as of now."""
        with self._lock:
            return dict(self._values)
