"""Stage decode: raw datagrams into minutes of own addresses (`flow.datagrams` → `flow.minutes`).

Minutes of outside addresses of a NAT, and what the NAT says of them, go to the stage translate.

State: what the flow decoder remembers (`collectors.netflow.state`), and the own prefixes, class
rules and AS files of the directory. Each batch is decoded as one block, in parts if it is of many
records, and each part is aggregated before the next is read.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl

from collectors.datagrams import DatagramBlock, decode_datagrams
from collectors.netflow import state
from collectors.netflow.config import FlowDecodeConfig
from collectors.netflow.counting import Counting
from collectors.netflow.decoder import Decoded, Decoding
from collectors.netflow.joining import join_blocks
from collectors.netflow.metrics import REFUSALS
from collectors.netflow.runs import HOUR_MS
from collectors.sflow.decoder import COUNTED as COUNTED_SAMPLES
from collectors.sflow.headers import SFLOW5
from rating.addresses import format_address, parse_prefix
from rating.asn_table import ASN_FILE, AsnTables, NoAsnTables, is_asn_file
from rating.classes import CLASS_RULE, OWN_PREFIX, RuleEntry, Rules, decode_rule
from rating.nat_pools import NAT_POOL, decode_pool
from rating.ports import Batch, Block, Delete, Output, Put, StateView, StepResult
from rating.records import DeadLetter, DirectoryEntry, frame_of, schema_of
from rating.rows import LossHour, LossMinute
from streams.flow_minutes import flow_minutes
from streams.nat_rows import nat_event_rows

RULES = "decode_rules"

COLLECTIONS: dict[str, Any] = {**state.COLLECTIONS, RULES: RuleEntry}
"""State collections of the stage and the type of their values."""

PART_RECORDS_MAX = 262_144
"""Most records in memory as columns at once, or as many as one data set holds."""

DEAD_LETTER_OCTETS_MAX = 65_536
"""Most octets of an unreadable block that its dead letter carries."""

_COUNTED = {
    "datagrams": "decode_datagrams",
    "templates": "decode_templates",
    "options_templates": "decode_templates",
    "templates_withdrawn": "decode_templates_withdrawn",
    "templates_expired": "decode_templates_expired",
    "data_records": "decode_data_records",
    "option_records": "decode_option_records",
    "clock_corrected": "decode_datagrams_clock_corrected",
    **{name: f"decode_{name}" for name in COUNTED_SAMPLES},
    "nat_exhausted": "decode_nat_exhausted",
    "nat_limited": "decode_nat_limited",
}


KINDS = (OWN_PREFIX, CLASS_RULE, NAT_POOL, ASN_FILE)
"""Kinds of directory rows that the stage takes."""

_NO_TABLES = NoAsnTables()


def step(
    view: StateView,
    batch: Batch,
    *,
    watermark_at: int,
    config: FlowDecodeConfig,
    asn_tables: AsnTables = _NO_TABLES,
) -> StepResult:
    """Return what a batch of blocks and directory rows changes, as `rating.ports.Step`.

    asn_tables has the AS files that the directory names.

    Rules of the batch's directory rows hold for its datagrams too: a rule's time of effect is in
    the rule, not in its arrival.
    """
    counters: Counter[str] = Counter()
    entries, changes = _learn_rules(view, batch, counters)
    rules = _compiled(entries, asn_tables)
    blocks, outputs = _read_blocks(batch.blocks, counters)
    block = join_blocks(blocks)
    decoding = Decoding(view, block, config)
    counting = Counting(view, config)
    flows = None
    for flows in decoding.parts(watermark_at=watermark_at, records_max=PART_RECORDS_MAX):
        counters["decode_flows"] += len(flows)
        flows = counting.count(flows, decoding.origins)
        minutes, counted = flow_minutes(flows, decoding.origins, rules, config)
        counters.update(counted)
        events, counted = nat_event_rows(decoding.nat_events, decoding.origins, rules, config)
        counters.update(counted)
        counters["decode_rows"] += minutes.inside.height + minutes.outside.height
        for topic, frame in (
            ("nat.events", events),
            ("flow.minutes", minutes.inside),
            ("nat.minutes", minutes.outside),
        ):
            if frame.height:
                outputs.append(Output(topic, frame))
    assert flows is not None, "there is always a part"
    decoded = decoding.result(flows)
    changes += counting.changes(watermark_at)
    counters.update(counting.counters)
    _count(decoded, counters)
    return StepResult(
        changes=[*changes, *decoded.changes],
        outputs=outputs,
        rows=[*_losses(decoded, block), *_loss_hours(decoded)],
        counters={name: count for name, count in counters.items() if count},
    )


def _read_blocks(
    blocks: Sequence[Block], counters: Counter[str]
) -> tuple[list[DatagramBlock], list[Output]]:
    """Return the readable data blocks, and dead letters of the others."""
    readable: list[DatagramBlock] = []
    refused: list[DeadLetter] = []
    for block in blocks:
        if block.kind != "data":
            continue
        try:
            readable.append(decode_datagrams(block.body))
        except ValueError as error:
            counters["decode_blocks_refused"] += 1
            refused.append(
                DeadLetter(
                    source="flow.datagrams",
                    reason="unreadable block",
                    detail=f"block {block.number}: {error}",
                    body=block.body[:DEAD_LETTER_OCTETS_MAX],
                    received_at=block.received_at,
                )
            )
    outputs = [Output("dead.letters", frame_of(DeadLetter, refused))] if refused else []
    return readable, outputs


def _learn_rules(
    view: StateView, batch: Batch, counters: Counter[str]
) -> tuple[tuple[RuleEntry, ...], list[Put | Delete]]:
    """Return the entries after the batch's directory rows; of one entry_id the revision stands."""
    standing: dict[str, RuleEntry] = dict(view.scan(RULES))
    changes: list[Put | Delete] = []
    rows = batch.frame("directory", schema_of(DirectoryEntry))
    if rows.is_empty():
        return tuple(standing[key] for key in sorted(standing)), changes
    concerned = rows.filter(pl.col("kind").is_in(KINDS) | pl.col("entry_id").is_in(list(standing)))
    for row in concerned.iter_rows(named=True):
        held = standing.get(row["entry_id"])
        if held is not None and held.revision >= row["revision"]:
            continue
        entry = RuleEntry(**row)
        standing[entry.entry_id] = entry
        changes.append(Put(RULES, entry.entry_id, entry))
        counters["decode_rules_refused"] += not _is_readable(entry)
    return tuple(standing[key] for key in sorted(standing)), changes


