"""Accounting goes through our RADIUS process on to FreeRADIUS, also when either dies meanwhile."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from collectors.radius.accounting import unique_session_id
from collectors.radius.packet import Packet
from infra.process import child_command
from tests.peers.peer_freeradius import freeradius
from tests.peers.test_coa import free_port
from tests.peers_available import require_peer

OUR_SECRET, THEIR_SECRET = "testing123", "second-secret"

_UNIQUE = ",".join(
    (
        *("%{User-Name}", "%{Acct-Session-Id}", "%{%{NAS-IPv6-Address}:-%{NAS-IP-Address}}"),
        *("%{NAS-Identifier}", "%{NAS-Port-Id}", "%{NAS-Port}"),
    )
)
"""What FreeRADIUS 3.2 takes for a session's Acct-Unique-Session-Id."""

_SERVER = """
max_request_time = 5
security {{
    allow_core_dumps = no
}}
instantiate {{
    expr
}}
modules {{
    expr {{
    }}
    detail {{
        filename = {directory}/accounting
        permissions = 0600
    }}
}}
client flowrate {{
    ipaddr = 127.0.0.1
    secret = {secret}
}}
server second {{
    listen {{
        type = acct
        ipaddr = 127.0.0.1
        port = {port}
        virtual_server = second
    }}
    preacct {{
        update request {{
            &Acct-Unique-Session-Id := "%{{md5:{unique}}}"
        }}
    }}
    accounting {{
        detail
    }}
}}
"""


def second_server(directory: Path, port: int) -> AbstractContextManager[None]:
    """Run FreeRADIUS as the second server."""
    return freeradius(directory, _SERVER, secret=THEIR_SECRET, port=port, unique=_UNIQUE)


@contextlib.contextmanager
def radius_process(directory: Path, ours: int, theirs: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run our RADIUS process of embedded mode with a relay."""
    settings = directory / "flowrate.toml"
    settings.write_text(
        f"""
        data_dir = "data"
        [metrics]
        is_enabled = false
        [collectors.radius]
        listen = ["127.0.0.1:{ours}"]
        receive_buffer_octets = 65536
        [collectors.radius.relay]
        server = "127.0.0.1:{theirs}"
        secret = "{THEIR_SECRET}"
        retry_first_milliseconds = 200
        retry_max_milliseconds = 500
        [[collectors.radius.clients]]
        nas_id = "nas"
        address = "127.0.0.1"
        secret = "{OUR_SECRET}"
        """
    )
    process = subprocess.Popen(child_command("radius", settings, ()), stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


def account(port: int, *sessions: str) -> float:
    """Send a Start of each session with radclient; return how long the slowest answer took."""
    slowest = 0.0
    for session in sessions:
        began = time.monotonic()
        packet = (
            f'Acct-Status-Type = Start, Acct-Session-Id = "{session}", User-Name = "karim",'
            " Class = 0x6169, Proxy-State = 0x6f6e65, NAS-Identifier = bras"
        )
        done = subprocess.run(
            [
                require_peer("radclient"),
                *["-r", "30", "-t", "1"],
                f"127.0.0.1:{port}",
                "acct",
                OUR_SECRET,
            ],
            input=packet.encode(),
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert b"Received Accounting-Response" in done.stdout, done
        slowest = max(slowest, time.monotonic() - began)
    return slowest


def eventually(condition: Callable[[], bool]) -> bool:
    for _ in range(600):
        if condition():
            return True
        time.sleep(0.05)
    return condition()


def test_freeradius_gets_what_the_nas_said_and_acknowledges(tmp_path: Path) -> None:
    ours, theirs = free_port(), free_port()
    logged = tmp_path / "second" / "accounting"
    with second_server(logged.parent, theirs), radius_process(tmp_path, ours, theirs):
        account(ours, "s1")
        assert eventually(lambda: logged.exists() and "Timestamp" in logged.read_text())
    text = logged.read_text()
    for line in (
        'Acct-Session-Id = "s1"',
        'User-Name = "karim"',
        "Class = 0x6169",
        'NAS-Identifier = "bras"',
        "Proxy-State = 0x6f6e65",
    ):
        assert line in text
    assert text.count("Proxy-State") == 2
    said = [(1, b"karim"), (44, b"s1"), (32, b"bras")]
    ours_id = unique_session_id(Packet(4, 1, 0, b"", tuple(said), ""))
    assert f'Acct-Unique-Session-Id = "{ours_id}"' in text


@pytest.mark.parametrize("signal_name", ["kill", "terminate"])
def test_nothing_is_lost_while_freeradius_is_down_and_we_are_restarted(
    tmp_path: Path, signal_name: str
) -> None:
    ours, theirs = free_port(), free_port()
    logged = tmp_path / "second" / "accounting"
    require_peer("freeradius")
    with radius_process(tmp_path, ours, theirs) as process:
        # Nobody answers there: the NAS gets its answers no later for it.
        assert account(ours, "s0") < 30  # radclient waits for our start.
        assert account(ours, "s1", "s2", "s3") < 1
        getattr(process, signal_name)()
        process.wait(30)
    with radius_process(tmp_path, ours, theirs):
        account(ours, "s4")
        with second_server(logged.parent, theirs):
            names = [f'Acct-Session-Id = "s{n}"' for n in range(5)]
            assert eventually(
                lambda: logged.exists() and all(name in logged.read_text() for name in names)
            )
