"""Classes by AS number and application: from the flow or from the AS file of its minute."""

from __future__ import annotations

import functools

import pytest

from rating.addresses import pack_address
from rating.asn_table import AS_TRANS, AsnTable, build_table
from rating.ports import Batch, StepResult
from rating.records import DirectoryEntry
from streams.decode import step
from tests.collectors.netflow import exports as x
from tests.streams.test_decode import CONFIG, OWN, Stage, at, class_rule, datagram, directory

FIELDS: tuple[x.Field, ...] = (
    (8, 4), (12, 4), (1, 8), (152, 8), (153, 8), (16, 4), (17, 4), (95, 4),
)  # fmt: skip
FAR = "198.51.100.7"
OLD, NEW = "0" * 64, "1" * 64
CDN = class_rule("cdn", "cdn", asns=(64_500,))
OTHER = class_rule("other", "other", asns=(64_501,))


def table(asn: int) -> AsnTable:
    first = int.from_bytes(pack_address(FAR)[12:], "big")
    return build_table([(first, first, asn)], [], {})


class Files:
    """AS files by digest; counts what is asked."""

    def __init__(self, **tables: AsnTable) -> None:
        self.tables = {OLD: table(64_500), NEW: table(64_501), **tables}
        self.asked: list[str] = []

    def table(self, digest: str) -> AsnTable:
        self.asked.append(digest)
        if digest not in self.tables:
            raise LookupError(digest)
        return self.tables[digest]


def asn_file(
    digest: str, since: int = 0, until: int | None = None, asked: str = "unknown"
) -> DirectoryEntry:
    return DirectoryEntry(f"asn_file:{digest}", 1, "asn_file", digest, asked, 0, since, until)


def stage_of(*entries: DirectoryEntry, files: Files | None = None) -> Stage:
    stage = Stage()
    stage.step = functools.partial(step, config=CONFIG, asn_tables=files or Files())
    stage.run(Batch(directory(OWN, *entries)))
    return stage


def message(minute: int, asn: int = 0, application: int = 0, *, down: bool = False) -> bytes:
    ends = (x.v4(FAR), x.v4("10.0.0.1")) if down else (x.v4("10.0.0.1"), x.v4(FAR))
    asns = (asn, 0) if down else (0, asn)
    values = (*ends, 100, at(minute, 1), at(minute, 2), *asns, application)
    record = x.record(FIELDS, values)
    return x.ipfix([x.template(256, FIELDS, version=10), x.data(256, [record])])


def classes(stage: Stage) -> dict[int, str]:
    """Return minute (from NOW's) -> traffic class."""
    return {
        minute - at(0) // 60_000: name for minute, name in stage.totals("minute", "traffic_class")
    }


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize(
    ("told", "asked", "expected"),
    [
        (0, "unknown", "cdn"),
        (AS_TRANS, "unknown", "cdn"),
        (64_501, "unknown", "other"),
        (64_501, "always", "cdn"),
        (64_502, "unknown", "unclassified"),
    ],
)
def test_when_the_file_is_asked(down: bool, told: int, asked: str, expected: str) -> None:
    stage = stage_of(CDN, OTHER, asn_file(OLD, asked=asked))
    stage.take(datagram(message(0, told, down=down)))
    assert classes(stage) == {0: expected}


def test_where_the_file_has_none_the_flow_is_believed() -> None:
    files = Files(**{OLD: build_table([], [], {})})
    stage = stage_of(OTHER, asn_file(OLD, asked="always"), files=files)
    stage.take(datagram(message(0, 64_501)))
    assert classes(stage) == {0: "other"}


def test_without_a_file_zero_is_no_as() -> None:
    stage = stage_of(CDN, class_rule("zero", "zero", asns=(0,)))
    stage.take(datagram(message(0)))
    assert classes(stage) == {0: "zero"}, "0 is what a rule may ask for, too"


