"""The log of datagrams as raw flows: the same rows however often the decoder begins anew."""

from __future__ import annotations

import random

import polars as pl
import pytest

from collectors.datagrams import Datagram, encode_datagrams
from collectors.netflow.config import FlowDecodeConfig
from rating.envelopes import Envelope, Mark, encode_envelope, encode_marks
from rating.raw_flows import RawFlow
from rating.records import schema_of
from streams.raw_flows import RawFlowDecoder
from tests.collectors.netflow import exports as x
from tests.collectors.sflow import agents as a
from tests.raw_flow_log import AT_MS, MadeLog, decoded_at_once, sorted_rows

CONFIG = FlowDecodeConfig()


def message(number: int, *payloads: bytes, producer: str = "flows@a", at: int = AT_MS) -> bytes:
    datagrams = [Datagram(at, x.mapped("192.0.2.1"), 50_000, 2055, each) for each in payloads]
    return encode_envelope(Envelope(producer, number, at, encode_datagrams(datagrams)))


def opened(saved: dict[str, bytes] | None = None, rows: int = 1_000) -> RawFlowDecoder:
    return RawFlowDecoder(saved or {}, CONFIG, rows)


def changed(saved: dict[str, bytes], changes: dict[str, bytes | None]) -> dict[str, bytes]:
    return {k: v for k, v in {**saved, **changes}.items() if v is not None}


TEMPLATE = x.v9([x.template(256, x.BASIC)])


def flows(*octets: int) -> bytes:
    return x.v9([x.data(256, [x.basic("10.0.0.1", "198.51.100.7", each) for each in octets])])


@pytest.mark.parametrize("seed", range(4))
def test_begun_anew_at_any_message_it_gives_every_flow_of_the_log_once(seed: int) -> None:
    log = MadeLog(seed)
    log.write(120)
    chance = random.Random(seed)
    saved: dict[str, bytes] = {}
    decoder, steady = opened(), opened()
    frames = []
    for each in log.messages:
        if chance.random() < 0.3:
            decoder = opened(saved)
        entry, other = decoder.take(each), steady.take(each)
        assert entry.frame.equals(other.frame)
        assert entry.state == other.state
        frames.append(entry.frame)
        saved = changed(saved, dict(entry.state))
    rows = pl.concat(frames)
    whole = decoded_at_once(log)
    assert rows.height == whole.height > 1_000
    assert sorted_rows(rows).equals(sorted_rows(whole))


def test_a_row_has_every_column_of_its_record() -> None:
    decoder = opened()
    frame = decoder.take(message(1, TEMPLATE, flows(700))).frame
    assert set(frame.columns) == set(schema_of(RawFlow))
    row = frame.row(0, named=True)
    assert row["exporter"] == "192.0.2.1"
    assert row["source"] == x.mapped("10.0.0.1")
    assert row["destination"] == x.mapped("198.51.100.7")
    assert row["nat_source"] == bytes(16)
    assert (row["source_port"], row["destination_port"], row["protocol"]) == (40_000, 443, 6)
    assert (row["octets"], row["octets_exported"], row["rate_known"]) == (700, 700, False)
    assert row["end_at"] - row["start_at"] == 10_000


def test_octets_are_scaled_and_as_exported() -> None:
    payload = x.v5([x.v5_record("10.0.0.1", "198.51.100.7", 600, 2)], sampling=0x4000 | 100)
    row = opened().take(message(1, payload)).frame.row(0, named=True)
    assert (row["octets"], row["packets"]) == (60_000, 200)
    assert (row["octets_exported"], row["packets_exported"]) == (600, 2)
    assert (row["rate_numerator"], row["rate_denominator"], row["rate_known"]) == (100, 1, True)


def test_a_sampled_packet_is_a_row_of_its_agent() -> None:
    frame = a.ethernet(0x0800, a.ipv4("10.0.0.1", "198.51.100.7", a.ports(40_000, 443)))
    payload = a.datagram([a.flow_sample([a.header(frame)])], agent="203.0.113.5", sub_agent=4)
    row = opened().take(message(1, payload)).frame.row(0, named=True)
    assert (row["exporter"], row["domain"]) == ("203.0.113.5", 4)
    assert (row["octets"], row["octets_exported"], row["packets"]) == (120_000, 120, 1_000)
    assert row["start_at"] == row["end_at"] == row["received_at"]


def test_data_that_waited_for_their_template_come_with_the_message_that_has_it() -> None:
    decoder = opened()
    first = decoder.take(message(1, flows(1, 2)))
    assert first.frame.height == 0
    decoder = opened(changed({}, dict(first.state)))
    assert decoder.take(message(2, TEMPLATE)).frame["octets"].to_list() == [1, 2]


def test_a_number_that_was_taken_is_dropped_and_one_that_is_missing_stops() -> None:
    decoder = opened()
    assert decoder.take(message(7, TEMPLATE, flows(1))).frame.height == 1
    again = decoder.take(message(7, TEMPLATE, flows(1)))
    assert again.is_repeat
    assert again.frame.height == 0
    assert decoder.take(message(1, flows(2), producer="flows@b")).frame.height == 1
    assert decoder.take(message(8, flows(3))).frame.height == 1
    with pytest.raises(ValueError, match="number 10 behind 8"):
        decoder.take(message(10, flows(4)))


def test_a_mark_of_data_that_did_not_come_stops() -> None:
    decoder = opened()
    decoder.take(encode_marks([Mark("flows@a", 5, AT_MS)]))  # The log began behind the fifth.
    decoder.take(message(6, TEMPLATE))
    with pytest.raises(ValueError, match="marked number 8, came 6"):
        decoder.take(encode_marks([Mark("flows@a", 8, AT_MS)]))


def test_what_kafka_deleted_is_passed_over_once_and_the_state_says_so() -> None:
    decoder = opened()
    saved = changed({}, dict(decoder.take(message(1, TEMPLATE, producer="flows@b")).state))
    saved = changed(saved, dict(decoder.take(message(1, flows(7))).state))
    decoder = opened(saved)
    decoder.pass_over()
    entry = decoder.take(message(9, flows(1)))
    assert entry.frame.height == 1
    decoder = opened(changed(saved, dict(entry.state)))
    assert decoder.take(message(9, flows(5))).is_repeat
    assert decoder.take(message(4, flows(2), producer="flows@b")).frame.height == 1
    with pytest.raises(ValueError, match="behind 9"):
        decoder.take(message(11, flows(3)))


def test_a_copy_of_a_datagram_is_dropped_also_by_a_decoder_that_began_anew() -> None:
    decoder = opened()
    entry = decoder.take(message(1, TEMPLATE, flows(1)))
    decoder = opened(changed({}, dict(entry.state)))
    assert decoder.take(message(1, flows(1), producer="flows@b", at=AT_MS + 500)).frame.height == 0


def test_flows_beyond_the_rows_of_an_entry_are_dropped_and_counted() -> None:
    decoder = opened(rows=3)
    entry = decoder.take(message(1, TEMPLATE, flows(1, 2), flows(3, 4, 5)))
    assert (entry.frame.height, entry.dropped) == (3, 2)
    assert decoder.take(message(2, flows(6))).dropped == 0


def test_an_unreadable_block_is_counted_and_the_next_is_taken() -> None:
    decoder = opened()
    entry = decoder.take(encode_envelope(Envelope("flows@a", 1, AT_MS, b"nothing")))
    assert entry.is_refused
    assert decoder.take(message(2, TEMPLATE, flows(1))).frame.height == 1