def _is_readable(entry: RuleEntry) -> bool:
    """Return whether an entry can be used; one of another kind (a new revision) asks nothing."""
    try:
        if entry.kind == OWN_PREFIX:
            parse_prefix(entry.match)
        elif entry.kind == CLASS_RULE:
            decode_rule(entry.match)
        elif entry.kind == NAT_POOL:
            decode_pool(entry.match)
        elif entry.kind == ASN_FILE:
            return is_asn_file(entry.match, entry.target)
    except ValueError:
        return False
    return True


@functools.lru_cache(maxsize=4)
def _compiled(entries: tuple[RuleEntry, ...], asn_tables: AsnTables) -> Rules:
    """Return the rules of the entries; the cache saves compiling them for every batch."""
    return Rules(entries, asn_tables)


def _loss_hours(decoded: Decoded) -> list[LossHour]:
    """Return what came and what is missing, by numbering and hour of receipt."""
    rows = [
        LossHour(*_numbering(key), hour, h.datagrams, h.units, h.lost, h.clock_skew_ms)
        for (key, hour), h in decoded.heard.items()
    ]
    for drops in decoded.drops:
        hour = drops.received_at // HOUR_MS
        for kind, count in (("kernel", drops.kernel), ("queue", drops.queue)):
            if count:
                numbering = f"{kind}/{drops.local_port}"
                rows.append(LossHour("", numbering, hour, 0, 0, count, 0))
    return rows


def _numbering(key: str) -> tuple[str, str]:
    """Return exporter and numbering of a session's key, as `LossHour` has them."""
    address, version, domain = state.split_session_key(key)
    which = key.rpartition(":")[2]
    if state.is_connected(key):
        suffix = ":tcp"  # All connections together: each has numbers of its own, sums add up.
    else:
        suffix = "" if which == state.SHARED else f":{int(which)}"
    protocol = "sflow" if version == SFLOW5 else f"v{version}"
    return format_address(address), f"{protocol}/{domain}{suffix}"


def _losses(decoded: Decoded, block: DatagramBlock) -> list[LossMinute]:
    """Return what each exporter sent and lost in a batch, under its newest receive minute."""
    if not len(block):
        return []
    received_at = int(block.received_at.max())
    sums: dict[str, Counter[str]] = {}
    for (origin, name), count in decoded.counts.items():
        exporter = format_address(decoded.origins[origin].address)
        kind = name if name in ("datagrams", "lost") else "refused" if name in REFUSALS else ""
        if kind:
            sums.setdefault(exporter, Counter())[kind] += count
    return [
        LossMinute(
            exporter, received_at // 60_000, told["datagrams"], told["lost"], told["refused"]
        )
        for exporter, told in sums.items()
    ]


def _count(decoded: Decoded, counters: Counter[str]) -> None:
    """Add the decoder's counts under the stage's names."""
    for (_, name), count in decoded.counts.items():
        if name == "lost":
            counters["decode_lost" if count > 0 else "decode_lost_recovered"] += abs(count)
        elif name in _COUNTED:
            counters[_COUNTED[name]] += count
        else:
            assert name in REFUSALS, f"refusal {name!r} has no meaning in the metrics"
            counters[f"decode_refused_{name}"] += count
    counters["decode_connections_ended"] += decoded.ended
    counters["decode_held_sets"] += _number(decoded.changes, state.HELD, Put)
    counters["decode_held_released"] += decoded.released
    counters["decode_sessions_forgotten"] += decoded.forgotten.get("sessions", 0)
    counters["decode_digests_forgotten"] += decoded.forgotten.get("digests", 0)
    counters["decode_held_expired"] += (
        _number(decoded.changes, state.HELD, Delete) - decoded.released
    )


def _number(changes: Iterable[Put | Delete], collection: str, kind: type) -> int:
    """Return how many changes of a collection are of a kind."""
    return sum(change.collection == collection and type(change) is kind for change in changes)
