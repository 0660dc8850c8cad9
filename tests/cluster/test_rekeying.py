"""Partitions grow in the middle of a simulated ISP's life: the books are as if they never had."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import polars as pl
import pytest

from collectors.datagrams import Datagram, encode_datagrams
from collectors.netflow.state import RUNNING, HeldSet, Totals, split_session_key
from collectors.partitioning import packet_partition, split_flows
from rating.attribution import BINDING_SCHEMA, PAGE_SCHEMA
from rating.page_bodies import decode_page
from rating.pages import Page
from rating.rate_state import WaitingCell
from rating.records import SessionBinding, Usage, frame_of
from streams.codec import decode_value
from streams.rekeying import RULES_OF, Growth, collections_of
from streams.topics import TOPICS, route
from streams.topology import build_stages
from tests.cluster.local_cluster import MESSAGE_OCTETS_MAX, LocalCluster, State
from tests.collectors.radius.packets import logged, request
from tests.simulation.books import books_of
from tests.simulation.simulation import lived
from tests.simulation.test_same_invoice import plan


@pytest.fixture(scope="module")
def embedded_books(tmp_path_factory: pytest.TempPathFactory) -> str:
    with lived(tmp_path_factory.mktemp("embedded"), plan()) as simulation:
        return books_of(simulation.world)


@dataclasses.dataclass(frozen=True)
class Grown:
    """The state before and after one growth."""

    partitions: int
    before: State
    after: State

    def of(self, stage: str, collection: str) -> Iterator[tuple[int, str, bytes]]:
        """Yield (new partition, key, value)."""
        for (name, partition, found), rows in self.after.items():
            if (name, found) == (stage, collection):
                for key, value in rows.items():
                    yield partition, key, value

    def former(self, stage: str, collection: str) -> Iterator[tuple[int, str, bytes]]:
        """Yield (old partition, key, value)."""
        return Grown(self.partitions, {}, self.before).of(stage, collection)


class GrowingCluster(LocalCluster):
    """A local cluster that grows at certain runs of its engine."""

    def __init__(self, *arguments: object, growths: dict[int, int]) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self._growths = growths
        self._runs = 0
        self.grown: list[Grown] = []

    def run_engine(self, now_ms: int, *, wait: bool) -> None:
        super().run_engine(now_ms, wait=wait)
        self._runs += 1
        partitions = self._growths.pop(self._runs, None)
        if partitions:
            before = self.grow(partitions)
            self.grown.append(Grown(partitions, before, self.state()))


@pytest.mark.parametrize(
    ("before", "growths"),
    [(2, {20: 6}), (3, {12: 4, 45: 9})],
    ids=["2 to 6", "3 to 4 to 9"],
)
def test_the_books_are_equal_to_the_octet(
    tmp_path: Path,
    embedded_books: str,
    database_url: str,
    before: int,
    growths: dict[int, int],
) -> None:
    made = plan()
    machine = GrowingCluster(made.world.stages, database_url, before, growths=dict(growths))
    with lived(tmp_path, made, machine) as simulation:
        assert books_of(simulation.world) == embedded_books
    assert machine.generation == 1 + len(growths)
    for grown in machine.grown:
        check_values_are_the_same(grown)
        check_decode(grown)
        check_sessions(grown)
        check_attribute(grown)
        check_rate(grown)


# -- every piece of state lies where its messages will come ----------------------------------------


def check_values_are_the_same(grown: Grown) -> None:
    """What has one place is there once, as it was."""
    moved = {
        "decode": ("flow_session", "flow_progress", "flow_split", "flow_held"),
        "sessions": ("sessions", "session_timers"),
        "rate": ("keys", "balances", "wallets", "meters", "cells", "timers", "waiting"),
    }
    filled = 0
    for stage, collections in moved.items():
        for collection in collections:
            before = sorted((key, value) for _, key, value in grown.former(stage, collection))
            after = sorted((key, value) for _, key, value in grown.of(stage, collection))
            assert before == after, collection
            filled += bool(before)
    assert filled >= 7, "a growth of nothing shows nothing"
    copied = {
        "decode": ("decode_rules",),
        "sessions": ("directory", "directory_entries", "markers"),
        "attribute": ("directory", "directory_entries"),
    }
    for stage, collections in copied.items():
        for collection in collections:
            known = {(key, value) for _, key, value in grown.former(stage, collection)}
            copies = Counter((key, value) for _, key, value in grown.of(stage, collection))
            assert copies == dict.fromkeys(known, grown.partitions), collection


def flow_partition(address: bytes, partitions: int) -> int:
    datagram = Datagram(1, address, 1, 1, b"x")
    [(partition, _)] = split_flows(encode_datagrams([datagram]), partitions, MESSAGE_OCTETS_MAX)
    return partition


def check_decode(grown: Grown) -> None:
    for collection in ("flow_session", "flow_progress", "flow_split"):
        for partition, key, _ in grown.of("decode", collection):
            assert partition == flow_partition(split_session_key(key)[0], grown.partitions)
    for partition, _, value in grown.of("decode", "flow_held"):
        session = decode_value(value, HeldSet).session
        assert partition == flow_partition(split_session_key(session)[0], grown.partitions)
    totals = [decode_value(v, Totals) for _, _, v in grown.of("decode", "flow_totals")]
    before = [decode_value(v, Totals) for _, _, v in grown.former("decode", "flow_totals")]
    for name in ("sessions", "held_octets", "template_octets"):
        assert sum(getattr(t, name) for t in totals) == sum(getattr(t, name) for t in before)
    seen = {(key, value) for _, key, value in grown.former("decode", "flow_seen")}
    assert {(key, value) for _, key, value in grown.of("decode", "flow_seen")} == seen
    chunks: dict[int, set[str]] = {}
    for partition, key, _ in grown.of("decode", "flow_seen"):
        chunks.setdefault(partition, set()).add(key)
    for old, key, _ in grown.former("decode", "flow_progress"):
        # Whoever gets an exporter's datagrams knows what came of it.
        heir = flow_partition(split_session_key(key)[0], grown.partitions)
        assert {k for p, k, _ in grown.former("decode", "flow_seen") if p == old} <= chunks[heir]


def check_sessions(grown: Grown) -> None:
    groups = [(p, key, key) for p, key, _ in grown.of("sessions", "sessions")]
    groups += [(p, k, decode_value(v, str)) for p, k, v in grown.of("sessions", "session_timers")]
    for partition, _, group in groups:
        nas_id, session = group.split("\x1f")
        packet = logged(request(session_id=session.encode()), nas_id=nas_id)
        assert partition == packet_partition(packet, grown.partitions)


FRAMES = {"pages": PAGE_SCHEMA, "bindings": BINDING_SCHEMA}


def rows_of(state: State, collection: str) -> pl.DataFrame:
    """Return the rows of all frames of a collection, each with its task's partition."""
    frames = [
        decode_page(decode_value(value, bytes), FRAMES[collection]).with_columns(
            partition=pl.lit(partition), at=pl.lit(key)
        )
        for (stage, partition, name), rows in state.items()
        if (stage, name) == ("attribute", collection)
        for key, value in rows.items()
    ]
    return pl.concat(frames) if frames else pl.DataFrame()