def test_each_minute_asks_the_file_that_was_in_force_then() -> None:
    files = (asn_file(OLD, 0, at(0)), asn_file(NEW, at(0)))
    stage = stage_of(CDN, OTHER, *files)
    stage.take(datagram(message(0)), datagram(message(-1)), datagram(message(-2)))
    assert classes(stage) == {-2: "cdn", -1: "cdn", 0: "other"}


def test_a_replay_after_the_next_file_gives_what_it_gave_before() -> None:
    sent = [datagram(message(minute)) for minute in (-2, -1, 0)]
    before = stage_of(CDN, OTHER, asn_file(OLD))
    before.take(*sent[:2])
    newer = DirectoryEntry(f"asn_file:{OLD}", 2, "asn_file", OLD, "unknown", 0, 0, at(0))
    before.run(Batch(directory(newer, asn_file(NEW, at(0)))))
    before.restart()
    before.take(sent[2])
    again = stage_of(CDN, OTHER, newer, asn_file(NEW, at(0)))
    again.take(*sent)
    assert classes(again) == classes(before) == {-2: "cdn", -1: "cdn", 0: "other"}


def test_a_file_that_is_not_there_stops_the_stage_and_gives_no_other_answer() -> None:
    stage = stage_of(CDN, asn_file("f" * 64))
    with pytest.raises(LookupError, match="f" * 64):
        stage.take(datagram(message(0)))


def test_a_file_is_asked_for_only_where_a_rule_needs_it() -> None:
    files = Files()
    stage = stage_of(class_rule("c", "c", ports=((443, 443),)), asn_file(OLD), files=files)
    stage.take(datagram(message(0)))
    assert files.asked == []
    stage = stage_of(CDN, asn_file(OLD), files=files)
    stage.take(datagram(message(0, 64_502)))
    assert files.asked == []


@pytest.mark.parametrize(("digest", "asked"), [("nonsense", "unknown"), (OLD, "sometimes")])
def test_a_row_that_cannot_be_read_is_counted_and_left_out(digest: str, asked: str) -> None:
    row = DirectoryEntry("bad", 1, "asn_file", digest, asked, 9, 0, None)
    stage = stage_of(CDN, row, asn_file(OLD))
    assert stage.counters["decode_rules_refused"] == 1
    stage.take(datagram(message(0)))
    assert classes(stage) == {0: "cdn"}


# -- applications ----------------------------------------------------------------------------------

VIDEO = 0x0D0001E0


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("13:480", "video"),
        ("YOUTUBE", "video"),
        ("13:481", "unclassified"),
        ("tube", "unclassified"),
    ],
)
def test_an_application_is_met_by_id_or_by_the_name_that_options_told(
    wanted: str, expected: str
) -> None:
    stage = stage_of(class_rule("v", "video", applications=(wanted,)))
    names = x.options_template(300, [(95, 4)], [(96, 16)], version=10)
    record = x.record([(95, 4), (96, 16)], (VIDEO, b"YouTube".ljust(16, b"\0")))
    stage.take(datagram(x.ipfix([names, x.data(300, [record])])))
    stage.restart()
    stage.take(datagram(message(0, application=VIDEO)))
    assert classes(stage) == {0: expected}


def test_an_application_rule_with_a_prefix_needs_both() -> None:
    rule = class_rule("v", "video", applications=("13:480",), prefixes=("203.0.113.0/24",))
    stage = stage_of(rule)
    stage.take(datagram(message(0, application=VIDEO)))
    assert classes(stage) == {0: "unclassified"}


def test_results_are_the_same_in_one_batch_or_many() -> None:
    rows = (CDN, OTHER, asn_file(OLD, 0, at(0)), asn_file(NEW, at(0)))
    sent = [datagram(message(minute, told)) for minute in (-1, 0) for told in (0, 64_500, 64_501)]
    whole, singly = stage_of(*rows), stage_of(*rows)
    whole.take(*sent)
    results: list[StepResult] = []
    for each in sent:
        results.append(singly.take(each))
        singly.restart()
    assert whole.totals() == singly.totals()
    assert len(results) == 6
