"""NATs in the corpus: what they export counts under the inside address, and events are no flows."""

from __future__ import annotations

import pytest

from collectors.adapters.captures import read_file
from rating.nat_pools import NatPool
from tests.corpus import corpus_path
from tests.streams.nat_stage import Decode, own_prefix, pool_entry

ELSEWHERE = ("10.0.0.0/8", "172.16.0.0/12")
"""What is outside of these NATs: they were recorded in laboratories."""


def decoded(names: tuple[str, ...], decode: Decode) -> Decode:
    for name in names:
        for datagram in read_file(corpus_path(f"netflow/logstash/{name}.dat")).datagrams:
            decode.take(datagram.payload)
    return decode


def test_nokias_first_format_tells_no_outside_port_and_translates_nothing() -> None:
    # The source, 10.0.1.228, is the outside address, and the only port is the inside one.
    pool = pool_entry(NatPool("10.0.1.0/24"))
    names = ("ipfix_test_nokia_bras_tpl", "ipfix_test_nokia_bras_data256")
    decode = decoded(names, Decode(pool, own_prefix("10.10.10.0/24")))
    assert not decode.sent
    assert not decode.counters["decode_flows"]
    assert decode.counters["decode_refused_nat_event_unusable"] == 1


@pytest.mark.parametrize(
    ("names", "inside"),
    [
        (
            ("netflow9_test_fortigate_fortios_542_appid_tpl258-269",
             "netflow9_test_fortigate_fortios_542_appid_data258_262"),
            "192.168.0.0/16",
        ),
        (
            ("ipfix_test_mikrotik_tpl", "ipfix_test_mikrotik_data258"),
            "192.168.0.0/16",
        ),
    ],
    ids=["fortigate", "mikrotik"],
)  # fmt: skip
def test_a_nats_own_flows_count_the_same_with_a_pool_and_without(
    names: tuple[str, ...], inside: str
) -> None:
    """Inside addresses are asked first: that the outside is a pool takes nothing from them."""
    alone = decoded(names, Decode(own_prefix(inside)))
    pools = [pool_entry(NatPool(prefix)) for prefix in ELSEWHERE]
    shared = decoded(names, Decode(own_prefix(inside), *pools))
    assert alone.inside()
    assert shared.inside() == alone.inside()
    assert not any(address.startswith("192.168.") for address, *_ in shared.outside())
