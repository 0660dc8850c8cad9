"""The stage decode: minutes of own addresses, up and down, classes, times, and its state."""

from __future__ import annotations

import functools
import gc
import random
from collections.abc import Sequence
from typing import Any

import polars as pl
import pytest

from collectors.datagrams import Datagram, encode_datagrams
from collectors.netflow.config import ExporterConfig, FlowDecodeConfig
from collectors.netflow.metrics import COUNTERS
from rating.addresses import format_address
from rating.classes import ClassRule, encode_rule
from rating.ports import Batch, Block, MemoryState, StepResult
from rating.records import DirectoryEntry, FlowMinute, frame_of, schema_of
from rating.rows import LossHour, LossMinute
from streams.codec import decode_value, encode_value
from streams.decode import COLLECTIONS, step
from tests.collectors.netflow import exports as x
from tests.collectors.sflow import agents as a

NOW = x.EXPORTED_AT * 1000
MINUTE = 60_000
CONFIG = FlowDecodeConfig()

OWN = DirectoryEntry("own", 1, "own_prefix", "10.0.0.0/8", "", 0, 0, None)
OWN_V6 = DirectoryEntry("own6", 1, "own_prefix", "2001:db8::/32", "", 0, 0, None)

TIMED: tuple[x.Field, ...] = (
    (8, 4), (12, 4), (7, 2), (11, 2), (4, 1), (1, 8), (2, 8), (152, 8), (153, 8),
)  # fmt: skip

KEY = ("address", "minute", "traffic_class")
SUMS = ("octets_up", "octets_down", "packets_up", "packets_down", "octets_exported")


def directory(*entries: DirectoryEntry) -> dict[str, Sequence[pl.DataFrame]]:
    return {"directory": [frame_of(DirectoryEntry, entries)]}


def class_rule(
    entry_id: str, target: str, since: int = 0, until: int | None = None, revision: int = 1,
    **conditions: Any,
) -> DirectoryEntry:  # fmt: skip
    match = encode_rule(ClassRule(**conditions))
    return DirectoryEntry(entry_id, revision, "class_rule", match, target, 0, since, until)


def datagram(payload: bytes, received_at: int = NOW, source: str = "192.0.2.1") -> Datagram:
    return Datagram(received_at, x.mapped(source), 50_000, 2055, payload)


def message(
    *flows: tuple[str, str, int, int, int, int], sequence: int = 0, template: bool = True
) -> bytes:
    """Return an IPFIX message of flows: source, destination, octets, packets, start, end (ms)."""
    sent = [
        x.record(TIMED, (x.v4(source), x.v4(target), 40_000, 443, 6, octets, packets, start, end))
        for source, target, octets, packets, start, end in flows
    ]
    sets = [x.template(256, TIMED, version=10)] if template else []
    return x.ipfix([*sets, x.data(256, sent)], sequence=sequence)


class Stage:
    """The step with its state, as the runner drives it."""

    def __init__(self, *entries: DirectoryEntry, config: FlowDecodeConfig = CONFIG) -> None:
        self.state = MemoryState()
        self.step = functools.partial(step, config=config)
        self.rows = pl.DataFrame(schema=schema_of(FlowMinute))
        self.counters: dict[str, int] = {}
        self.number = 0
        if entries:
            self.run(Batch(directory(*entries)))

    def run(self, batch: Batch, watermark_at: int = 0) -> StepResult:
        result = self.step(self.state, batch, watermark_at=watermark_at)
        self.state.apply(result)
        for output in result.outputs:
            if output.topic == "flow.minutes":
                assert output.frame.schema == schema_of(FlowMinute)
                self.rows = pl.concat([self.rows, output.frame])
        for name, count in result.counters.items():
            assert name in COUNTERS
            assert count > 0
            self.counters[name] = self.counters.get(name, 0) + count
        return result

    def take(self, *datagrams: Datagram, watermark_at: int = 0) -> StepResult:
        self.number += 1
        block = Block(self.number, "data", NOW, encode_datagrams(datagrams))
        return self.run(Batch(blocks=[block]), watermark_at)

    def restart(self) -> None:
        for name, values in self.state.collections.items():
            stored = {key: encode_value(value) for key, value in values.items()}
            kind = COLLECTIONS[name]
            self.state.collections[name] = {k: decode_value(v, kind) for k, v in stored.items()}

    def totals(self, *keys: str) -> dict[tuple[Any, ...], tuple[int, ...]]:
        grouped = self.rows.group_by(keys or KEY).agg(pl.col(*SUMS).sum())
        found = {}
        for row in grouped.iter_rows(named=True):
            shown = (format_address(row[k]) if k == "address" else row[k] for k in keys or KEY)
            found[tuple(shown)] = tuple(row[name] for name in SUMS)
        return found