def address_of(row: Mapping[str, int]) -> bytes:
    return (row["hi"] << 64 | row["lo"]).to_bytes(16, "big")


def check_attribute(grown: Grown) -> None:
    before, after = rows_of(grown.before, "pages"), rows_of(grown.after, "pages")
    assert before.height
    key = ("minute", "kind", "hi", "lo", "port_block", "traffic_class", "late_through_minute")
    sums = [
        with_kind(rows, state)
        .group_by(key)
        .agg(pl.col("octets_up", "octets_down", "packets_up").sum(), pl.col("received_at").max())
        .sort(key)
        for rows, state in ((before, grown.before), (after, grown.after))
    ]
    assert sums[0].equals(sums[1])
    for row in after.unique(("hi", "lo", "partition")).iter_rows(named=True):
        flow = pl.DataFrame({"address": [address_of(row)]})
        [(partition, _)] = route(TOPICS["flow.minutes"], flow, grown.partitions)
        assert partition == row["partition"]
    bindings, former = rows_of(grown.after, "bindings"), rows_of(grown.before, "bindings")
    assert set(bindings["binding_id"]) == set(former["binding_id"])
    for row in bindings.iter_rows(named=True):
        sent = SessionBinding(
            "b", 1, address_of(row), row["prefix_length"], 0, "s", "x", 0, None, 0
        )
        parts = route(
            TOPICS["session.bindings"], frame_of(SessionBinding, [sent]), grown.partitions
        )
        assert row["partition"] in [partition for partition, _ in parts]
    assert bindings.select("binding_id", "partition").is_unique().all()


