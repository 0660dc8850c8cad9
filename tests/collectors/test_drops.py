"""Reports of what a collector dropped, in the log of datagrams itself."""

from __future__ import annotations

from collectors.datagrams import Datagram, decode_datagrams, encode_datagrams
from collectors.drops import Drops, report_of, split_reports
from collectors.partitioning import split_flows
from tests.collectors.netflow import exports as x

REPORT = Drops(local_port=2055, received_at=5, kernel=(1 << 40) + 3, queue=4)


def exporter(last: int) -> Datagram:
    """Return a datagram of an exporter."""
    return Datagram(1, x.mapped(f"192.0.2.{last}"), 50_000, 2055, b"p%d" % last)


def test_reports_come_out_wherever_they_lie_and_the_rest_is_as_it_was() -> None:
    sent = [exporter(1), report_of(REPORT), exporter(2), exporter(3), report_of(REPORT)]
    block, reports = split_reports(decode_datagrams(encode_datagrams(sent)))
    assert [block.datagram(i) for i in range(len(block))] == [sent[0], sent[2], sent[3]]
    assert reports == [REPORT, REPORT]


def test_a_block_without_reports_is_the_block_itself() -> None:
    block = decode_datagrams(encode_datagrams([exporter(1)]))
    assert split_reports(block) == (block, [])
    empty = decode_datagrams(encode_datagrams([]))
    assert split_reports(empty) == (empty, [])


def test_what_is_no_report_from_nowhere_is_left_out() -> None:
    wrong = Datagram(1, b"\0" * 16, 0, 2055, b"FRDR cut")
    other = Datagram(1, b"\0" * 16, 0, 2055, b"XXXX" + bytes(16))
    block, reports = split_reports(decode_datagrams(encode_datagrams([wrong, other])))
    assert (len(block), reports) == (0, [])


def test_partitions_get_a_report_once_and_whole() -> None:
    sent = [exporter(1), exporter(2), exporter(3), report_of(REPORT)]
    parts = split_flows(encode_datagrams(sent), 8, 1 << 20)
    found = [split_reports(decode_datagrams(body)) for _, body in parts]
    assert [report for _, reports in found for report in reports] == [REPORT]
    assert sum(len(block) for block, _ in found) == 3
