"""What every adapter to a conditional-access system promises (`ConditionalAccess`)."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from billing.adapters.cas_tcp import TcpConditionalAccess
from billing.cable.access import (
    BUSY,
    INVALID,
    WRONG_PAIRING,
    CardState,
    CasAnswer,
    CasRequest,
)
from billing.config import CasConfig
from infra.simulation.conditional_access import Faults, SimulatedCas
from tests.conformance.cas_adapters import ADAPTERS, SECRET, Gateway, Opened, monotonic_ms, tcp

FAR = 2**53


@pytest.fixture(params=ADAPTERS)
def opened(request: pytest.FixtureRequest) -> Iterator[Opened]:
    with ADAPTERS[request.param]() as adapter:
        yield adapter


def entitle(identity: str, card: str, name: str, until: int = FAR) -> CasRequest:
    return CasRequest(identity, "entitle", card, entitlement=name, expires_at=until)


def state(opened: Opened, card: str) -> CardState | None:
    return opened.ask(CasRequest(f"q-{card}-{monotonic_ms()}", "query", card)).popitem()[1].state


def test_each_operation_does_what_its_name_says(opened: Opened) -> None:
    answers = opened.ask(
        CasRequest("1", "pair", "C1", "B1"),
        entitle("2", "C1", "P1"),
        entitle("3", "C1", "P2"),
        CasRequest("4", "withdraw", "C1", entitlement="P1"),
        CasRequest("5", "message", "C1", text="আপনার বিল বাকি আছে"),
        CasRequest("6", "refresh", "C1"),
    )
    assert answers == {str(n): CasAnswer(str(n), True) for n in range(1, 7)}
    assert state(opened, "C1") == CardState("B1", {"P2": FAR})
    assert opened.cas.shown == [("C1", "আপনার বিল বাকি আছে"), ("C1", "refresh")]
    opened.ask(CasRequest("7", "unpair", "C1", "B1"))
    assert state(opened, "C1") == CardState("", {"P2": FAR})


def test_a_card_that_was_never_named_has_nothing(opened: Opened) -> None:
    assert state(opened, "C7") == CardState()


def test_requests_for_a_card_are_carried_out_in_order(opened: Opened) -> None:
    requests = []
    for number in range(60):
        operation = "withdraw" if number % 2 else "entitle"
        requests.append(CasRequest(f"r{number}", operation, "C1", entitlement="P1", expires_at=FAR))
    assert all(answer.is_answered for answer in opened.ask(*requests).values())
    assert state(opened, "C1") == CardState()
    opened.ask(entitle("last", "C1", "P1"))
    assert state(opened, "C1") == CardState("", {"P1": FAR})


def test_a_repetition_is_done_once_and_answered_as_the_first_time(opened: Opened) -> None:
    message = CasRequest("m", "message", "C1", text="hello")
    first = opened.ask(message)
    assert opened.ask(message) == first
    assert opened.cas.shown == [("C1", "hello")]


def test_a_refusal_names_the_error(opened: Opened) -> None:
    opened.ask(CasRequest("1", "pair", "C1", "B1"))
    answers = opened.ask(
        CasRequest("2", "pair", "C2", "B1"),
        CasRequest("3", "pair", "C1", "B2"),
        CasRequest("4", "unpair", "C1", "B2"),
        entitle("5", "C1", "P1", until=1),
    )
    assert [answers[n].error for n in "2345"] == [WRONG_PAIRING] * 3 + [INVALID]
    assert answers["2"].reason == "the box is paired with C1"


def test_an_entitlement_ends_by_itself(opened: Opened) -> None:
    soon = monotonic_ms() + 150
    opened.ask(entitle("1", "C1", "P1", until=soon), entitle("2", "C1", "P2"))
    assert state(opened, "C1") == CardState("", {"P1": soon, "P2": FAR})
    time.sleep(0.2)
    assert state(opened, "C1") == CardState("", {"P2": FAR})


def test_many_cards_at_once(opened: Opened) -> None:
    answers = opened.ask(*(entitle(f"r{n}", f"C{n}", "P1") for n in range(150)))
    assert len(answers) == 150
    assert all(state.entitlements == {"P1": FAR} for state in opened.cas.cards.values())


# What only a network can do --------------------------------------------------------------------


def test_a_lost_answer_is_silence_and_the_work_is_done() -> None:
    with tcp(Faults(lost_after_percent=100), answer_milliseconds=50) as opened:
        [answer] = opened.ask(entitle("1", "C1", "P1")).values()
        assert (answer.is_answered, answer.reason) == (False, "no answer in time")
        assert opened.cas.cards["C1"].entitlements == {"P1": FAR}


def test_a_lost_request_is_silence_and_nothing_is_done() -> None:
    with tcp(Faults(lost_before_percent=100), answer_milliseconds=50) as opened:
        [answer] = opened.ask(entitle("1", "C1", "P1")).values()
        assert not answer.is_answered
        assert opened.cas.cards == {}


def test_an_answer_about_another_card_is_not_believed() -> None:
    with tcp(Faults(wrong_card_percent=100)) as opened:
        [answer] = opened.ask(CasRequest("1", "query", "C1")).values()
        assert answer == CasAnswer("1", False, reason="the answer was about card 'C10'")


def test_busy_is_told_and_not_remembered() -> None:
    with tcp(Faults(busy_percent=100)) as opened:
        [answer] = opened.ask(entitle("1", "C1", "P1")).values()
        assert answer.error == BUSY
        assert opened.simulator is not None
        opened.simulator.faults = Faults()
        [answer] = opened.ask(entitle("1", "C1", "P1")).values()
        assert answer == CasAnswer("1", True)


def test_a_late_answer_belongs_to_nobody() -> None:
    with tcp(Faults(delay_milliseconds=400), answer_milliseconds=1) as opened:
        assert not opened.ask(entitle("1", "C1", "P1"))["1"].is_answered
        time.sleep(0.5)
        assert opened.access.poll(0) == []


def test_a_restart_silences_what_was_in_flight_and_is_connected_to_again() -> None:
    with tcp(Faults(restart_requests=3)) as opened:
        answers = opened.ask(*(entitle(f"r{n}", "C1", f"P{n}") for n in range(1, 4)))
        assert [answers[f"r{n}"].is_answered for n in (1, 2, 3)] == [True, True, False] or not any(
            answer.is_answered for answer in answers.values()
        ), "what came before the restart may be answered or lost with it"
        assert not answers["r3"].is_answered
        assert opened.ask(entitle("r4", "C1", "P4"))["r4"].is_answered


def test_where_nobody_listens_nothing_leaves() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    access = TcpConditionalAccess(CasConfig(port=port, secret=SECRET), monotonic_ms)
    assert not access.is_ready()
    assert access.send([entitle("1", "C1", "P1")]) == set()
    assert access.poll(0) == []
    access.close()


def test_a_wrong_secret_opens_nothing() -> None:
    with tcp(secret="guessed") as opened:
        for _ in range(50):
            assert not opened.access.is_ready()
            time.sleep(0.002)


@pytest.mark.parametrize(
    "octets", [b"SSH-2.0-x\r\n", b'{"protocol":"x"}\n', b"[]\n", b"x" * 20_000]
)
def test_who_does_not_speak_the_protocol_is_left(octets: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        config = CasConfig(port=server.getsockname()[1], secret=SECRET)
        access = TcpConditionalAccess(config, monotonic_ms)
        access.is_ready()
        client, _ = server.accept()
        with client:
            client.sendall(octets)
            client.settimeout(5)
            deadline = time.monotonic() + 5
            while time.monotonic() < deadline:
                assert not access.is_ready()
                try:
                    assert client.recv(100) == b"", "it says nothing to a stranger"
                    break
                except ConnectionError:
                    break
                except TimeoutError:
                    continue
            else:
                pytest.fail("the connection was kept")
        access.close()


def test_no_more_wait_than_the_window_holds() -> None:
    with tcp(Faults(lost_before_percent=100), window_requests=5) as opened:
        opened.until_ready()
        requests = [entitle(f"r{n}", "C1", "P1") for n in range(8)]
        assert opened.access.send(requests) == {f"r{n}" for n in range(5)}
        assert opened.access.send(requests[5:]) == set()


def test_a_gateway_that_comes_back_on_its_port_is_found() -> None:
    cas = SimulatedCas()
    gateway = Gateway(cas)
    gateway.start()
    opened = Opened(TcpConditionalAccess(gateway.config(), monotonic_ms), cas)
    try:
        assert opened.ask(entitle("1", "C1", "P1"))["1"].is_answered
        gateway.stop()
        deadline = time.monotonic() + 5
        while opened.access.is_ready():
            opened.access.poll(1)
            assert time.monotonic() < deadline
        gateway.start()
        assert opened.ask(entitle("2", "C1", "P2"))["2"].is_answered
    finally:
        opened.access.close()
        gateway.end()
