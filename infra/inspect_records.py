"""`flowrate inspect flows --records N FILE…`: what the records themselves say, by name and value.

Of each exporter, domain and template the first N are shown, options and lists among them. Templates
are learned from all files first: here a record need not wait for its template. Behind them come the
packets that sFlow agents sampled, the first N of each.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from collectors.captures import SFLOW_BEGINNING
from collectors.datagrams import Datagram, decode_datagrams, encode_datagrams
from collectors.netflow.config import FlowDecodeConfig
from collectors.netflow.decoder import decode
from collectors.netflow.records import NamedRecord, RecordReader, label
from rating.addresses import format_address
from rating.ports import MemoryState
from streams.raw_flows import raw_rows

DATAGRAMS_PER_BLOCK = 4_096

_PACKET = (
    *("source", "destination", "octets_exported", "protocol", "source_port", "destination_port"),
    *("dscp", "direction", "source_as", "destination_as", "nat_source", "nat_destination"),
    *("rate_numerator", "rate_known"),
)
_NAMES = {"octets_exported": "octets", "rate_numerator": "sampling_rate"}


def named_records(datagrams: Sequence[Datagram], limit: int) -> Iterator[dict[str, Any]]:
    """Yield at most `limit` records per exporter, domain and template, in the order given.

    ``{"exporter", "version", "observation_domain", "template", "is_options", "fields": [{"element",
    "enterprise", "name", "vendor", "value"}]}``.
    """
    reader = RecordReader()
    for datagram in datagrams:
        reader.learn(datagram)
    shown: Counter[tuple[bytes, int, int, int]] = Counter()
    for datagram in datagrams:
        for record in reader.records(datagram):
            key = (datagram.source_address, record.version, record.domain, record.template_id)
            shown[key] += 1
            if shown[key] <= limit:
                yield _told(datagram.source_address, record)


def sampled_packets(datagrams: Sequence[Datagram], limit: int) -> Iterator[dict[str, Any]]:
    """Yield at most `limit` sampled packets per sFlow agent and sub-agent, in the order given.

    ``{"exporter", "sub_agent", "packet": {"source", "destination", "octets", …}}``; octets are the
    packet's own, unscaled.
    """
    shown: Counter[tuple[str, int]] = Counter()
    sampled = (d for d in datagrams if d.payload.startswith(SFLOW_BEGINNING))
    while part := list(itertools.islice(sampled, DATAGRAMS_PER_BLOCK)):
        block = decode_datagrams(encode_datagrams(part))
        decoded = decode(MemoryState(), block, watermark_at=0, config=FlowDecodeConfig())
        for row in raw_rows(decoded.flows, decoded.origins).iter_rows(named=True):
            key = (row["exporter"], row["domain"])
            shown[key] += 1
            if shown[key] <= limit:
                packet = {_NAMES.get(name, name): _shown(row[name]) for name in _PACKET}
                yield {"exporter": key[0], "sub_agent": key[1], "packet": packet}


def _shown(value: Any) -> Any:
    """Return a value for people: addresses as text, "" where there is none."""
    if isinstance(value, bytes):
        return format_address(value) if any(value) else ""
    return value


def packet_lines(told: Mapping[str, Any]) -> Iterator[str]:
    """Yield one sampled packet as lines of text for a terminal."""
    yield f"packet sampled by {told['exporter']}, sub-agent {told['sub_agent']}"
    width = max(map(len, told["packet"]))
    for name, value in told["packet"].items():
        yield f"  {name:<{width}}  {value}".rstrip()


def _told(address: bytes, record: NamedRecord) -> dict[str, Any]:
    return {
        "exporter": format_address(address),
        "version": record.version,
        "observation_domain": record.domain,
        "template": record.template_id,
        "is_options": record.is_options,
        "fields": [
            {
                "enterprise": max(0, field.element[0]),
                "element": field.element[1],
                "name": label(field),
                "vendor": field.vendor,
                "value": field.value,
            }
            for field in record.fields
        ],
    }


def record_lines(told: Mapping[str, Any]) -> Iterator[str]:
    """Yield one record as lines of text for a terminal."""
    kind = "options record" if told["is_options"] else "record"
    yield (
        f"{kind} of {told['exporter']}, version {told['version']}, domain "
        f"{told['observation_domain']}, template {told['template']}"
    )
    width = max((len(field["name"]) for field in told["fields"]), default=0)
    for field in told["fields"]:
        value = field["value"]
        text = json.dumps(value) if isinstance(value, dict | bool) else str(value)
        yield f"  {field['name']:<{width}}  {text}"
