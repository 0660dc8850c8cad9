"""Who exported it: agents and sub-agents, relays, copies, lost datagrams, NetFlow beside sFlow."""

from __future__ import annotations

import itertools

import pytest

from collectors.datagrams import Datagram, decode_datagrams, encode_datagrams
from collectors.netflow.config import ExporterConfig, FlowDecodeConfig
from collectors.netflow.decoder import decode
from collectors.partitioning import split_flows
from collectors.sflow.headers import SFLOW5
from rating.addresses import format_address
from rating.ports import MemoryState, StepResult
from tests.collectors.netflow import exports as x
from tests.collectors.netflow.driver import PATIENT, Run, run_of, run_singly
from tests.collectors.sflow import agents as a

HEADER = a.header(a.ethernet(0x0800, a.ipv4("10.0.0.1", "203.0.113.9", a.ports(1, 2))))
SAMPLE = a.flow_sample([HEADER])
NOW = x.EXPORTED_AT * 1000


def sent(payload: bytes, by: str = "192.0.2.1", received_at: int = NOW) -> Datagram:
    return Datagram(received_at, x.mapped(by), 50_000, 6343, payload)


def exporters(run: Run) -> list[str]:
    return [format_address(origin.address) for origin in run.flows[0].origins]


@pytest.mark.parametrize("agent", ["198.51.100.7", "2001:db8::7"])
def test_the_agent_is_the_exporter_whichever_relay_it_came_through(agent: str) -> None:
    payload = a.datagram([SAMPLE], agent=agent, sub_agent=9)
    run = run_of([sent(payload, by="192.0.2.1")])
    (origin,) = run.flows[0].origins
    assert format_address(origin.address) == agent
    assert (origin.version, origin.domain) == (SFLOW5, 9)


@pytest.mark.parametrize(
    "agent",
    [
        "",
        "0.0.0.0",
        "127.0.0.1",
        "169.254.3.4",
        "::",
        "::1",
        "fe80::1",
        "febf::1",
        "::ffff:0.0.0.0",
    ],
)
def test_an_agent_that_names_no_device_is_who_sent_it(agent: str) -> None:
    run = run_of([sent(a.datagram([SAMPLE], agent=agent), by="192.0.2.1")])
    assert exporters(run) == ["192.0.2.1"]
    assert run.totals["flows"] == 1


def test_two_agents_behind_one_relay_are_apart() -> None:
    payloads = [
        a.datagram([SAMPLE], agent=agent, sequence=sequence)
        for sequence in (1, 2, 3)
        for agent in ("198.51.100.7", "198.51.100.8")
    ]
    run = run_of([sent(payload) for payload in payloads])
    assert exporters(run) == ["198.51.100.7", "198.51.100.8"]
    assert (run.totals["flows"], run.counts["lost"]) == (6, 0)


def test_one_datagram_over_two_relays_counts_once() -> None:
    payload = a.datagram([SAMPLE])
    run = run_of([sent(payload, by="192.0.2.1"), sent(payload, by="192.0.2.2")])
    assert (run.totals["flows"], run.counts["duplicate"]) == (1, 1)


def test_an_agent_is_in_one_partition_whichever_relay_it_came_through() -> None:
    datagrams = [
        sent(a.datagram([SAMPLE], agent=f"198.51.100.{agent}"), by=f"192.0.2.{relay}")
        for agent in range(1, 9)
        for relay in range(1, 9)
    ]
    parts = split_flows(encode_datagrams(datagrams), 16, 8_388_608)
    homes: dict[bytes, set[int]] = {}
    for partition, body in parts:
        block = decode_datagrams(body)
        for index in range(len(block)):
            homes.setdefault(block.datagram(index).payload, set()).add(partition)
    assert len(homes) == 8
    assert all(len(partitions) == 1 for partitions in homes.values())
    assert len(parts) > 3


def test_sub_agents_count_their_datagrams_apart() -> None:
    payloads = [
        a.datagram([SAMPLE], sub_agent=sub_agent, sequence=sequence)
        for sub_agent, sequence in ((0, 10), (1, 500), (0, 11), (1, 503), (0, 12))
    ]
    run = run_of([sent(payload) for payload in payloads])
    assert run.counts["lost"] == 2
    lost = {
        run.flows[0].origins[number].domain: count
        for (number, name), count in run.flows[0].counts.items()
        if name == "lost"
    }
    assert lost == {1: 2}


def test_a_late_datagram_takes_back_its_gap_and_the_number_wraps() -> None:
    numbers = [2**32 - 2, 2**32 - 1, 1, 0, 2]
    run = run_singly(
        [sent(a.datagram([SAMPLE], sequence=number)) for number in numbers], restart=True
    )
    assert run.counts["lost"] == 0
    assert run.totals["flows"] == 5
    gap = run_singly(
        [sent(a.datagram([SAMPLE], sequence=number)) for number in numbers[:3]], restart=True
    )
    assert gap.counts["lost"] == 1


