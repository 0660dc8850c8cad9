"""Alerts, commands to the routers, and how the processes are."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from api.instants import Instant
from api.models.values import Identity, Model, example


class Alert(Model):
    """A threshold crossed, once per period; percent 0 is a balance used up."""

    model_config = example(
        {
            "alert_id": "pool_01J9Z3/data/80/2026-11",
            "rating_key": "pool_01J9Z3",
            "name": "Rahman family",
            "subscriber_id": None,
            "meter_id": "data",
            "percent": 80,
            "quantity": 80_400_000_000,
            "threshold": 80_000_000_000,
            "period_start_at": "2026-10-31T18:00:00Z",
            "raised_at": "2026-11-21T09:02:11Z",
        }
    )

    alert_id: str
    rating_key: str
    name: str
    subscriber_id: str | None = None
    meter_id: str
    percent: int
    quantity: int
    threshold: int
    period_start_at: Instant
    raised_at: Instant


class CommandRequest(Model):
    """What the sessions of a subscriber should get; profile is needed to throttle."""

    model_config = example({"action": "throttle", "profile": "slow-2m"})

    action: Literal["throttle", "restore", "disconnect"]
    profile: Identity | None = Field(default=None)

    @model_validator(mode="after")
    def _names_its_profile(self) -> CommandRequest:
        if (self.profile is not None) != (self.action == "throttle"):
            raise ValueError("a profile with action throttle, and only there")
        return self


class SpeedProfile(Model):
    """A speed that a subscriber can be throttled to, by name; rates are bit/s.

    filter_name is the filter or address list of the NAS that goes with it, as for a walled garden.
    """

    model_config = example(
        {"name": "slow-2m", "up_bps": 1_000_000, "down_bps": 2_000_000, "filter_name": ""}
    )

    name: str
    up_bps: int
    down_bps: int
    filter_name: str = ""


Outcome = Literal["pending", "sent", "acknowledged", "refused", "timeout", "verified", "failed"]
"""What has become of a command so far."""


class CommandAccepted(Model):
    """A request the office will act on; its commands appear under commands_url."""

    model_config = example(
        {
            "request_id": "req_01J9Z6",
            "subscriber_id": "sub_01J9Z2",
            "action": "throttle",
            "profile": "slow-2m",
            "requested_by": "Front desk",
            "requested_at": "2026-11-21T10:15:02Z",
            "commands_url": "/v1/commands?subscriber_id=sub_01J9Z2",
        }
    )

    request_id: str
    subscriber_id: str
    action: str
    profile: str
    requested_by: str
    requested_at: Instant
    commands_url: str


class Command(Model):
    """One request to one NAS. acknowledged_at is the NAS's word, verified_at the proof."""

    model_config = example(
        {
            "command_id": "cmd_01J9Z7",
            "subscriber_id": "sub_01J9Z2",
            "subscriber_name": "Ayesha Rahman",
            "session_id": "nas1/81a0f3/1",
            "kind": "coa",
            "target": "profile:slow-2m",
            "attempt": 1,
            "vendor_profile": "mikrotik",
            "outcome": "verified",
            "error_cause": None,
            "reason": "allowance used up",
            "requested_at": "2026-11-21T10:15:02Z",
            "sent_at": "2026-11-21T10:15:02.040Z",
            "acknowledged_at": "2026-11-21T10:15:02.052Z",
            "verified_at": "2026-11-21T10:15:12Z",
        }
    )

    command_id: str
    subscriber_id: str
    subscriber_name: str
    session_id: str
    kind: str
    target: str
    attempt: int
    vendor_profile: str
    outcome: str
    error_cause: int | None = None
    reason: str = ""
    requested_at: Instant
    sent_at: Instant | None = None
    acknowledged_at: Instant | None = None
    verified_at: Instant | None = None


class Process(Model):
    """One supervised process; restarted_seconds_ago is null where it never was."""

    model_config = example(
        {
            "name": "engine",
            "state": "running",
            "started_at": "2026-11-21T10:00:00Z",
            "restarts": 1,
            "restarted_seconds_ago": 12,
            "reason": "exit status -9",
        }
    )

    name: str
    state: str
    started_at: Instant | None = None
    restarts: int = 0
    restarted_seconds_ago: int | None = None
    reason: str = ""


class Watermark(Model):
    """How far a stage has come: everything received before `at` is counted."""

    model_config = example(
        {"stage": "rate", "at": "2026-11-21T10:14:59Z", "behind_seconds": 1, "stalled": False}
    )

    stage: str
    at: Instant
    behind_seconds: int
    stalled: bool


class Status(Model):
    """The installation at a glance."""

    model_config = example(
        {
            "now": "2026-11-21T10:15:00Z",
            "healthy": True,
            "mode": "embedded",
            "supervised": True,
            "processes": [
                {
                    "name": "engine",
                    "state": "running",
                    "started_at": "2026-11-21T10:00:00Z",
                    "restarts": 0,
                    "restarted_seconds_ago": None,
                    "reason": "",
                }
            ],
            "watermarks": [
                {
                    "stage": "rate",
                    "at": "2026-11-21T10:14:59Z",
                    "behind_seconds": 1,
                    "stalled": False,
                }
            ],
        }
    )

    now: Instant
    healthy: bool
    mode: Literal["embedded", "cluster"]
    supervised: bool
    processes: list[Process]
    watermarks: list[Watermark]


class Health(Model):
    """Whether this process can serve: its database answers."""

    model_config = example({"status": "ok", "checks": {"database": "ok"}})

    status: Literal["ok", "failing"]
    checks: dict[str, Any]