def at(minute: int, ms: int = 0) -> int:
    """Return an instant in a minute counted from the one of NOW."""
    return NOW // MINUTE * MINUTE + minute * MINUTE + ms


def test_a_batch_is_gone_when_it_is_done() -> None:
    """What it leaves in cycles stays until Python looks for them: rarely, in these processes."""
    stage = Stage(OWN)
    flow = ("10.0.0.1", "192.0.2.9", 100, 1, at(0, 1_000), at(0, 2_000))
    stage.take(datagram(message(flow)))
    gc.collect()
    gc.disable()
    try:
        stage.take(datagram(message(flow, sequence=1)))
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_up_is_from_the_own_address_and_down_to_it() -> None:
    stage = Stage(OWN)
    start, end = at(0, 1_000), at(0, 2_000)
    stage.take(
        datagram(
            message(
                ("10.0.0.1", "192.0.2.9", 100, 1, start, end),
                ("192.0.2.9", "10.0.0.1", 9_000, 6, start, end),
                ("198.51.100.1", "192.0.2.9", 77, 1, start, end),
                ("10.0.0.1", "10.0.0.2", 5, 1, start, end),
            )
        )
    )
    assert stage.totals("address") == {
        ("10.0.0.1",): (105, 9_000, 2, 6, 9_105),
        ("10.0.0.2",): (0, 5, 0, 1, 5),
    }
    assert stage.counters["decode_octets_transit"] == 77
    assert stage.counters["decode_octets"] == 9_182


def test_a_biflow_is_both_directions_at_both_ends() -> None:
    fields = [*TIMED, (1, 8, 29305), (2, 8, 29305)]
    sent = x.record(
        fields,
        (x.v4("10.0.0.1"), x.v4("192.0.2.9"), 1, 443, 6, 100, 1, at(0), at(0, 5), 3_000, 4),
    )
    stage = Stage(OWN)
    stage.take(datagram(x.ipfix([x.template(256, fields, version=10), x.data(256, [sent])])))
    assert stage.totals("address") == {("10.0.0.1",): (100, 3_000, 1, 4, 3_100)}


def test_ipv6() -> None:
    fields: list[x.Field] = [(27, 16), (28, 16), (1, 4), (2, 4)]
    six = bytes.fromhex("20010db8000000010000000000000001")
    far = bytes.fromhex("26064700000000000000000000001111")
    stage = Stage(OWN, OWN_V6)
    sent = [x.record(fields, (six, far, 10, 1)), x.record(fields, (far, six, 20, 2))]
    stage.take(datagram(x.v9([x.template(256, fields), x.data(256, sent)])))
    assert stage.totals("address") == {("2001:db8:0:1::1",): (10, 20, 1, 2, 30)}


def test_translated_addresses_of_a_nat_exporter() -> None:
    """MikroTik exports 225/226: up has the subscriber as source, down as post-NAT destination."""
    fields = [*TIMED, (225, 4), (226, 4)]

    def sent(*ends: str) -> bytes:
        source, target, nat_source, nat_target = map(x.v4, ends)
        values = (source, target, 1, 2, 6, 50, 1, at(0), at(0, 9), nat_source, nat_target)
        return x.record(fields, values)

    records = [
        sent("10.0.0.1", "192.0.2.9", "203.0.113.1", "192.0.2.9"),
        sent("192.0.2.9", "203.0.113.1", "192.0.2.9", "10.0.0.1"),
    ]
    stage = Stage(OWN)
    stage.take(datagram(x.ipfix([x.template(256, fields, version=10), x.data(256, records)])))
    assert stage.totals("address") == {("10.0.0.1",): (50, 50, 1, 1, 100)}


