"""`flowrate cas-simulator`: a conditional-access gateway to try Flowrate on, with faults.

It speaks the protocol of docs/conditional-access.md over TCP and keeps what cards have in a file,
if one is named. Not part of an installation: no card decrypts anything by it.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import os
import random
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from billing.cable import protocol
from billing.cable.access import CasRequest
from infra.clock import system_ms
from infra.files import replace_whole
from infra.simulation.conditional_access import Faults, SimulatedCas, busy_answer, is_hit

EXIT_REFUSED = 1
CONNECTIONS_MAX = 64
"""Most clients at once; one more is closed."""


class Simulator:
    """A gateway in front of a simulated system. chance returns 0 to below 1."""

    def __init__(
        self,
        cas: SimulatedCas,
        secret: str,
        now_ms: Callable[[], int],
        *,
        faults: Faults | None = None,
        chance: Callable[[], float] = random.random,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """Remember the parts; `serve` opens the port."""
        self.cas = cas
        self.faults = faults or Faults()
        self.requests = 0
        self._secret = secret
        self._now_ms = now_ms
        self._chance = chance
        self._on_change = on_change
        self._writers: set[asyncio.StreamWriter] = set()

    async def serve(self, address: str, port: int) -> asyncio.Server:
        """Open the port and return the server. OSError where it is taken."""
        return await asyncio.start_server(
            self._client, address, port, limit=protocol.LINE_OCTETS_MAX
        )

    def restart(self) -> None:
        """Break every connection and forget which requests were answered."""
        self.cas.restart()
        for writer in list(self._writers):
            writer.transport.abort()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client until it goes or says something that cannot be."""
        if len(self._writers) >= CONNECTIONS_MAX:
            writer.close()
            return
        self._writers.add(writer)
        try:
            if await self._let_in(reader, writer):
                while line := await reader.readline():
                    await self._serve_line(line, writer)
        except (ConnectionError, ValueError, protocol.ProtocolError, asyncio.IncompleteReadError):
            pass  # what a client does wrong costs it its connection
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _let_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        nonce = os.urandom(16).hex()
        await _say(writer, protocol.greeting(nonce))
        [document] = protocol.Lines().feed(await reader.readline()) or [{}]
        is_known = protocol.is_login(document, self._secret, nonce)
        await _say(writer, {"ok": is_known})
        return is_known

    async def _serve_line(self, line: bytes, writer: asyncio.StreamWriter) -> None:
        """Answer one request, or let a fault happen to it."""
        [document] = protocol.Lines().feed(line) or [{}]
        try:
            request = protocol.decode_request(document)
        except ValueError as error:
            refusal = {"ok": False, "error": "invalid", "reason": str(error)}
            await _say(writer, {"id": document.get("id"), "card": document.get("card")} | refusal)
            return
        self.requests += 1
        if self.faults.restart_requests and self.requests % self.faults.restart_requests == 0:
            self.restart()
            return
        if self.faults.delay_milliseconds:
            await asyncio.sleep(self.faults.delay_milliseconds * self._chance() / 1000)
        if self._is_hit(self.faults.lost_before_percent):
            return
        said = self._answer_of(request)
        if not self._is_hit(self.faults.lost_after_percent):
            await _say(writer, said)

    def _answer_of(self, request: CasRequest) -> dict[str, Any]:
        if self._is_hit(self.faults.busy_percent):
            return protocol.encode_answer(request.card_serial, busy_answer(request))
        answer = self.cas.answer(request, self._now_ms())
        self._on_change()
        card = request.card_serial
        if self._is_hit(self.faults.wrong_card_percent):
            card = f"{card}0"
        return protocol.encode_answer(card, answer)

    def _is_hit(self, percent: int) -> bool:
        return percent > 0 and is_hit(percent, self._chance)


async def _say(writer: asyncio.StreamWriter, document: dict[str, Any]) -> None:
    writer.write(protocol.to_line(document))
    await writer.drain()


def main(arguments: Sequence[str]) -> int:
    """Run the simulator until it is told to stop; return the exit status."""
    options = _parser().parse_args(arguments)
    secret = os.environ.get("FLOWRATE_CAS_SECRET", "")
    cas = SimulatedCas()
    state: Path | None = options.state
    if state is not None and state.exists():
        try:
            cas.read_text(state.read_text(encoding="utf-8"))
        except (ValueError, KeyError, TypeError) as error:
            print(f"flowrate: {state}: no state of this simulator ({error})", file=sys.stderr)
            return EXIT_REFUSED
    given = {field.name: getattr(options, field.name) for field in dataclasses.fields(Faults)}
    simulator = Simulator(
        cas,
        secret,
        system_ms,
        faults=Faults(**given),
        chance=random.Random(options.seed).random,
        on_change=lambda: replace_whole(state, cas.to_text()) if state else None,
    )
    try:
        asyncio.run(_run(simulator, options.address, options.port))
    except OSError as error:
        print(f"flowrate: {options.address}:{options.port}: {error.strerror}", file=sys.stderr)
        return EXIT_REFUSED
    return 0


async def _run(simulator: Simulator, address: str, port: int) -> None:
    """Serve until SIGINT or SIGTERM."""
    server = await simulator.serve(address, port)
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    bound = server.sockets[0].getsockname()[1]
    print(f"conditional-access simulator on {address}:{bound}; Ctrl-C stops it", flush=True)
    async with server:
        await stopped.wait()
        simulator.restart()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flowrate cas-simulator",
        description="A conditional-access gateway with faults. FLOWRATE_CAS_SECRET is its secret.",
        allow_abbrev=False,
    )
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9750, help="TCP port; 0 takes a free one")
    parser.add_argument("--state", type=Path, metavar="FILE", help="keep what cards have here")
    parser.add_argument("--seed", type=int, default=1, help="of the faults' chance")
    for field in dataclasses.fields(Faults):
        flag = f"--{field.name.replace('_', '-')}"
        parser.add_argument(flag, type=int, default=0, metavar="N")
    return parser
