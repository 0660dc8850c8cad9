"""Any order, any batching, restarts and duplicates: the same holders, as brute force finds them."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rating.addresses import format_address, pack_address
from rating.records import FlowMinute, NatEvent
from rating.session_config import AttributionConfig
from tests.rating.accounting_log import at, minute
from tests.rating.nat_oracle import NOBODY, allocations, holder
from tests.rating.translation_log import OUTSIDE, Translation, seen, told

PROPERTY = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
INSIDES = ("100.64.0.1", "100.64.0.2", "100.64.0.3")
RETENTION = 240
BLOCKS = ((1024, 64, 1), (1088, 64, 1), (1024, 128, 1), (1040, 8, 1), (1100, 1, 1), (1024, 60, 2),
          (1025, 60, 2), (0, 65_536, 1))  # fmt: skip
CELLS = ((1024, 64, 0), (1088, 64, 0), (1024, 32, 0), (1056, 32, 0), (1100, 1, 6), (1100, 1, 17),
         (1026, 1, 6), (1027, 1, 6), (0, 65_536, 0))  # fmt: skip
CONFIG = AttributionConfig(nat_binding_retention_seconds=RETENTION)


@st.composite
def nat_events(draw: st.DrawFn) -> list[NatEvent]:
    """Draw events of one outside address between 10:00 and 10:09, no two at the same instant."""
    count = draw(st.integers(0, 14))
    instants = draw(st.lists(st.integers(0, 599), min_size=count, max_size=count, unique=True))
    events = []
    for second in instants:
        first, size, step = draw(st.sampled_from(BLOCKS))
        clock = f"10:{second // 60:02}:{second % 60:02}"
        late = draw(st.sampled_from((0, 0, 5, 300, 1500)))
        event = told(
            draw(st.sampled_from(INSIDES)), first, first + (size - 1) * step, clock,
            port_step=step, is_release=draw(st.booleans()),
            protocol=draw(st.sampled_from((0, 0, 0, 6, 17))),
        )  # fmt: skip
        events.append(dataclasses.replace(event, received_at=event.event_at + late * 1000))
    return events


@st.composite
def flow_rows(draw: st.DrawFn) -> list[FlowMinute]:
    """Draw flow minutes of that address, some received late."""
    rows = []
    for number in range(draw(st.integers(1, 12))):
        first, size, protocol = draw(st.sampled_from(CELLS))
        row = seen(f"10:{draw(st.integers(0, 9)):02}", first, size, 1 << number, protocol=protocol)
        late = draw(st.sampled_from((0, 0, 600)))
        rows.append(dataclasses.replace(row, received_at=row.received_at + late * 1000))
    return rows


def expected(events: list[NatEvent], rows: list[FlowMinute]) -> dict[tuple[str, int], int]:
    """Return (address, minute) -> octets by brute force."""
    held = allocations(events, RETENTION * 1000)
    sums: Counter[tuple[str, int]] = Counter()
    for row in rows:
        first = row.port_block & 0xFFFF
        size = (row.port_block >> 16) & 0xFF_FFFF
        inside = holder(held, first, size, row.port_block >> 40, row.minute)
        address = OUTSIDE if inside == NOBODY else format_address(inside)
        sums[address, row.minute] += row.octets_down
    return dict(sums)


def found(stage: Translation) -> dict[tuple[str, int], int]:
    """Return (address, minute) -> octets that the stage sent, if not zero."""
    sums: Counter[tuple[str, int]] = Counter()
    for row in stage.rows:
        sums[format_address(row["address"]), row["minute"]] += row["octets_down"]
    return {key: octets for key, octets in sums.items() if octets}


@PROPERTY
@given(events=nat_events(), rows=flow_rows(), seed=st.integers(0, 1 << 30))
def test_every_octet_is_whose_brute_force_says_in_any_batching(
    events: list[NatEvent], rows: list[FlowMinute], seed: int
) -> None:
    wanted = expected(events, rows)
    for batch in (1, 3, 1000):
        assert found(_lived(events, rows, random.Random(seed), batch)) == wanted


def _lived(
    events: list[NatEvent], rows: list[FlowMinute], chance: random.Random, batch: int
) -> Translation:
    """Return the stage after all, in batches; its state passes through the codec at each step."""
    inputs: list[NatEvent | FlowMinute] = [*events, *rows, *chance.sample(events, len(events) // 2)]
    chance.shuffle(inputs)
    inputs.sort(key=lambda item: item.received_at)
    stage = Translation(CONFIG)
    for start in range(0, len(inputs), batch):
        taken = inputs[start : start + batch]
        stage.feed(
            [item for item in taken if isinstance(item, FlowMinute)],
            [item for item in taken if isinstance(item, NatEvent)],
            watermark=taken[-1].received_at - 1,
        )
    stage.feed(watermark=at("11:00:00"))
    return stage


def test_the_second_opinion_knows_the_simple_cases() -> None:
    events = [told(INSIDES[0], 1024, 1087, "10:00:00"), told(INSIDES[1], 1056, 1060, "10:05:30")]
    held = allocations(events, RETENTION * 1000)
    assert holder(held, 1024, 64, 0, minute("10:03")) == pack_address(INSIDES[0])
    assert holder(held, 1024, 64, 0, minute("10:05")) == NOBODY
    assert holder(held, 1056, 1, 6, minute("10:05")) == pack_address(INSIDES[1])
    assert holder(held, 1056, 1, 6, minute("10:04")) == NOBODY
