"""`flowrate inspect flows --records N FILE…`: what the records themselves say, by name and value.

Of each exporter, domain and template the first N are shown, options and lists among them. Templates
are learned from all files first: here a record need not wait for its template.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from collectors.datagrams import Datagram
from collectors.netflow.records import NamedRecord, RecordReader, label
from rating.addresses import format_address


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
