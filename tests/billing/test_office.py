"""The office's loop over a real database and a NAS of paper."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select, update

from billing.accounts import Pool
from billing.acting.desired import CommandRequest
from billing.acting.exchange import CoaTarget
from billing.adapters import tables
from billing.adapters.channels import LogChannel, NotDeliveredError, UnknownDeliveryError
from billing.adapters.databases import reading, writing
from billing.adapters.notifications import Delivery
from billing.adapters.office import ActingLoop, BillingLoop, OfficeLoop
from billing.adapters.repositories import create, create_directory_entry
from billing.adapters.rows import write_rows
from billing.config import ActingConfig, BillingConfig, OfficeConfig, SpeedProfileConfig
from rating.records import DirectoryEntry
from rating.rows import Alert, DesiredService, LiveSession
from tests.billing import world
from tests.billing.acting_world import TARGET, PaperNas, session
from tests.billing.conftest import NewDatabase
from tests.billing.world import add_customer, close_month, home_plan

CONFIG = OfficeConfig(
    billing=BillingConfig(interval_seconds=0),
    acting=ActingConfig(
        round_interval_seconds=3_600,
        interval_seconds=0,
        speed_profiles=(
            SpeedProfileConfig("full", 50_000_000, 100_000_000),
            SpeedProfileConfig("slow", 1_000_000, 2_000_000),
        ),
        verify_timeout_seconds=60,
    ),
)


class Office:
    """A database, an office loop, a NAS of paper, and a clock that moves when told."""

    def __init__(self, engine: Engine, directory: Path) -> None:
        self.engine = engine
        self.now = world.at("2026-11-15")
        self.config = CONFIG
        self.nas = PaperNas("ack", lambda: self.now)
        self.channels: list[Any] = [LogChannel(directory / "notifications.log")]
        self.start()

    def start(self) -> None:
        """Begin a new office process."""
        acting = ActingLoop(
            self.engine, self.config, self.nas, lambda s: find_target(s), self.channels
        )
        self.loop = OfficeLoop(BillingLoop(self.engine, self.config.billing), acting)

    def run(self, seconds: int = 1) -> None:
        """Let time pass and run one round."""
        self.now += seconds * 1000
        self.loop.run_once(self.now)

    def write(self, *rows: Any) -> None:
        """Write rows as the engine does."""
        with writing(self.engine) as connection:
            write_rows(connection, rows)

    def commands(self) -> list[tuple[str, str, str]]:
        """Return (subscriber, kind and target, outcome) of all commands in order."""
        table = tables.command.c
        with reading(self.engine) as connection:
            rows = connection.execute(
                select(table.subscriber_id, table.kind, table.target, table.outcome).order_by(
                    table.requested_at, table.command_id
                )
            ).all()
        return [(r.subscriber_id, f"{r.kind} {r.target}", r.outcome) for r in rows]


def find_target(session: LiveSession) -> CoaTarget | None:
    return TARGET if session.nas_id == "nas-1" else None


@pytest.fixture
def office(new_database: NewDatabase, tmp_path: Path) -> Office:
    office = Office(new_database(), tmp_path)
    with writing(office.engine) as connection:
        create(connection, world.BRANCH)
        create(connection, home_plan())
        for name in ("karim", "rahim", "selim"):
            add_customer(connection, name)
    office.write(
        *(
            session(session_id=f"s-{name}", subscriber_id=name, user_name=name)
            for name in ("karim", "rahim", "selim")
        )
    )
    return office


def test_an_idle_office_does_nothing(office: Office) -> None:
    office.run()
    assert (office.commands(), office.nas.requests) == ([], [])


def test_a_new_decision_does_not_wait_for_the_comparison_of_everything(office: Office) -> None:
    office.config = dataclasses.replace(
        CONFIG, acting=dataclasses.replace(CONFIG.acting, interval_seconds=3_600)
    )
    office.start()
    office.run()
    office.write(
        DesiredService("karim", "profile:slow", "fair use", office.now),
        DesiredService("rahim", "active", "plan", office.now),
        DesiredService("selim", "profile:slow", "fair use", office.now - 60_000),
    )
    office.run()
    slow = ("karim", "coa profile:slow", "acknowledged")
    assert office.commands() == [slow]
    office.run()
    office.write(DesiredService("karim", "active", "topped up", office.now))
    office.run()
    assert office.commands() == [slow, ("karim", "coa active", "acknowledged")]
    office.run(3_600)
    assert office.commands()[2:] == [("selim", "coa profile:slow", "acknowledged")]


def test_a_throttle_is_sent_acknowledged_and_verified(office: Office) -> None:
    office.write(DesiredService("karim", "profile:slow", "fair use", office.now))
    office.run()
    assert office.commands() == [("karim", "coa profile:slow", "acknowledged")]
    (request,) = office.nas.requests
    assert ("Mikrotik-Rate-Limit", "1000000/2000000") in request.attributes
    slow = {"interval_start_at": office.now, "rate_down_bps": 1_900_000, "user_name": "karim"}
    office.write(session(session_id="s-karim", **slow))
    office.run()
    assert office.commands() == [("karim", "coa profile:slow", "verified")]
    office.run()
    assert len(office.nas.requests) == 1


def test_a_verified_throttle_that_is_exceeded_later_is_sent_again(office: Office) -> None:
    office.write(DesiredService("karim", "profile:slow", "fair use", office.now))
    office.run()
    office.write(session(session_id="s-karim", interval_start_at=office.now, rate_down_bps=0))
    office.run()
    idle = office.now
    office.run()
    office.write(session(session_id="s-karim", interval_start_at=idle, rate_down_bps=2_200_000))
    office.run()
    slow = ("karim", "coa profile:slow", "verified")
    assert office.commands() == [slow]  # 10 % above is within the tolerance
    office.write(session(session_id="s-karim", interval_start_at=idle, rate_down_bps=9_000_000))
    office.run()
    assert office.commands() == [slow, ("karim", "coa profile:slow", "acknowledged")]


def test_a_late_decision_waits_for_the_next_look_at_changes_alone(office: Office) -> None:
    office.run()
    an_hour_ago = office.now - 3_600_000
    office.write(DesiredService("karim", "profile:slow", "fair use", an_hour_ago))
    office.run()
    office.write(DesiredService("karim", "active", "topped up", an_hour_ago + 1))
    office.run()
    assert [c[1] for c in office.commands()] == ["coa profile:slow", "coa active"]


def test_a_membership_that_ends_at_its_time_is_noticed_when_everything_is_compared(
    office: Office,
) -> None:
    ends_at = office.now + 20_000
    entry = DirectoryEntry("m-karim", 1, "membership", "karim", "family", 0, 0, ends_at)
    with writing(office.engine) as connection:
        create_directory_entry(connection, "dhk", entry)
    office.write(DesiredService("family", "profile:slow", "fair use", office.now))
    office.run()
    office.run(30)
    assert [c[1] for c in office.commands()] == ["coa profile:slow"]
    office.run(3_600)
    assert [c[1] for c in office.commands()] == ["coa profile:slow", "coa active"]


def test_a_pool_throttles_every_member_and_restores_each(office: Office) -> None:
    with writing(office.engine) as connection:
        create(connection, Pool("family", "dhk", "karim", "Family"))
        for name in ("karim", "rahim"):
            entry = DirectoryEntry(f"m-{name}", 1, "membership", name, "family", 0, 0, None)
            create_directory_entry(connection, "dhk", entry)
    office.write(DesiredService("family", "profile:slow", "fair use", office.now))
    office.run()
    assert office.commands() == [
        ("karim", "coa profile:slow", "acknowledged"),
        ("rahim", "coa profile:slow", "acknowledged"),
    ]
    office.write(DesiredService("family", "active", "new period", office.now))
    office.run()
    assert office.commands()[2:] == [
        ("karim", "coa active", "acknowledged"),
        ("rahim", "coa active", "acknowledged"),
    ]
    assert ("Mikrotik-Rate-Limit", "50000000/100000000") in office.nas.requests[-1].attributes


def set_status(office: Office, subscriber_id: str, status: str) -> None:
    table = tables.subscriber
    with writing(office.engine) as connection:
        connection.execute(
            update(table).where(table.c.subscriber_id == subscriber_id).values(status=status)
        )


@pytest.fixture
def family(office: Office) -> Office:
    """Karim and Rahim share a pool; Selim has a line of his own."""
    with writing(office.engine) as connection:
        create(connection, Pool("family", "dhk", "karim", "Family"))
        for name in ("karim", "rahim"):
            entry = DirectoryEntry(f"m-{name}", 1, "membership", name, "family", 0, 0, None)
            create_directory_entry(connection, "dhk", entry)
    return office


@pytest.mark.parametrize("status", ["suspended", "ended"])
def test_a_suspended_pool_member_is_cut_off_and_the_others_are_not(
    family: Office, status: str
) -> None:
    set_status(family, "rahim", status)
    family.run()
    assert family.commands() == [("rahim", "disconnect blocked", "acknowledged")]


def test_a_suspended_member_who_logs_in_again_is_cut_off_again(family: Office) -> None:
    set_status(family, "rahim", "suspended")
    family.run()
    ended = {"subscriber_id": "rahim", "user_name": "rahim"}
    family.write(session(session_id="s-rahim", ended_at=family.now, **ended))
    family.run()
    family.write(session(session_id="s-rahim-2", started_at=family.now, **ended))
    family.run()
    assert [c[0] for c in family.commands()] == ["rahim", "rahim"]
    set_status(family, "rahim", "active")
    family.write(session(session_id="s-rahim-2", ended_at=family.now, **ended))
    family.write(session(session_id="s-rahim-3", started_at=family.now, **ended))
    family.run()
    family.run()
    assert len(family.commands()) == 2


def test_a_clerks_restore_does_not_lift_a_members_suspension(family: Office) -> None:
    set_status(family, "rahim", "suspended")
    request = CommandRequest("r1", "dhk", "rahim", "restore", "", "Nasrin", family.now + 1)
    with writing(family.engine) as connection:
        connection.execute(tables.command_request.insert(), [dataclasses.asdict(request)])
    family.run()
    assert family.commands() == [("rahim", "disconnect blocked", "acknowledged")]


def test_a_line_of_its_own_is_suspended_by_rate_at_its_time(family: Office) -> None:
    """The status is set when the change is accepted; rate blocks when it takes effect."""
    set_status(family, "selim", "suspended")
    family.run()
    assert family.commands() == []
    family.write(DesiredService("selim", "blocked", "suspended", family.now))
    family.run()
    assert family.commands() == [("selim", "disconnect blocked", "acknowledged")]


def test_a_member_who_left_the_pool_is_restored(office: Office) -> None:
    entry = DirectoryEntry("m-karim", 1, "membership", "karim", "family", 0, 0, None)
    with writing(office.engine) as connection:
        create_directory_entry(connection, "dhk", entry)
    office.write(DesiredService("family", "profile:slow", "fair use", office.now))
    office.run()
    left = dataclasses.replace(entry, revision=2, valid_until_at=office.now)
    with writing(office.engine) as connection:
        create_directory_entry(connection, "dhk", left)
    office.run()
    assert [c[1] for c in office.commands()] == ["coa profile:slow", "coa active"]


def test_a_new_session_of_a_throttled_subscriber_is_throttled_too(office: Office) -> None:
    office.write(DesiredService("karim", "profile:slow", "fair use", office.now))
    office.run()
    office.write(
        session(session_id="s-karim", ended_at=office.now),
        session(session_id="s-karim-2", started_at=office.now),
    )
    office.run()
    assert office.commands() == [
        ("karim", "coa profile:slow", "verified"),
        ("karim", "coa profile:slow", "acknowledged"),
    ]


def test_a_plans_own_speed_is_what_active_means(office: Office) -> None:
    with writing(office.engine) as connection:
        create(connection, home_plan(2, speed_profile="slow"))
        connection.execute(tables.subscription.update().values(plan_version=2))
    ask(office, "throttle", "full")
    office.run()
    ask(office, "restore")
    office.run()
    assert ("Mikrotik-Rate-Limit", "1000000/2000000") in office.nas.requests[-1].attributes


def ask(office: Office, action: str, profile: str = "") -> None:
    request = CommandRequest(
        f"{action}-{office.now}", "dhk", "karim", action, profile, "mina", office.now
    )
    with writing(office.engine) as connection:
        connection.execute(tables.command_request.insert(), [dataclasses.asdict(request)])


def test_a_clerk_disconnects_once(office: Office) -> None:
    ask(office, "disconnect")
    office.run()
    assert office.commands() == [("karim", "disconnect disconnected", "acknowledged")]
    names = {name for name, _ in office.nas.requests[0].attributes}
    assert names == {"User-Name", "Framed-IP-Address", "Acct-Session-Id"}
    office.write(session(session_id="s-karim", ended_at=office.now, end_cause="admin-reset"))
    office.write(session(session_id="s-karim-2", started_at=office.now + 1))
    office.run()
    assert office.commands() == [("karim", "disconnect disconnected", "verified")]


def test_silence_climbs_to_failure_and_tells_the_operator_once(
    office: Office, tmp_path: Path
) -> None:
    office.nas.answer = "silence"
    office.write(DesiredService("karim", "profile:slow", "fair use", office.now))
    for _ in range(8):
        office.run(10)
    assert [(kind, outcome) for _, kind, outcome in office.commands()] == [
        ("coa profile:slow", "timeout"),
        ("coa profile:slow", "timeout"),
        ("disconnect profile:slow", "timeout"),
        ("disconnect profile:slow", "failed"),
    ]
    (line,) = (tmp_path / "notifications.log").read_text().splitlines()
    assert json.loads(line)["subject"] == "karim is not profile:slow: disconnect failed"


def test_an_office_that_died_while_waiting_sends_anew(office: Office) -> None:
    office.nas.answer = "nothing yet"
    office.write(DesiredService("karim", "profile:slow", "fair use", office.now))
    office.run()
    assert office.commands() == [("karim", "coa profile:slow", "sent")]
    office.nas = PaperNas("ack", lambda: office.now)
    office.start()
    office.run()
    assert office.commands() == [("karim", "coa profile:slow", "acknowledged")]
    assert len(office.nas.requests) == 1


def test_an_office_that_died_between_sending_and_recording_sends_anew(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.write(DesiredService("karim", "profile:slow", "fair use", office.now))

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("billing.adapters.acting.on_sent", die)
    with pytest.raises(KeyboardInterrupt):
        office.run()
    monkeypatch.undo()
    assert office.commands() == [("karim", "coa profile:slow", "pending")]
    office.start()
    office.run()
    assert office.commands() == [("karim", "coa profile:slow", "acknowledged")]


def test_an_alert_is_told_once(office: Office, tmp_path: Path) -> None:
    alert = Alert("a1", "karim", world.at("2026-11-01"), "data", 80, 400, 400, office.now)
    office.write(alert)
    for _ in range(3):
        office.run(10)
    office.write(alert)
    office.start()
    office.run(10)
    (line,) = (tmp_path / "notifications.log").read_text().splitlines()
    assert json.loads(line)["subject"] == "You have used 80 % of your data allowance"


class PaperChannel:
    """A channel that fails as told."""

    name = "webhook"

    def __init__(self, errors: Sequence[BaseException], *, is_idempotent: bool) -> None:
        self.errors = list(errors)
        self.is_idempotent = is_idempotent
        self.taken: list[str] = []

    def deliver(self, delivery: Delivery) -> None:
        """Take it, or raise the next error."""
        error = self.errors.pop(0) if self.errors else None
        self.taken.append(delivery.notification_id)
        if error:
            raise error


@pytest.mark.parametrize(
    ("error", "is_idempotent", "attempts", "outcome"),
    [
        (NotDeliveredError("down"), False, 2, "delivered"),  # certainly not told: try again
        (UnknownDeliveryError("cut"), True, 2, "delivered"),  # told once at most: try again
        (UnknownDeliveryError("cut"), False, 1, "unknown"),  # perhaps told: never twice
    ],
)
def test_a_failed_delivery_is_repeated_only_where_that_is_harmless(
    office: Office, error: Exception, is_idempotent: bool, attempts: int, outcome: str
) -> None:
    channel = PaperChannel([error], is_idempotent=is_idempotent)
    office.channels.append(channel)
    office.start()
    office.write(Alert("a1", "karim", world.at("2026-11-01"), "data", 80, 4, 4, office.now))
    for _ in range(4):
        office.run(100)
    assert len(channel.taken) == attempts
    assert outcomes(office.engine)["alert:a1:webhook"] == outcome


@pytest.mark.parametrize(("is_idempotent", "outcome"), [(True, "delivered"), (False, "unknown")])
def test_an_attempt_cut_off_by_a_crash(office: Office, is_idempotent: bool, outcome: str) -> None:
    channel = PaperChannel([KeyboardInterrupt()], is_idempotent=is_idempotent)
    office.channels.append(channel)
    office.start()
    office.write(Alert("a1", "karim", world.at("2026-11-01"), "data", 80, 4, 4, office.now))
    with pytest.raises(KeyboardInterrupt):
        office.run()
    office.start()
    office.run(100)
    assert outcomes(office.engine)["alert:a1:webhook"] == outcome


def outcomes(engine: Engine) -> dict[str, str]:
    table = tables.notification.c
    with reading(engine) as connection:
        rows = connection.execute(select(table.notification_id, table.outcome)).all()
    return {row.notification_id: row.outcome for row in rows}


def test_the_same_loop_bills(office: Office) -> None:
    with writing(office.engine) as connection:
        close_month(connection, "karim", "2026-10", gigabytes=620, minor=60000)
    office.run()
    assert [i.status for i in world.invoices(office.engine)] == ["finalized"]
