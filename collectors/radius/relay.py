"""Accounting relayed to a second server, without IO: what to send when, and what is done.

Retransmission is RFC 5080 §2.2.1's: the wait doubles from `retry_first_milliseconds` to
`retry_max_milliseconds`, a tenth up or down. A packet keeps Identifier and octets for
`attempt_seconds`, so that the server knows a retransmission; then it gets others, with the
Acct-Delay-Time of then. It is sent until it is acknowledged, however long the server is away.

How many packets are on their way at once is found out: one more with each acknowledgement, half at
each loss, so that a slow server is not flooded and one that is down is asked with one packet at a
time. Packets of one session go one after the other: a Stop must not overtake its Start.
"""

from __future__ import annotations

import dataclasses
import heapq
import zlib
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from collectors.config import RelayConfig
from collectors.radius.log_codec import AccountingPacket
from collectors.radius.packet import ACCOUNTING_RESPONSE, Packet, decode_packet, verify_response
from collectors.radius.relay_packets import (
    Place,
    RelaySetting,
    is_looping,
    relay_request,
    session_of,
)

IDENTIFIERS = 256
_WINDOW_FIRST = 16

ANSWER_REFUSALS = {
    "unexpected": "an answer to nothing that was asked, or to what was answered before",
    "malformed": "no packet, or not an Accounting-Response",
    "wrong_secret": "the Response Authenticator does not fit the secret (RFC 2866 §3)",
    "message_authenticator_wrong": "Message-Authenticator does not fit the secret",
}
"""Why an answer of the second server is not believed: reason -> meaning."""


class Transmission(NamedTuple):
    """A datagram to send: the number of the socket, the octets, and whether it was sent before."""

    socket: int
    octets: bytes
    is_repeated: bool


@dataclasses.dataclass(slots=True, eq=False)
class _Held:
    """A packet that is not done. ignored: how often the server acknowledged others instead."""

    place: Place
    packet: AccountingPacket
    session: tuple[str, bytes]
    slot: int = -1
    octets: bytes = b""
    attempt_began_at: int = 0
    sent_at: int = 0
    wait_ms: int = 0
    due_at: int = 0
    ignored: int = 0
    is_done: bool = False


