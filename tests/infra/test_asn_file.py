"""Files of AS numbers: both layouts, both families, and files that are none."""

from __future__ import annotations

import ipaddress
import random
from pathlib import Path

import numpy as np
import pytest

from infra.asn_file import AsnFileError, digest_of, read_asn_file
from rating.addresses import pack_address
from rating.asn_table import AsnTable, build_table, decode_table, encode_table
from tests.asn_files import Record, geolite, ipinfo, write_mmdb


def asns(table: AsnTable, *addresses: str) -> list[int]:
    packed = b"".join(pack_address(address) for address in addresses)
    halves = np.frombuffer(packed, ">u8").reshape(-1, 2).astype(np.uint64)
    found: list[int] = table.find(halves[:, 0], halves[:, 1]).tolist()
    return found


NETWORKS: dict[str, Record] = {
    "192.0.2.0/24": geolite(64_500, "Example"),
    "198.51.100.0/25": geolite(4_200_000_000),
    "198.51.100.128/25": geolite(64_502),
    "2001:db8::/32": geolite(64_503),
    "2001:db9:0:1::/64": geolite(64_504),
    "2001:db9:0:2::8/125": geolite(64_505),
}


@pytest.mark.parametrize("record_size", [24, 28, 32])
def test_networks_of_both_families(tmp_path: Path, record_size: int) -> None:
    table = read_asn_file(write_mmdb(tmp_path / "a.mmdb", NETWORKS, record_size=record_size))
    assert table.networks == 6
    assert table.names[64_500] == "Example"
    assert asns(table, "192.0.1.255", "192.0.2.0", "192.0.2.255", "192.0.3.0") == [
        0,
        64_500,
        64_500,
        0,
    ]
    assert asns(table, "198.51.100.127", "198.51.100.128") == [4_200_000_000, 64_502]
    assert asns(table, "2001:db8:ffff::1", "2001:db9:0:1::", "2001:db9:0:1:ffff::") == [
        64_503, 64_504, 64_504,
    ]  # fmt: skip
    deep = [f"2001:db9:0:2::{end}" for end in ("7", "8", "f", "10")]
    assert asns(table, *deep) == [0, 64_505, 64_505, 0]
    assert asns(table, "::", "ffff::", "0.0.0.0", "255.255.255.255", "::c000:200") == [0] * 5


def test_ipinfo_writes_its_numbers_as_text(tmp_path: Path) -> None:
    networks = {"192.0.2.0/24": ipinfo(64_500, "Example"), "198.51.100.0/24": {"asn": 64_501}}
    table = read_asn_file(write_mmdb(tmp_path / "a.mmdb", networks))
    assert asns(table, "192.0.2.1", "198.51.100.1") == [64_500, 64_501]
    assert table.names == {64_500: "Example"}


def test_a_file_of_ipv4_only(tmp_path: Path) -> None:
    path = write_mmdb(tmp_path / "a.mmdb", {"192.0.2.0/24": geolite(64_500)}, ip_version=4)
    assert asns(read_asn_file(path), "192.0.2.1", "2001:db8::1") == [64_500, 0]


def test_places_that_stand_for_ipv4_again_count_once(tmp_path: Path) -> None:
    path = write_mmdb(tmp_path / "a.mmdb", NETWORKS, aliases=["2002::/16", "::ffff:0:0/96"])
    table = read_asn_file(path)
    assert table.networks == 6
    assert asns(table, "192.0.2.1") == [64_500]


@pytest.mark.parametrize(
    "record",
    [
        {"asn": ""}, {"asn": "AS"}, {"asn": "ASX"}, {"asn": 0}, {"asn": "AS4294967296"},
        {"asn": ["AS1"]}, {"country": "NP"}, {"autonomous_system_number": 1 << 40},
    ],
)  # fmt: skip
def test_a_record_without_a_number_that_can_be_is_no_network(
    tmp_path: Path, record: Record
) -> None:
    networks = {"192.0.2.0/24": record, "198.51.100.0/24": geolite(64_500)}
    table = read_asn_file(write_mmdb(tmp_path / "a.mmdb", networks))
    assert table.networks == 1
    assert asns(table, "192.0.2.1", "198.51.100.1") == [0, 64_500]


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = write_mmdb(tmp_path / "city.mmdb", {"192.0.2.0/24": {"city": "Pokhara"}})
    with pytest.raises(AsnFileError, match="no network with autonomous_system_number or asn"):
        read_asn_file(path)


def test_a_file_that_is_none_is_refused_and_never_a_crash(tmp_path: Path) -> None:
    whole = write_mmdb(tmp_path / "a.mmdb", NETWORKS).read_bytes()
    path = tmp_path / "broken.mmdb"
    chance = random.Random(1)
    bodies = [b"", b"text", whole[:-40], whole[200:]]
    bodies += [whole[: chance.randrange(len(whole))] for _ in range(40)]
    for _ in range(200):
        broken = bytearray(whole)
        broken[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        bodies.append(bytes(broken))
    refused = 0
    for body in bodies:
        path.write_bytes(body)
        try:
            read_asn_file(path)
        except AsnFileError:
            refused += 1
    assert refused >= 44
    with pytest.raises(AsnFileError, match="No such file"):
        read_asn_file(tmp_path / "absent.mmdb")
    with pytest.raises(AsnFileError, match="No such file"):
        digest_of(tmp_path / "absent.mmdb")


def test_a_table_comes_back_from_its_octets(tmp_path: Path) -> None:
    table = read_asn_file(write_mmdb(tmp_path / "a.mmdb", NETWORKS))
    again = decode_table(encode_table(table))
    assert (again.networks, again.names) == (table.networks, table.names)
    addresses = ["192.0.2.1", "198.51.100.200", "2001:db9:0:2::9", "2001:db9:0:2::7", "9.9.9.9"]
    assert asns(again, *addresses) == asns(table, *addresses)
    with pytest.raises(ValueError, match="no table"):
        decode_table(b"nonsense")


def test_the_table_agrees_with_looking_at_every_network() -> None:
    chance = random.Random(2)
    for _ in range(40):
        v4: list[tuple[int, int, int]] = []
        v6: list[tuple[int, int, int]] = []
        for networks, width, block in ((v4, 32, 8), (v6, 128, 68)):
            at = chance.getrandbits(width - 2)
            for _ in range(chance.randrange(12)):
                first = at + chance.choice((0, 0, 1, 300, 1 << block))
                last = first + chance.choice((0, 1, 255, (1 << block) - 1))
                networks.append((first, last, chance.randrange(1, 4)))
                at = last + 1
        table = build_table(v4, v6, {})
        for networks, family in ((v4, ipaddress.IPv4Address), (v6, ipaddress.IPv6Address)):
            for first, last, _ in networks:
                for number in (first - 1, first, first + 1, last, last + 1):
                    expected = next((a for f, e, a in networks if f <= number <= e), 0)
                    assert asns(table, str(family(number))) == [expected]


@pytest.mark.parametrize("networks", [[(5, 9, 1), (9, 12, 2)], [(5, 9, 1), (1, 2, 2)], [(9, 5, 1)]])
def test_networks_that_overlap_or_go_back_are_refused(networks: list[tuple[int, int, int]]) -> None:
    with pytest.raises(ValueError, match="overlap"):
        build_table(networks, [], {})