def test_an_address_that_the_exporter_left_at_zero_is_nobodys() -> None:
    stage = Stage(DirectoryEntry("all", 1, "own_prefix", "0.0.0.0/0", "", 0, 0, None))
    stage.take(datagram(message(("0.0.0.0", "192.0.2.9", 7, 1, at(0), at(0, 5)))))
    assert stage.totals("address") == {("192.0.2.9",): (0, 7, 0, 1, 7)}


def test_a_long_flow_is_spread_over_its_minutes_to_the_octet() -> None:
    stage = Stage(OWN)
    start, end = at(-3, 30_000), at(0, 0)
    stage.take(datagram(message(("10.0.0.1", "192.0.2.9", 1_001, 7, start, end))))
    spread = {key[0] - at(0) // MINUTE: value for key, value in stage.totals("minute").items()}
    assert {minute: value[0] for minute, value in spread.items()} == {-3: 200, -2: 400, -1: 401}
    assert sum(value[2] for value in spread.values()) == 7
    assert sum(value[4] for value in spread.values()) == 1_001


@pytest.mark.parametrize("seed", range(5))
def test_octets_and_packets_are_conserved_whatever_the_flows(seed: int) -> None:
    chance = random.Random(seed)
    flows = []
    for _ in range(300):
        end = NOW - chance.randrange(0, 7_000_000)
        start = end - chance.choice((0, 1, 999, 60_000, chance.randrange(7_000_000)))
        octets = chance.choice((0, 1, 1 << 47, chance.randrange(1 << 40)))
        flows.append(("10.0.0.1", "192.0.2.9", octets, chance.randrange(1 << 30), start, end))
    stage = Stage(OWN, config=FlowDecodeConfig(octets_per_minute_limit=1 << 60))
    stage.take(datagram(message(*flows)))
    ((up, _, packets, _, exported),) = stage.totals("address").values()
    assert up == exported == sum(flow[2] for flow in flows)
    assert packets == sum(flow[3] for flow in flows)


def test_a_wrong_clock_keeps_the_length_and_takes_the_receipt() -> None:
    stage = Stage(OWN)
    year = 365 * 86_400_000
    received_at = at(0, 40_000)
    for offset in (year, -year):
        flow = (
            "10.0.0.1",
            "192.0.2.9",
            600,
            1,
            received_at - 60_000 + offset,
            received_at + offset,
        )
        stage.take(datagram(message(flow, sequence=offset & 0xFF), received_at))
    minutes = {key[0] - at(0) // MINUTE: v[0] for key, v in stage.totals("minute").items()}
    assert minutes == {-1: 400, 0: 800}
    assert stage.counters["decode_flows_retimed"] == 2


@pytest.mark.parametrize("ahead", [3_600_000, -3_600_000])
def test_flows_of_a_clock_an_hour_off_lie_in_the_minutes_in_which_they_were(ahead: int) -> None:
    """An hour back is inside the window of belief: without a correction it would be believed."""
    stage = Stage(OWN)
    received_at = at(0, 0) + 10_000
    begun, ended = received_at - 70_000 + ahead, received_at - 10_000 + ahead
    payload = bytearray(message(("10.0.0.1", "192.0.2.9", 600, 6, begun, ended)))
    payload[4:8] = ((received_at + ahead) // 1000).to_bytes(4, "big")
    stage.take(datagram(bytes(payload), received_at))
    assert stage.totals("minute") == {(at(0) // MINUTE - 1,): (600, 0, 6, 0, 600)}
    assert stage.counters["decode_datagrams_clock_corrected"] == 1
    assert stage.counters.get("decode_flows_retimed", 0) == 0


def test_a_flow_that_began_before_the_window_begins_at_the_window() -> None:
    config = FlowDecodeConfig(event_time_window_seconds=120)
    stage = Stage(OWN, config=config)
    received_at = at(0, 0)
    flow = ("10.0.0.1", "192.0.2.9", 100, 1, received_at - 86_400_000, received_at)
    stage.take(datagram(message(flow), received_at))
    assert {key[0] - at(0) // MINUTE for key in stage.totals("minute")} == {-2, -1}


def test_sampled_flows_are_scaled_and_say_whether_the_rate_is_known() -> None:
    stage = Stage(OWN)
    flow = x.v5_record("10.0.0.1", "192.0.2.9", 100, 2)
    stage.take(datagram(x.v5([flow], sampling=50)), datagram(x.v5([flow]), source="192.0.2.2"))
    by_rate = stage.totals("rate_known", "exporter")
    assert by_rate == {
        (True, "192.0.2.1"): (5_000, 0, 100, 0, 100),
        (False, "192.0.2.2"): (100, 0, 2, 0, 100),
    }


def test_classes_by_the_far_end_at_the_time_of_the_flow() -> None:
    change = at(-1)
    stage = Stage(
        OWN,
        class_rule("1", "cdn", until=change, prefixes=("192.0.2.0/24",)),
        class_rule("1b", "free", since=change, prefixes=("192.0.2.0/24",)),
        class_rule("2", "web", ports=((443, 443),)),
    )
    stage.take(
        datagram(
            message(
                ("10.0.0.1", "192.0.2.9", 100, 1, at(-2), at(0)),
                ("192.0.2.9", "10.0.0.1", 40, 1, at(-1), at(-1, 5)),
                ("10.0.0.1", "8.8.8.8", 3, 1, at(-1), at(-1, 5)),
            )
        )
    )
    assert stage.totals("traffic_class", "minute") == {
        ("cdn", at(-2) // MINUTE): (50, 0, 0, 0, 50),
        ("free", at(-1) // MINUTE): (50, 40, 1, 1, 90),
        ("web", at(-1) // MINUTE): (3, 0, 1, 0, 3),
    }


def test_a_newer_revision_replaces_a_rule_and_an_older_one_does_not() -> None:
    stage = Stage(OWN, class_rule("1", "new", revision=3, prefixes=("192.0.2.0/24",)))
    stage.run(Batch(directory(class_rule("1", "old", revision=2, prefixes=("192.0.2.0/24",)))))
    stage.restart()
    stage.take(datagram(message(("10.0.0.1", "192.0.2.9", 1, 1, at(0), at(0)))))
    assert {key[0] for key in stage.totals("traffic_class")} == {"new"}


def test_an_unreadable_rule_is_counted_and_left_out() -> None:
    broken = DirectoryEntry("9", 1, "class_rule", "{", "x", 0, 0, None)
    stage = Stage(OWN, broken)
    stage.take(datagram(message(("10.0.0.1", "192.0.2.9", 1, 1, at(0), at(0)))))
    assert stage.counters["decode_rules_refused"] == 1
    assert {key[0] for key in stage.totals("traffic_class")} == {"unclassified"}


def test_rules_that_come_with_the_datagrams_hold_for_them() -> None:
    stage = Stage()
    payload = message(("10.0.0.1", "192.0.2.9", 8, 1, at(0), at(0)))
    block = Block(1, "data", NOW, encode_datagrams([datagram(payload)]))
    stage.run(Batch(directory(OWN), [block]))
    assert stage.totals("address") == {("10.0.0.1",): (8, 0, 1, 0, 8)}


def test_a_row_is_never_later_than_its_second_and_no_minute_boundary_is_crossed() -> None:
    stage = Stage(OWN)
    for sequence, ms in enumerate((0, 1, 59_999)):
        flow = ("10.0.0.1", "192.0.2.9", 1, 1, at(0), at(0))
        stage.take(datagram(message(flow, sequence=sequence), at(0, ms)))
    assert sorted(stage.rows["received_at"].to_list()) == [at(0, 999), at(0, 999), at(0, 59_999)]


def test_only_the_direction_that_the_setting_counts() -> None:
    fields = [*TIMED, (61, 1)]

    def sent(direction: int) -> bytes:
        ends = (x.v4("10.0.0.1"), x.v4("192.0.2.9"))
        return x.record(fields, (*ends, 1, 2, 6, 50 + direction, 1, at(0), at(0), direction))

    payload = x.ipfix([x.template(256, fields, version=10), x.data(256, [sent(0), sent(1)])])
    one_sided = (ExporterConfig("192.0.2.1", counted_direction="ingress"),)
    stage = Stage(OWN, config=FlowDecodeConfig(exporters=one_sided))
    stage.take(datagram(payload))
    assert stage.totals("address") == {("10.0.0.1",): (50, 0, 1, 0, 50)}
    assert stage.counters["decode_flows_uncounted"] == 1


def test_the_counted_direction_of_a_prefix_holds_for_its_exporters_only() -> None:
    fields = [*TIMED, (61, 1)]
    ends = (x.v4("10.0.0.1"), x.v4("192.0.2.9"))
    sent = x.record(fields, (*ends, 1, 2, 6, 50, 1, at(0), at(0), 1))
    payload = x.ipfix([x.template(256, fields, version=10), x.data(256, [sent])])
    settings = (ExporterConfig("192.0.2.0/24", counted_direction="ingress"),)
    stage = Stage(OWN, config=FlowDecodeConfig(exporters=settings))
    stage.take(datagram(payload, source="192.0.2.200"), datagram(payload, source="192.0.3.1"))
    assert stage.totals("address") == {("10.0.0.1",): (50, 0, 1, 0, 50)}
    assert stage.counters["decode_flows_uncounted"] == 1


def test_an_unreadable_block_is_a_dead_letter_and_the_rest_goes_on() -> None:
    payload = message(("10.0.0.1", "192.0.2.9", 8, 1, at(0), at(0)))
    good = Block(2, "data", NOW, encode_datagrams([datagram(payload)]))
    stage = Stage(OWN)
    result = stage.run(Batch(blocks=[Block(1, "data", NOW, b"rubbish"), good]))
    letters = [output.frame for output in result.outputs if output.topic == "dead.letters"]
    assert letters[0]["body"].to_list() == [b"rubbish"]
    assert stage.totals("address") == {("10.0.0.1",): (8, 0, 1, 0, 8)}


def test_markers_and_bare_watermarks() -> None:
    stage = Stage(OWN)
    stage.run(Batch(blocks=[Block(1, "marker", NOW, b"")]), NOW)
    stage.take(datagram(message(("10.0.0.1", "192.0.2.9", 8, 1, at(0), at(0)), template=False)))
    assert stage.counters["decode_held_sets"] == 1
    stage.run(Batch(), NOW + CONFIG.held_seconds * 1000 + 1)
    assert stage.counters["decode_held_expired"] == 1


@pytest.mark.parametrize("seed", range(8))
def test_any_order_batching_and_restart_gives_the_same_rows(seed: int) -> None:
    chance = random.Random(seed)
    datagrams = []
    for number in range(40):
        start = at(0) - chance.randrange(200_000)
        flow = (
            chance.choice(("10.0.0.1", "10.0.0.2", "192.0.2.7")),
            chance.choice(("10.0.0.3", "192.0.2.9", "8.8.8.8")),
            chance.randrange(1_000_000), chance.randrange(1_000),
            start, start + chance.randrange(100_000),
        )  # fmt: skip
        payload = message(flow, sequence=number, template=number % 10 == 0)
        datagrams.append(datagram(payload, at(0) + number * 17))
    entries = (OWN, class_rule("1", "cdn", since=at(-2), prefixes=("192.0.2.0/24",)))
    whole = Stage(*entries)
    whole.take(*datagrams)
    keys = (*KEY, "received_at", "exporter", "rate_known")
    expected = whole.totals(*keys)
    assert len(expected) >= 15
    chance.shuffle(datagrams)
    parts = Stage(*entries)
    while datagrams:
        size = chance.randrange(1, 6)
        part, datagrams = datagrams[:size], datagrams[size:]
        parts.take(*part, *part[:1])
        parts.restart()
    assert parts.totals(*keys) == expected


def test_what_an_exporter_sent_lost_and_garbled_is_told_per_minute() -> None:
    stage = Stage(OWN)
    flow = ("192.0.2.9", "10.0.0.1", 900, 1, NOW - 2000, NOW - 1000)
    result = stage.take(
        datagram(message(flow, sequence=0)),
        datagram(message(flow, sequence=5)),
        datagram(b"\0\x63"),
    )
    (told,) = (row for row in result.rows if isinstance(row, LossMinute))
    assert (told.exporter, told.minute) == ("192.0.2.1", NOW // MINUTE)
    assert (told.datagrams, told.lost, told.refused) == (3, 4, 1)


def test_sampled_packets_are_usage_of_the_minute_of_their_receipt() -> None:
    stage = Stage(OWN)
    up = a.ethernet(0x0800, a.ipv4("10.0.0.1", "192.0.2.9", a.ports(40_000, 443)))
    down = a.ethernet(0x0800, a.ipv4("192.0.2.9", "10.0.0.1", a.ports(443, 40_000, 1_380)))
    arp = a.ethernet(0x0806, bytes(28))
    samples = [
        *(a.flow_sample([a.header(frame)], rate=400) for frame in (up, down, down, arp)),
        a.flow_sample([a.header(up)], ports=(3, 1 << 30 | 258)),
        a.counter_sample([a.generic_counters(3, 10**12, 10**12)]),
        a.drop_sample(),
    ]
    stage.take(datagram(a.datagram(samples, sequence=1)))
    assert stage.totals() == {
        ("10.0.0.1", NOW // MINUTE, "unclassified"): (120 * 400, 2 * 1_400 * 400, 400, 800, 2_920)
    }
    assert stage.rows["exporter"].unique().to_list() == ["198.51.100.7"]
    assert stage.rows["rate_known"].all()
    assert {name: stage.counters[name] for name in stage.counters if "sample" in name} == {
        "decode_flow_samples": 5,
        "decode_counter_samples": 1,
        "decode_samples_not_ip": 1,
        "decode_samples_discarded": 1,
    }
    assert stage.counters["decode_drop_notifications"] == 1


def test_an_agent_without_templates_has_loss_minutes_like_any_exporter() -> None:
    stage = Stage(OWN)
    frame = a.ethernet(0x0800, a.ipv4("10.0.0.1", "192.0.2.9", a.ports(40_000, 443)))
    payloads = [
        a.datagram([a.flow_sample([a.header(f)])], sequence=sequence)
        for sequence, f in ((1, frame), (5, frame[:30]))
    ]
    result = stage.take(*(datagram(payload) for payload in payloads))
    assert result.rows == [
        LossMinute("198.51.100.7", NOW // MINUTE, 2, 3, 1),
        LossHour("198.51.100.7", "sflow/0", NOW // MINUTE // 60, 2, 2, 3, 0),
    ]


def test_a_packet_counts_at_the_subscribers_interface_of_an_agent() -> None:
    entry = ExporterConfig("198.51.100.0/24", subscriber_interfaces=("3",))
    stage = Stage(OWN, config=FlowDecodeConfig(exporters=(entry,)))
    frame = a.ethernet(0x0800, a.ipv4("10.0.0.1", "192.0.2.9", a.ports(40_000, 443)))
    samples = [
        a.flow_sample([a.header(frame)], ports=ports) for ports in ((3, 4), (4, 3), (4, 5), (0, 5))
    ]
    stage.take(datagram(a.datagram(samples)))
    assert stage.totals("address") == {("10.0.0.1",): (240_000, 0, 2_000, 0, 240)}
