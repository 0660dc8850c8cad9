"""Sessions, decisions and a NAS of paper for the acting tests."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from billing.acting.commands import Command, Policy, Situation, advance
from billing.acting.desired import Desired
from billing.acting.exchange import CoaAnswer, CoaRequest, CoaTarget
from billing.acting.profiles import SpeedProfile
from rating.rows import LiveSession

SPEEDS = {
    "full": SpeedProfile("full", 50_000_000, 100_000_000),
    "slow": SpeedProfile("slow", 1_000_000, 2_000_000),
}
POLICY = Policy(SPEEDS, "full", 2, 1, 60_000, 10)
TARGET = CoaTarget("nas-1", "127.0.0.1", 3799, "secret", "mikrotik")


def session(**changes: Any) -> LiveSession:
    """Return a live session of karim at 30 Mbit/s, begun at 0."""
    whole = LiveSession(
        "s1", "nas-1", "127.0.0.1", "81a0", "karim", "karim@isp", "10.0.0.9", "", 0, 0, None, "",
        0, 0, 500_000, 30_000_000, 0,
    )  # fmt: skip
    return dataclasses.replace(whole, **changes)


def situation(
    desired: Desired,
    latest: Command | None = None,
    *,
    at: LiveSession | None = None,
    vendor: str | None = "mikrotik",
) -> Situation:
    """Return a situation of karim's session."""
    return Situation(at or session(), "dhk", desired, vendor, latest)


def first_command(target: str, **changes: Any) -> Command:
    """Return the first command that a target brings, changed."""
    (command,) = advance(situation(Desired(target, "")), POLICY, 1000)
    return dataclasses.replace(command, **changes)


class PaperNas:
    """A `CoaTransport` that answers as told, at once: ack, nak:<cause>, silence or nothing yet."""

    def __init__(self, answer: str, now_ms: Callable[[], int]) -> None:
        self.answer = answer
        self.requests: list[CoaRequest] = []
        self._waiting: list[CoaRequest] = []
        self._now_ms = now_ms

    def send(self, requests: Sequence[CoaRequest]) -> dict[str, int]:
        """Take requests."""
        self.requests += requests
        self._waiting += requests
        return {request.command_id: n % 256 for n, request in enumerate(requests)}

    def poll(self, wait_ms: int) -> list[CoaAnswer]:
        """Answer what was taken."""
        if self.answer == "nothing yet":
            return []
        waiting, self._waiting = self._waiting, []
        is_answered = self.answer != "silence"
        cause = int(self.answer.partition(":")[2] or 0) or None
        return [
            CoaAnswer(r.command_id, is_answered, self.answer == "ack", cause, self._now_ms(), 3)
            for r in waiting
        ]

    def close(self) -> None:
        """Nothing to free."""