def test_byte_identical_datagrams_count_once_also_after_a_restart() -> None:
    datagrams = [sent(a.datagram([SAMPLE], sequence=1))] * 3
    assert run_of(datagrams).totals["flows"] == 1
    run = run_singly(datagrams, restart=True)
    assert (run.totals["flows"], run.counts["duplicate"]) == (1, 2)


def test_the_settings_of_an_exporter_are_found_by_its_agent_address() -> None:
    by_source = FlowDecodeConfig(exporters=(ExporterConfig("192.0.2.1", sampling_rate=7),))
    by_agent = FlowDecodeConfig(exporters=(ExporterConfig("198.51.100.7", sampling_rate=7),))
    scaled = [
        run_of([sent(a.datagram([SAMPLE]))], config).totals["packets_scaled"]
        for config in (by_source, by_agent)
    ]
    assert scaled == [1_000, 7]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (a.datagram([SAMPLE])[:27], "header_truncated"),
        (a.datagram([SAMPLE], agent="2001:db8::7")[:39], "header_truncated"),
        (a.datagram([SAMPLE])[:4], "header_truncated"),
        (b"\0\0\0\4" + a.datagram([SAMPLE])[4:], "sflow_version"),
        (b"\0\0\0\2" + a.datagram([SAMPLE])[4:], "sflow_version"),
        (b"\0\0\0\5\0\0\0\3" + a.datagram([SAMPLE])[8:], "sflow_address_type"),
        (b"\0\0\0\7" + a.datagram([SAMPLE])[4:], "unknown_version"),
        (b"\0\0\0", "unknown_version"),
    ],
)
def test_a_datagram_that_cannot_be_read_is_refused_for_its_reason(
    payload: bytes, reason: str
) -> None:
    run = run_of([sent(payload)])
    refused = {name for name, count in run.counts.items() if count and name != "datagrams"}
    assert refused == {reason}
    assert exporters(run) == ["192.0.2.1"]


def test_netflow_and_sflow_of_one_address_in_one_block_are_apart() -> None:
    payloads = [
        a.datagram([SAMPLE], agent="192.0.2.1", sequence=1),
        x.v5([x.v5_record("10.0.0.1", "10.0.0.2", 700)]),
        x.v9([x.template(256, x.BASIC), x.data(256, [x.basic("10.0.0.1", "10.0.0.2", 50)])]),
        a.datagram([SAMPLE, SAMPLE], agent="192.0.2.1", sequence=2),
        x.ipfix([x.data(300, [bytes(8)])]),
    ]
    datagrams = [sent(payload) for payload in payloads]
    whole = run_of(datagrams)
    assert whole.totals["octets"] == 3 * 120 + 700 + 50
    assert sorted(o.version for o in whole.flows[0].origins) == [5, 9, 10, SFLOW5]
    assert whole.held == 1
    for order in itertools.permutations(datagrams):
        assert run_of(order).result() == whole.result()
    assert run_singly(datagrams, restart=True).result() == whole.result()


def test_names_of_netflow_stay_with_their_flows_beside_sflow() -> None:
    fields = (*x.BASIC, (371, 8))
    named = x.basic("10.0.0.1", "10.0.0.2", 50) + b"alice\0\0\0"
    template, data = x.template(256, fields, version=10), x.data(256, [named])
    run = run_of([sent(a.datagram([SAMPLE])), sent(x.ipfix([template, data]))])
    flows = run.flows[0].flows
    names = [flows.user_names[number] for number in flows.user_name.tolist()]
    assert dict(zip(flows.octets.tolist(), names, strict=True)) == {50: "alice", 120: ""}


def test_flows_of_a_mixed_block_keep_their_own_receive_times() -> None:
    """A data set that was released brings rows of its own, behind those of the block."""
    state = MemoryState()
    waiting = x.block_of([sent(x.v9([x.data(256, [x.basic("10.0.0.1", "10.0.0.2", 50)])]))])
    first = decode(state, waiting, watermark_at=0, config=PATIENT)
    state.apply(StepResult(changes=first.changes))
    later = x.block_of(
        [
            sent(a.datagram([SAMPLE]), received_at=NOW + 5_000),
            sent(x.v9([x.template(256, x.BASIC)], sequence=1), received_at=NOW + 7_000),
        ]
    )
    flows = decode(state, later, watermark_at=0, config=PATIENT).flows
    assert sorted(zip(flows.octets.tolist(), flows.received_at.tolist(), strict=True)) == [
        (50, NOW),
        (120, NOW + 5_000),
    ]


def test_what_the_block_says_of_the_sender_stays_as_it_is() -> None:
    block = x.block_of([sent(a.datagram([SAMPLE]))])
    decode(MemoryState(), block, watermark_at=0, config=PATIENT)
    assert block.source_address.tobytes() == x.mapped("192.0.2.1")
