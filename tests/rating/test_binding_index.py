"""Who holds an address: the index says what a look at every binding says, and follows changes."""

from __future__ import annotations

import dataclasses
import random

import numpy as np
import polars as pl
import pytest

from rating import binding_index, binding_table
from rating.attribution import BINDING_SCHEMA, bindings_of
from rating.binding_index import BindingIndex
from rating.binding_table import BindingTable
from rating.ports import MemoryState, StepResult
from rating.records import SessionBinding, frame_of
from tests.rating.accounting_log import at, minute
from tests.rating.flow_log import binding

START = at("10:00:00")
MINUTE = minute("10:05")
HOSTS = [0xFFFF_0A00_0001, 0xFFFF_0A00_0002, *(0x20010DB8 << 96 | n << 64 | 7 for n in range(4))]
LENGTHS = (0, 32, 56, 63, 64, 120, 128)


def drawn(chance: random.Random, number: int) -> SessionBinding:
    """Return a revision of one of a hundred bindings."""
    length, host = chance.choice(LENGTHS), chance.choice(HOSTS)
    mask = (1 << 128) - (1 << (128 - length))
    since = START + chance.choice([0, 60_000, 290_000, 300_000, 359_999, 360_000])
    until = chance.choice([None, None, since, since + 1, START + 300_000, START + 300_001])
    who = chance.choice(["", "s-1", "s-2", "s-3"])
    made = binding(who, "10.0.0.1", "10:00:00", binding_id=f"b{chance.randint(0, 99)}")
    return dataclasses.replace(
        made, revision=number, address=(host & mask).to_bytes(16, "big"), prefix_length=length,
        port_block=chance.choice([0, 0, 1024, 2048]), valid_from_at=since, valid_until_at=until,
    )  # fmt: skip


def expected(rows: list[SessionBinding], host: int, block: int) -> tuple[str, str] | None:
    """Return whose an address is, one binding at a time."""
    begin, end = MINUTE * 60_000, (MINUTE + 1) * 60_000
    covering = []
    for row in rows:
        shift, until = 128 - row.prefix_length, row.valid_until_at
        lasts = until is None or (until > begin and until > row.valid_from_at)
        is_here = host >> shift == int.from_bytes(row.address, "big") >> shift
        if is_here and row.port_block in (0, block) and row.valid_from_at < end and lasts:
            rank = (row.valid_from_at, row.prefix_length, row.binding_id)
            covering.append((rank, (row.subscriber_id, row.session_id)))
    return max(covering)[1] if covering else None


def check(index: BindingIndex, rows: list[SessionBinding]) -> None:
    """Ask for all addresses at once, each several times."""
    asked = [(host, block) for host in HOSTS for block in (0, 1024, 4096)] * 3
    hi = np.array([host >> 64 for host, _ in asked], np.uint64)
    lo = np.array([host & ((1 << 64) - 1) for host, _ in asked], np.uint64)
    covered, owners = index.owners(hi, lo, np.array([block for _, block in asked]), MINUTE)
    found = dict(zip(covered.tolist(), owners.rows(), strict=True))
    assert found == {
        number: owner
        for number, cell in enumerate(asked)
        if (owner := expected(rows, *cell)) is not None
    }


def standing(rows: list[SessionBinding]) -> list[SessionBinding]:
    """Return the greatest revision of each binding."""
    return list(
        {row.binding_id: row for row in sorted(rows, key=lambda row: row.revision)}.values()
    )


