"""A CoA leaves and is answered: FreeRADIUS plays the NAS and reads it by its own dictionaries.

FreeRADIUS checks every request it answers: a wrong Request Authenticator or a wrong
Message-Authenticator is dropped without a word, so an ACK proves both.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from billing.acting.exchange import CoaAnswer, CoaRequest, CoaTarget
from billing.acting.profiles import (
    VENDOR_PROFILES,
    SpeedProfile,
    VendorProfile,
    identity_of,
    speed_attributes,
)
from billing.adapters.coa import UdpCoaTransport
from rating.rows import LiveSession
from tests.peers.peer_freeradius import freeradius

SECRET = "testing-coa-123"

_SERVER = """
max_request_time = 5
security {{
    allow_core_dumps = no
}}
modules {{
    always ok {{
        rcode = ok
    }}
    always reject {{
        rcode = reject
    }}
    detail {{
        filename = {directory}/requests
        permissions = 0600
    }}
}}
client nas {{
    ipaddr = 127.0.0.1
    secret = {secret}
    require_message_authenticator = yes
}}
server coa {{
    listen {{
        type = coa
        ipaddr = 127.0.0.1
        port = {port}
        virtual_server = coa
    }}
    recv-coa {{
        detail
        if (&User-Name == "unknown") {{
            update reply {{
                Error-Cause := Session-Context-Not-Found
            }}
            reject
        }}
        ok
    }}
    send-coa {{
        ok
    }}
}}
"""


@pytest.fixture(scope="module")
def nas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[CoaTarget, Path]]:
    """Run FreeRADIUS as a NAS on a free loopback port; yield its target and request log."""
    directory = tmp_path_factory.mktemp("freeradius")
    port = free_port()
    with freeradius(directory, _SERVER, secret=SECRET, port=port):
        yield CoaTarget("nas-1", "127.0.0.1", port, SECRET, "mikrotik"), directory / "requests"


def free_port() -> int:
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(target: CoaTarget, kind: str, profile: VendorProfile, user_name: str) -> CoaAnswer:
    """Send one request and return what became of it."""
    session = LiveSession(
        "s1", "nas-1", "127.0.0.1", "81a0", "karim", user_name, "10.0.0.9", "", 0, 0, None, "",
        0, 0, 0, 0, 0,
    )  # fmt: skip
    attributes = identity_of(profile, session)
    if kind == "coa":
        attributes += speed_attributes(profile, SpeedProfile("slow", 1_000_000, 2_000_000))
    transport = UdpCoaTransport((500, 500), lambda: time.time_ns() // 1_000_000)
    try:
        left = transport.send([CoaRequest("c1", kind, target, attributes)])
        assert list(left) == ["c1"]
        for _ in range(40):
            if answers := transport.poll(100):
                return answers[0]
        pytest.fail("neither answer nor silence")
    finally:
        transport.close()


@pytest.mark.parametrize("kind", ["coa", "disconnect"])
def test_freeradius_acknowledges_our_request(nas: tuple[CoaTarget, Path], kind: str) -> None:
    answer = ask(nas[0], kind, VENDOR_PROFILES["mikrotik"], "karim")
    assert (answer.is_answered, answer.is_ack, answer.error_cause) == (True, True, None)


def test_freeradius_refuses_with_a_cause(nas: tuple[CoaTarget, Path]) -> None:
    answer = ask(nas[0], "disconnect", VENDOR_PROFILES["mikrotik"], "unknown")
    assert (answer.is_answered, answer.is_ack, answer.error_cause) == (True, False, 503)


def test_a_wrong_secret_is_silence(nas: tuple[CoaTarget, Path]) -> None:
    target = nas[0]
    wrong = CoaTarget("nas-1", target.address, target.port, "wrong", "mikrotik")
    answer = ask(wrong, "coa", VENDOR_PROFILES["mikrotik"], "karim")
    assert (answer.is_answered, answer.transmissions) == (False, 2)


EXPECTED = {
    "mikrotik": ['Mikrotik-Rate-Limit = "1000000/2000000"'],
    "wispr": ["WISPr-Bandwidth-Max-Up = 1000000", "WISPr-Bandwidth-Max-Down = 2000000"],
    "cisco": [
        'Cisco-AVPair = "ip:sub-qos-policy-in=slow-up"',
        'Cisco-AVPair = "ip:sub-qos-policy-out=slow-down"',
    ],
    "juniper": ['ERX-Ingress-Policy-Name = "slow-up"', 'ERX-Egress-Policy-Name = "slow-down"'],
    "huawei": ["Huawei-Input-Average-Rate = 1000000", "Huawei-Output-Average-Rate = 2000000"],
    "nokia": [
        'Alc-Subscriber-QoS-Override = "i:r:rate=1000"',
        'Alc-Subscriber-QoS-Override = "e:r:rate=2000"',
    ],
    "accel-ppp": ['Filter-Id = "2000/1000"'],
    "cambium": [
        "Cambium-ePMP-Max-Burst-Uplink-Rate = 1000",
        "Cambium-ePMP-Max-Burst-Downlink-Rate = 2000",
    ],
}
"""How FreeRADIUS, with its own dictionaries, reads what each vendor profile sends."""


@pytest.mark.parametrize("vendor", sorted(EXPECTED))
def test_freeradius_reads_each_vendors_attributes(nas: tuple[CoaTarget, Path], vendor: str) -> None:
    target, requests = nas
    requests.write_text("")
    assert ask(target, "coa", VENDOR_PROFILES[vendor], "karim").is_ack
    logged = requests.read_text()
    assert [line for line in EXPECTED[vendor] if line not in logged] == []
    assert "Event-Timestamp" in logged
    assert 'Acct-Session-Id = "81a0"' in logged