def with_kind(rows: pl.DataFrame, state: State) -> pl.DataFrame:
    """Return rows with their minute, and whether they wait or are joined."""
    kinds = [
        (partition, f"{key}/{chunk.number:06d}", key, kind)
        for (stage, partition, name), pages in state.items()
        if (stage, name) == ("attribute", "minutes")
        for key, value in pages.items()
        for kind in ("joined", "waiting")
        for chunk in getattr(decode_value(value, Page), kind)
    ]
    table = pl.DataFrame(kinds, schema=["partition", "at", "minute", "kind"], orient="row")
    joined = rows.join(table.cast({"partition": pl.Int32}), on=["partition", "at"])
    assert joined.height == rows.height
    return joined


def check_rate(grown: Grown) -> None:
    found = [(p, key) for p, key, _ in grown.of("rate", "keys")]
    found += [(p, decode_value(value, str)) for p, _, value in grown.of("rate", "timers")]
    found += [
        (p, decode_value(value, WaitingCell).rating_key)
        for p, _, value in grown.of("rate", "waiting")
    ]
    known = sorted({key for _, key in found}, key=len, reverse=True)
    for collection in ("meters", "cells"):
        for partition, key, _ in grown.of("rate", collection):
            found.append((partition, next(k for k in known if key.startswith(f"{k}|"))))
    for partition, key in found:
        usage = frame_of(Usage, [Usage(key, "s", "flows", "", "c", 1, 1, 0, 0, 0, 0, 1)])
        [(expected, _)] = route(TOPICS["usage.measured"], usage, grown.partitions)
        assert partition == expected
    plans = {key for _, key, _ in grown.former("rate", "plans")}
    assert {key for _, key, _ in grown.of("rate", "plans")} == plans


def test_every_collection_of_every_stage_has_a_rule() -> None:
    for stage in build_stages(plan().world.stages):
        assert collections_of(stage.name) == set(stage.collections)


@pytest.mark.parametrize(("before", "after"), [(2, 6), (3, 4), (4, 6), (1, 5), (64, 96)])
def test_the_heirs_of_a_partition_are_those_that_may_get_its_keys(before: int, after: int) -> None:
    heirs = [set(Growth(before, after).heirs(old)) for old in range(before)]
    for number in range(before * after):
        assert number % after in heirs[number % before]
    share = sum(map(len, heirs)) / after
    assert share == (1 if after % before == 0 else share), "a multiple has each heir once"


@pytest.mark.parametrize(("before", "after"), [(2, 6), (4, 6), (3, 4)])
def test_runs_of_several_tasks_with_equal_keys_stay_apart_and_in_order(
    before: int, after: int
) -> None:
    former = [
        (old, f"{number:012d}:{77:015d}", b"%d of %d" % (number, old))
        for old in range(before)
        for number in (1, 2)
    ]
    placed: dict[tuple[int, str], bytes] = {}
    for partition, collection, key, value in RULES_OF["decode"][RUNNING](
        Growth(before, after), RUNNING, lambda name: former
    ):
        assert collection == RUNNING
        assert (partition, key) not in placed
        placed[partition, key] = value
    for partition in range(after):
        held = [value for (where, _), value in sorted(placed.items()) if where == partition]
        heirs = [old for old in range(before) if partition in Growth(before, after).heirs(old)]
        assert sorted(held) == sorted(b"%d of %d" % (n, old) for old in heirs for n in (1, 2))
        for old in heirs:
            assert held.index(b"1 of %d" % old) < held.index(b"2 of %d" % old)