@pytest.mark.parametrize("alike", [False, True])
def test_an_index_says_what_a_look_at_every_binding_says(
    alike: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if alike:  # All keys in one bucket, and equal: the prefixes decide.
        monkeypatch.setattr(binding_index, "mixed", lambda *columns: columns[0] * np.uint64(0))
    for seed in range(30):
        chance = random.Random(seed)
        rows = standing([drawn(chance, n) for n in range(chance.choice([0, 1, 5, 80]))])
        check(BindingIndex(bindings_of(frame_of(SessionBinding, rows))), rows)


@pytest.mark.parametrize("new_rows_min", [0, 10, 1_000])
def test_an_index_follows_what_changes(new_rows_min: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binding_table, "_NEW_ROWS_MIN", new_rows_min)
    for seed in range(10):
        chance, state = random.Random(seed), MemoryState()
        rows: list[SessionBinding] = []
        for step in range(12):
            taken = [drawn(chance, len(rows) + n) for n in range(chance.choice([1, 3, 20]))]
            if chance.random() < 0.3:  # A step that was never committed leaves nothing.
                lost = BindingTable(state)
                lost.take(frame_of(SessionBinding, [drawn(chance, 10_000)]))
                check(lost.index, standing([*rows, *_of(lost)]))
                lost.changes(0)
            if chance.random() < 0.2:  # Another process has only the state.
                state = _reborn(state)
            table = BindingTable(state)
            if chance.random() < 0.5:
                check(table.index, standing(rows))
            table.take(frame_of(SessionBinding, taken))
            rows += taken
            if chance.random() < 0.5:
                check(table.index, standing(rows))
            state.apply(StepResult(changes=table.changes(0)))
            assert sorted(BindingTable(state).table.rows()) == sorted(
                BindingTable(_reborn(state)).table.rows()
            ), step
        check(BindingTable(state).index, standing(rows))


def test_what_is_forgotten_is_no_longer_found() -> None:
    state = MemoryState()
    over = binding("s-1", "10.0.0.1", "10:00:00", "10:05:30")
    rows = [over, binding("s-2", "10.0.0.2", "10:00:00")]
    for forget_before_at in (0, at("11:00:00")):
        table = BindingTable(state)
        check(table.index, [] if not forget_before_at else rows)
        again = [dataclasses.replace(row, revision=7 + forget_before_at) for row in rows]
        table.take(frame_of(SessionBinding, again))
        state.apply(StepResult(changes=table.changes(forget_before_at)))
    check(BindingTable(state).index, rows[1:])
    check(BindingTable(_reborn(state)).index, rows[1:])


def _reborn(state: MemoryState) -> MemoryState:
    reborn = MemoryState()
    for name, held in state.collections.items():
        reborn.collections[name] = {key: bytes(bytearray(body)) for key, body in held.items()}
    return reborn


def _of(table: BindingTable) -> list[SessionBinding]:
    """Return the bindings of a table as rows."""
    rows = []
    for row in table.table.select(BINDING_SCHEMA.names()).iter_rows(named=True):
        address = (row.pop("hi") << 64 | row.pop("lo")).to_bytes(16, "big")
        rows.append(SessionBinding(address=address, **row))
    return rows


def test_the_numbers_of_names_go_on_over_changes() -> None:
    table = bindings_of(frame_of(SessionBinding, [binding("s-1", "10.0.0.1", "10:00:00")]))
    index = BindingIndex(table)
    other = index.changed(np.zeros(0, np.int64), table.with_columns(binding_id=pl.lit("other")))
    assert other.names == index.names


def test_owners_in_words_are_what_a_cast_says() -> None:
    for seed in range(10):
        chance = random.Random(seed)
        rows = standing([drawn(chance, n) for n in range(chance.choice([0, 1, 80]))])
        table = bindings_of(frame_of(SessionBinding, rows))
        first = BindingIndex(table)
        late = bindings_of(frame_of(SessionBinding, [binding("s-9", "10.0.0.1", "10:00:00")]))
        index = first.changed(np.zeros(0, np.int64), late)
        names = [*table["subscriber_id"], *table["session_id"], "", "s-9", "who came later"] * 2
        owners = pl.Series("who", chance.sample(names, len(names))).cast(index.names)
        for asked in (owners, owners[:1], owners.clear()):
            assert index.words(asked).equals(asked.cast(pl.String))
            assert index.words(asked).name == "who"
