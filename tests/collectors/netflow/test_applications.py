"""Applications in flows: ids of RFC 6759, names in records, and names that options tell."""

from __future__ import annotations

import pytest

from collectors.netflow.config import FlowDecodeConfig
from collectors.netflow.decoder import Decoded
from rating.classes import Application
from tests.collectors.netflow import exports as x
from tests.collectors.netflow.driver import PATIENT, Run
from tests.corpus import corpus_path

VARIABLE = 0xFFFF
ENDS: tuple[x.Field, ...] = ((8, 4), (12, 4), (1, 8))
VALUES = (x.v4("10.0.0.1"), x.v4("192.0.2.9"), 100)
FLOW: tuple[x.Field, ...] = (*ENDS, (95, 4))
SCOPE: tuple[x.Field, ...] = ((95, 4),)
NAME: tuple[x.Field, ...] = ((96, 24),)


def applications_of(decoded: Decoded) -> list[Application]:
    flows = decoded.flows
    return [flows.applications[number] for number in flows.application.tolist()]


def run_of(*payloads: bytes, config: FlowDecodeConfig = PATIENT) -> Run:
    run = Run(config)
    run.take(x.block(payloads))
    return run


def told(fields: list[x.Field], *values: int | bytes, version: int = 10) -> Application:
    every = [*ENDS, *fields]
    sets = [x.template(256, every, version=version)]
    sets.append(x.data(256, [x.record(every, (*VALUES, *values))]))
    (found,) = applications_of(run_of(x.ipfix(sets) if version == 10 else x.v9(sets)).flows[0])
    return found


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        ("03000050", "3:80"),
        ("0d0001e0", "13:480"),
        ("0d000100", "13:256"),
        ("06", "6:0"),
        ("0600", "6:0"),
        ("1400000009000123", "20:9:291"),
        ("1400000009aabbccddee", "20:9:733295205870"),
        ("0d00000000000000ff", "13:255"),
        ("00000000", ""),
    ],
)
def test_an_id_is_engine_and_selector_of_any_length(octets: str, text: str) -> None:
    sent = bytes.fromhex(octets)
    assert told([(95, len(sent))], sent).id == text
    assert told([(95, VARIABLE)], sent).id == text


def test_an_id_that_ends_in_zeros_is_no_shorter_one() -> None:
    assert told([(95, 4)], bytes.fromhex("0d010000")).id == "13:65536"


@pytest.mark.parametrize(
    ("field", "version"),
    [((96, VARIABLE), 10), ((56_701, 32), 9), ((57_591, 16), 9), ((119, VARIABLE, 35_632), 10)],
)
def test_a_name_in_the_record_itself(field: x.Field, version: int) -> None:
    value = b"ssl" if field[1] == VARIABLE else b"ssl".ljust(field[1], b"\0")
    assert told([field], value, version=version) == Application("", "ssl")


def options(*names: tuple[int, bytes], template: bool = True) -> list[bytes]:
    records = [x.record([*SCOPE, *NAME], (told, name.ljust(24, b"\0"))) for told, name in names]
    head = [x.options_template(300, SCOPE, NAME, version=10)] if template else []
    return [*head, x.data(300, records)]


def flow(told: int = 0x0D0001E0) -> bytes:
    return x.data(256, [x.record(FLOW, (*VALUES, told))])


TEMPLATE = x.template(256, FLOW, version=10)
YOUTUBE = (0x0D0001E0, b"youtube")


def test_options_name_an_application_from_their_set_on() -> None:
    sets = [TEMPLATE, flow(), *options(YOUTUBE), flow(), *options((0x0D0001E0, b"tube")), flow()]
    found = applications_of(run_of(x.ipfix(sets)).flows[0])
    assert found == [Application("13:480", name) for name in ("", "youtube", "tube")]


def test_names_do_not_depend_on_how_the_log_is_cut_or_on_restarts() -> None:
    parts = [
        [TEMPLATE, flow()],
        options(YOUTUBE),
        [flow(), flow(7)],
        options((7, b"seven")),
        [flow(7)],
    ]
    payloads = [x.ipfix(sets, sequence=number) for number, sets in enumerate(parts)]
    whole = run_of(*payloads)
    run = Run()
    singly: list[Application] = []
    for payload in payloads:
        singly += applications_of(run.take(x.block([payload])))
        run.restart()
    assert singly == applications_of(whole.flows[0])
    assert [application.name for application in singly] == ["", "youtube", "", "seven"]


def test_each_exporter_numbers_as_it_likes() -> None:
    run = Run()
    for source, name in (("192.0.2.1", b"youtube"), ("192.0.2.2", b"mail")):
        sets = [TEMPLATE, *options((0x0D0001E0, name)), flow()]
        decoded = run.take(x.block([x.ipfix(sets)], source=source))
        assert applications_of(decoded) == [Application("13:480", name.decode())]


def test_the_records_own_name_goes_before_the_options() -> None:
    fields: list[x.Field] = [*FLOW, (96, 8)]
    values = (*VALUES, 0x0D0001E0, b"own".ljust(8, b"\0"))
    data = [x.template(256, fields, version=10), x.data(256, [x.record(fields, values)])]
    found = applications_of(run_of(x.ipfix([*options(YOUTUBE), *data])).flows[0])
    assert found == [Application("13:480", "own")]


def test_names_are_remembered_up_to_a_limit() -> None:
    config = FlowDecodeConfig(applications_per_session_limit=2)
    told = [(number, b"app%d" % number) for number in (1, 2, 3)]
    sets = [TEMPLATE, *options(*told), *options((1, b"new"), template=False)]
    sets += [flow(number) for number in (1, 2, 3)]
    run = run_of(x.ipfix(sets), config=config)
    names = [application.name for application in applications_of(run.flows[0])]
    assert names == ["new", "app2", ""]
    assert run.counts["applications_per_session_limit"] == 1


def test_a_name_beyond_the_limit_is_not_read() -> None:
    config = FlowDecodeConfig(application_name_octets_limit=6)
    run = run_of(
        x.ipfix([TEMPLATE, *options(YOUTUBE, (7, b"seven")), flow(), flow(7)]), config=config
    )
    assert [a.name for a in applications_of(run.flows[0])] == ["", "seven"]
    assert run.counts["application_name_too_long"] == 1


def test_a_session_of_the_version_before_knows_no_names() -> None:
    run = run_of(x.ipfix([TEMPLATE]))
    run.restart()
    assert applications_of(run.take(x.block([x.ipfix([flow()], sequence=1)]))) == [
        Application("13:480", "")
    ]


def test_the_corpus_names_what_nbar_sends() -> None:
    folder = corpus_path("netflow/logstash")
    parts = ("opttpl260", "tpl262", "data262")
    files = [folder / f"netflow9_test_cisco_nbar_{part}.dat" for part in parts]
    run = run_of(*(file.read_bytes() for file in files))
    found = {application for decoded in run.flows for application in applications_of(decoded)}
    assert found == {
        Application("1:1", "icmp"), Application("5:38", ""), Application("3:123", ""),
    }, "the one that the exporter has named, and two that it has not"  # fmt: skip
    folder = corpus_path("netflow/logstash")
    files = [folder / f"netflow9_test_paloalto_panos_{part}.dat" for part in ("tpl", "data")]
    names = {a.name for a in applications_of(run_of(*(f.read_bytes() for f in files)).flows[0])}
    assert {"ssl", "incomplete"} <= names