class Relay:
    """The packets between the log and the second server; all times are ms.

    `acknowledged`, `abandoned` and `looping` count packets.
    """

    def __init__(self, config: RelayConfig, setting: RelaySetting) -> None:
        """Start with nothing to send."""
        self._config = config
        self._setting = setting
        self._ready: deque[_Held] = deque()
        self._behind: dict[tuple[str, bytes], deque[_Held]] = {}
        self._flying: dict[int, _Held] = {}
        self._due: list[tuple[int, int, _Held]] = []
        self._pushed = 0
        self._free = deque(range(sockets_of(config) * IDENTIFIERS))
        self._window = min(_WINDOW_FIRST, config.window_packets_max)
        self._halved_at = 0
        self._round_at = 0
        self._round_sent = 0
        self._heard_at = 0
        self._done: list[Place] = []
        self.acknowledged = self.abandoned = self.looping = 0

    # -- in ------------------------------------------------------------------------------------

    @property
    def held(self) -> int:
        """How many packets are neither acknowledged nor given up."""
        return len(self._ready) + len(self._flying) + sum(map(len, self._behind.values()))

    @property
    def flying(self) -> int:
        """How many packets were sent and not answered."""
        return len(self._flying)

    def take(self, block: int, packets: Sequence[tuple[int, AccountingPacket]]) -> None:
        """Take packets of a block with their indexes; what was relayed from here before is done."""
        for index, packet in packets:
            if is_looping(packet, self._setting.tag):
                self.looping += 1
                self._done.append((block, index))
            else:
                self._ready.append(_Held((block, index), packet, session_of(packet)))

    def drop_through(self, block: int) -> int:
        """Give up every packet of blocks up to one; return how many."""
        held = [*self._ready, *self._flying.values()]
        for waiting in self._behind.values():
            held += waiting
        gone = [each for each in held if each.place[0] <= block]
        for each in gone:
            self._finish(each)
        self._ready = deque(each for each in self._ready if not each.is_done)
        return len(gone)

    # -- out -----------------------------------------------------------------------------------

    def poll(self, now_at: int) -> list[Transmission]:
        """Return what is to be sent now."""
        out = self._repeat(now_at)
        while self._ready and len(self._flying) < self._window and self._free:
            held = self._ready.popleft()
            if held.is_done:
                continue
            waiting = self._behind.get(held.session)
            if waiting is not None:
                waiting.append(held)
                continue
            self._behind[held.session] = deque()
            self._begin(held, now_at)
            out.append(self._transmission(held, is_repeated=False))
        return out

    @property
    def due_at(self) -> int | None:
        """When `poll` has a retransmission to give, None where nothing is on its way."""
        return self._due[0][0] if self._due else None

    def _begin(self, held: _Held, now_at: int) -> None:
        """Give a packet an identifier, and the octets that it keeps for this attempt."""
        held.slot = self._free.popleft()
        self._flying[held.slot] = held
        identifier = held.slot % IDENTIFIERS
        held.octets = relay_request(held.packet, held.place, identifier, now_at, self._setting)
        held.attempt_began_at = held.sent_at = now_at
        held.wait_ms = self._config.retry_first_milliseconds
        self._push(held, now_at + _jittered(held, now_at))

    def _repeat(self, now_at: int) -> list[Transmission]:
        out: list[Transmission] = []
        round_ms = self._config.retry_first_milliseconds
        if now_at >= self._round_at + round_ms:
            self._round_at, self._round_sent = now_at, 0
        while self._due and self._due[0][0] <= now_at:
            due_at, _, held = heapq.heappop(self._due)
            if held.is_done or due_at != held.due_at:
                continue
            if self._round_sent >= self._window:
                # A server that is away is not asked with all that waits: the others wait a turn.
                self._push(held, self._round_at + round_ms)
                continue
            self._round_sent += 1
            self._note_loss(now_at)
            if self._heard_at > held.sent_at:
                held.ignored += 1
                if held.ignored >= self._config.ignored_transmissions_max:
                    self.abandoned += 1
                    self._finish(held)
                    continue
            out.append(self._sent_again(held, now_at))
        return out

    def _sent_again(self, held: _Held, now_at: int) -> Transmission:
        if now_at - held.attempt_began_at >= self._config.attempt_seconds * 1000 and self._free:
            del self._flying[held.slot]
            self._free.append(held.slot)
            self._begin(held, now_at)
            return self._transmission(held, is_repeated=True)
        held.sent_at = now_at
        held.wait_ms = min(2 * held.wait_ms, self._config.retry_max_milliseconds)
        self._push(held, now_at + _jittered(held, now_at))
        return self._transmission(held, is_repeated=True)

    def _push(self, held: _Held, due_at: int) -> None:
        held.due_at = due_at
        self._pushed += 1
        heapq.heappush(self._due, (due_at, self._pushed, held))

    def _transmission(self, held: _Held, *, is_repeated: bool) -> Transmission:
        return Transmission(held.slot // IDENTIFIERS, held.octets, is_repeated)

    def _note_loss(self, now_at: int) -> None:
        if now_at - self._halved_at >= self._config.retry_first_milliseconds:
            self._halved_at = now_at
            self._window = max(1, self._window // 2)

    # -- answers -------------------------------------------------------------------------------

    def answer(self, socket: int, datagram: bytes, now_at: int) -> str:
        """Take a datagram from the server; return "" for an acknowledgement, else a refusal.

        The refusals are the keys of ANSWER_REFUSALS.
        """
        response = decode_packet(datagram)
        if response.fault or response.code != ACCOUNTING_RESPONSE:
            return "malformed"
        held = self._flying.get(socket * IDENTIFIERS + response.identifier)
        if held is None:
            return "unexpected"
        request = Packet(
            held.octets[0], response.identifier, len(held.octets), held.octets[4:20], (), ""
        )
        reason = verify_response(datagram, response, request, self._setting.secret)
        if reason:
            return reason
        self._heard_at = now_at
        self._window = min(self._window + 1, self._config.window_packets_max)
        self.acknowledged += 1
        self._finish(held)
        return ""

    def _finish(self, held: _Held) -> None:
        """Mark a packet as done, and let the next one of its session go."""
        held.is_done = True
        self._done.append(held.place)
        waiting = self._behind.get(held.session)
        if held.slot >= 0:
            del self._flying[held.slot]
            self._free.append(held.slot)
            following = self._behind.pop(held.session)
            self._ready.extendleft(reversed(following))
        elif waiting is not None and held in waiting:
            waiting.remove(held)

    def done(self) -> list[Place]:
        """Return the places that are done since the last call."""
        done, self._done = self._done, []
        return done

    def oldest_received_at(self) -> int | None:
        """Return when the oldest packet that is not done was received, None where there is none."""
        flying = min((h.packet.received_at for h in self._flying.values()), default=None)
        ready = self._ready[0].packet.received_at if self._ready else None
        return min((at for at in (flying, ready) if at is not None), default=None)


def _jittered(held: _Held, now_at: int) -> int:
    """Return a packet's wait up to a tenth shorter or longer, each time by another part."""
    chance = zlib.crc32(f"{held.place}{now_at}".encode()) % 2_001
    return held.wait_ms + held.wait_ms * (chance - 1_000) // 10_000


def sockets_of(config: RelayConfig) -> int:
    """Return how many sockets are needed: an identifier rests before it is used again."""
    return -(-2 * config.window_packets_max // IDENTIFIERS)
