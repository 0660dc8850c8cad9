"""FreeRADIUS's radclient plays a session to our listener: it believes our answers, or gets none."""

from __future__ import annotations

import subprocess

import pytest

from collectors.adapters import radius_listener
from collectors.config import NasConfig, RadiusConfig
from collectors.radius.accounting import decode_record
from rating.accounting import AccountingRecord
from tests.collectors.adapters.running import Running, running
from tests.peers_available import require_peer

NAS = NasConfig("bng1", "127.0.0.1", "testing123")
CONFIG = RadiusConfig(listen=("127.0.0.1:0",), clients=(NAS,), receive_buffer_octets=1_048_576)

SESSION = (
    'Acct-Status-Type = Start, Acct-Session-Id = "5A001", User-Name = "rahim",'
    " NAS-IP-Address = 192.0.2.1, Framed-IP-Address = 10.0.0.7, Acct-Delay-Time = 0",
    'Acct-Status-Type = Interim-Update, Acct-Session-Id = "5A001", User-Name = "rahim",'
    " Acct-Session-Time = 300, Acct-Input-Octets = 1000, Acct-Output-Octets = 4000000000,"
    " Acct-Output-Gigawords = 1, Delegated-IPv6-Prefix = 2001:db8:77::/56",
    'Acct-Status-Type = Stop, Acct-Session-Id = "5A001", User-Name = "rahim",'
    " Acct-Session-Time = 600, Acct-Input-Octets = 2000, Acct-Output-Octets = 5,"
    ' Acct-Output-Gigawords = 2, Acct-Terminate-Cause = User-Request, Class = "gold"',
)


def radclient(
    shell: Running,
    requests: tuple[str, ...],
    *options: str,
    secret: str,
    command: str = "acct",
) -> str:
    """What radclient says; requests are sent one after another, each when the last is answered."""
    program = require_peer("radclient")
    server = f"127.0.0.1:{shell.ports[0]}"
    done = subprocess.run(
        [program, "-x", *options, server, command, secret],
        input="\n\n".join(requests) + "\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout + done.stderr


def records(shell: Running) -> list[AccountingRecord]:
    found = [decode_record(packet, NAS, CONFIG) for packet in shell.log.packets()]
    assert all(isinstance(record, AccountingRecord) for record in found), found
    return [record for record in found if isinstance(record, AccountingRecord)]


def test_a_session_is_answered_and_understood() -> None:
    with running(radius_listener.run, CONFIG) as shell:
        said = radclient(shell, SESSION, secret="testing123")
        start, interim, stop = records(shell)
    assert said.count("Received Accounting-Response") == 3
    assert [r.status for r in (start, interim, stop)] == ["start", "interim", "stop"]
    assert {r.user_name for r in (start, interim, stop)} == {"rahim"}
    assert start.framed_address == bytes(10) + b"\xff\xff\x0a\0\0\7"
    assert start.nas_address == bytes(10) + b"\xff\xff\xc0\0\2\1"
    assert (start.octets_up, start.octets_down) == (None, None)
    assert (interim.octets_up, interim.octets_down) == (1_000, 4_000_000_000 + (1 << 32))
    (prefix,) = interim.delegated_prefixes
    assert (prefix.address.hex(), prefix.length) == ("20010db80077" + "00" * 10, 56)
    assert (stop.octets_up, stop.octets_down, stop.session_seconds) == (2_000, 5 + (2 << 32), 600)
    assert (stop.terminate_cause, stop.classes) == (1, (b"gold",))


def test_radclient_signs_with_message_authenticator_as_we_verify_it() -> None:
    strict = NasConfig("bng1", "127.0.0.1", "testing123", require_message_authenticator=True)
    config = RadiusConfig(("127.0.0.1:0",), (strict,), 1_048_576)
    signed = tuple(f"{request}, Message-Authenticator = 0x00" for request in SESSION)
    with running(radius_listener.run, config) as shell:
        said = radclient(shell, signed, secret="testing123")
        assert len(records(shell)) == 3
        unsigned = radclient(shell, SESSION[:1], "-r", "1", "-t", "1", secret="testing123")
    assert said.count("Received Accounting-Response") == 3
    assert "No reply" in unsigned


def test_a_wrong_secret_gets_no_answer() -> None:
    with running(radius_listener.run, CONFIG) as shell:
        said = radclient(shell, SESSION[:1], "-r", "2", "-t", "1", secret="guess")
        assert shell.log.packets() == []
        assert shell.counters.get("radius_refused_packets", "wrong_secret") == 2
    assert "Received Accounting-Response" not in said
    assert "No reply" in said


def test_a_retransmission_while_the_disk_is_slow_is_logged_once() -> None:
    program = require_peer("radclient")
    with running(radius_listener.run, CONFIG) as shell:
        shell.log.pause.clear()
        server = f"127.0.0.1:{shell.ports[0]}"
        command = [program, "-x", "-r", "5", "-t", "0.3", server, "acct", "testing123"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as peer:
            assert peer.stdin is not None
            peer.stdin.write(SESSION[0] + "\n")
            peer.stdin.close()
            assert shell.log.entered.wait(10)
            with pytest.raises(subprocess.TimeoutExpired):
                peer.wait(1)
            shell.log.pause.set()
            assert peer.wait(20) == 0
        assert len(shell.log.packets()) == 1
        assert shell.counters.get("radius_duplicate_packets") >= 1


def test_status_server_is_answered() -> None:
    with running(radius_listener.run, CONFIG) as shell:
        said = radclient(
            shell, ("Message-Authenticator = 0x00",), secret="testing123", command="status"
        )
        assert shell.log.packets() == []
    assert "Received Accounting-Response" in said
