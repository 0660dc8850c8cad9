"""The life of a command, row by row: what was, what happened, what is written."""

from __future__ import annotations

import dataclasses

import pytest

from billing.acting.commands import (
    Command,
    advance,
    on_answer,
    on_exchange_lost,
    on_sent,
    on_silence,
)
from billing.acting.desired import (
    ACTIVE,
    BLOCKED,
    CommandRequest,
    Desired,
    desired_of,
    most_restrictive,
)
from billing.acting.profiles import VENDOR_PROFILES, SpeedProfile, speed_attributes
from billing.adapters.acting import policy_of
from billing.config import ActingConfig, OfficeConfig, SpeedProfileConfig
from rating.rows import DesiredService
from tests.billing.acting_world import POLICY, SPEEDS, first_command, session, situation

SLOW = Desired("profile:slow", "120 % of the allowance")


def written(rows: list[Command]) -> list[tuple[str, int, str]]:
    return [(row.kind, row.attempt, row.outcome) for row in rows]


def test_a_throttled_key_sends_one_coa_and_asks_again_for_nothing() -> None:
    (command,) = advance(situation(SLOW), POLICY, 1000)
    assert written([command]) == [("coa", 1, "pending")]
    assert (command.profile, command.previous_target) == ("slow", "active")
    for outcome in ("pending", "sent", "acknowledged"):
        standing = dataclasses.replace(command, outcome=outcome, acknowledged_at=1000)
        assert advance(situation(SLOW, standing), POLICY, 2000) == []


def test_an_active_session_is_left_alone() -> None:
    assert advance(situation(Desired(ACTIVE, "")), POLICY, 1000) == []


@pytest.mark.parametrize(
    ("interval_start_at", "rate_up_bps", "rate_down_bps", "is_verified"),
    [
        (4_000, 1_000_000, 2_000_000, False),  # the interval began before the ACK
        (5_000, 1_000_000, 2_000_000, True),  # exactly the profile
        (5_000, 1_100_000, 2_200_000, True),  # within the tolerance of 10 %
        (5_000, 1_100_001, 2_000_000, False),  # upload above it
        (5_000, 1_000_000, 2_200_001, False),  # download above it
        (5_000, 0, 0, True),  # idle: nothing contradicts
    ],
)
def test_a_throttle_is_verified_by_an_interval_that_began_after_its_ack(
    interval_start_at: int, rate_up_bps: int, rate_down_bps: int, is_verified: bool
) -> None:
    command = first_command("profile:slow", outcome="acknowledged", acknowledged_at=5_000)
    now = session(
        interval_start_at=interval_start_at, rate_up_bps=rate_up_bps, rate_down_bps=rate_down_bps
    )
    rows = advance(situation(Desired("profile:slow", ""), command, at=now), POLICY, 10_000)
    assert written(rows) == ([("coa", 1, "verified")] if is_verified else [])


def test_an_ack_without_effect_climbs_the_ladder_to_disconnect_and_failure() -> None:
    """CoA, CoA, Disconnect, and then a person: 60 s each without effect."""
    now = 1000
    (command,) = advance(situation(SLOW), POLICY, now)
    seen = [written([command])]
    while command.settled_at is None:
        command = on_sent(command, 1, now)
        command = on_answer(command, is_ack=True, error_cause=None, received_at=now)
        now += 60_000
        rows = advance(situation(SLOW, command), POLICY, now)
        seen.append(written(rows))
        command = rows[-1]
    assert seen == [
        [("coa", 1, "pending")],
        [("coa", 1, "acknowledged"), ("coa", 2, "pending")],
        [("coa", 2, "acknowledged"), ("disconnect", 3, "pending")],
        [("disconnect", 3, "failed")],
    ]
    assert command.reason == "acknowledged, no effect in 60 s"
    assert advance(situation(SLOW, command), POLICY, now + 1) == []


@pytest.mark.parametrize(
    ("error_cause", "next_kind", "next_attempt"),
    [
        (506, "coa", 2),  # resources unavailable: may pass
        (503, "coa", 2),  # session not found: may be about to appear
        (401, "disconnect", 3),  # unsupported attribute: would be refused again
        (501, "disconnect", 3),  # administratively prohibited
        (None, "disconnect", 3),  # no cause given
    ],
)
def test_a_refusal_is_repeated_only_where_its_cause_may_pass(
    error_cause: int | None, next_kind: str, next_attempt: int
) -> None:
    command = first_command("profile:slow", outcome="sent")
    command = on_answer(command, is_ack=False, error_cause=error_cause, received_at=2000)
    rows = advance(situation(Desired("profile:slow", ""), command), POLICY, 2001)
    assert written(rows) == [("coa", 1, "refused"), (next_kind, next_attempt, "pending")]


def test_silence_says_how_often_was_sent() -> None:
    command = on_silence(first_command("profile:slow", outcome="sent"), 3)
    assert (command.outcome, command.reason) == ("timeout", "no answer to 3 transmissions")


def test_a_disconnect_is_verified_when_the_session_has_ended() -> None:
    command = first_command(BLOCKED, outcome="acknowledged", acknowledged_at=2000)
    assert command.kind == "disconnect"
    blocked = Desired(BLOCKED, "")
    assert advance(situation(blocked, command), POLICY, 3000) == []
    rows = advance(situation(blocked, command, at=session(ended_at=3500)), POLICY, 4000)
    assert written(rows) == [("disconnect", 1, "verified")]


@pytest.mark.parametrize("outcome", ["pending", "sent", "acknowledged"])
def test_a_session_that_ended_by_itself_needs_no_command(outcome: str) -> None:
    command = first_command("profile:slow", outcome=outcome, acknowledged_at=2000)
    (row,) = advance(situation(SLOW, command, at=session(ended_at=3500)), POLICY, 4000)
    assert (row.outcome, row.reason) == ("verified", "the session ended")


def test_a_restore_is_proved_by_speed_and_never_escalates_to_a_disconnect() -> None:
    slow = first_command("profile:slow", outcome="verified", settled_at=3000, verified_at=3000)
    (restore,) = advance(situation(Desired(ACTIVE, "new period"), slow), POLICY, 5000)
    assert (restore.kind, restore.profile) == ("coa", "full")
    restore = dataclasses.replace(restore, outcome="acknowledged", acknowledged_at=6000)
    fast, idle = session(interval_start_at=6000), session(interval_start_at=6000, rate_down_bps=9)
    active = Desired(ACTIVE, "new period")
    assert written(advance(situation(active, restore, at=fast), POLICY, 7000)) == [
        ("coa", 1, "verified")
    ]
    (unproved,) = advance(situation(active, restore, at=idle), POLICY, 66_000)
    assert unproved.outcome == "acknowledged"
    assert unproved.reason == "acknowledged; too little traffic to prove it"


def test_a_throttle_verified_while_idle_is_renewed_when_the_session_speeds() -> None:
    command = first_command(
        "profile:slow", outcome="verified", acknowledged_at=2000, verified_at=3000, settled_at=3000
    )
    desired = Desired("profile:slow", "")
    fast = session(interval_start_at=4000)
    assert written(advance(situation(desired, command, at=fast), POLICY, 9000)) == [
        ("coa", 2, "pending")
    ]


def test_a_newer_decision_replaces_an_open_command() -> None:
    slow = first_command("profile:slow", outcome="sent")
    rows = advance(situation(Desired(BLOCKED, "unpaid"), slow), POLICY, 5000)
    assert written(rows) == [("coa", 1, "sent"), ("disconnect", 1, "pending")]
    assert rows[0].reason == "superseded by a newer decision"
    late = on_answer(rows[0], is_ack=True, error_cause=None, received_at=5001)
    assert late == rows[0], "an answer to a superseded command changes nothing"


def test_a_nas_without_coa_target_fails_once_and_says_so() -> None:
    rows = advance(situation(SLOW, vendor=None), POLICY, 1000)
    assert [(r.outcome, r.reason) for r in rows] == [
        ("failed", "no CoA target with a known vendor profile is set for NAS nas-1")
    ]
    assert advance(situation(SLOW, rows[0], vendor=None), POLICY, 2000) == []


def test_a_profile_that_no_setting_names_fails_once_and_says_so() -> None:
    rows = advance(situation(Desired("profile:warp", "")), POLICY, 1000)
    assert rows[0].reason == "the settings have no speed profile 'warp'"
    assert advance(situation(Desired("profile:warp", ""), rows[0]), POLICY, 2000) == []


def test_coova_is_disconnected_since_it_takes_speeds_only_at_a_new_session() -> None:
    assert written(advance(situation(SLOW, vendor="coova"), POLICY, 1000)) == [
        ("disconnect", 1, "pending")
    ]


def test_what_was_in_flight_when_the_office_restarted_is_sent_anew() -> None:
    command = on_exchange_lost(first_command("profile:slow", outcome="sent", identifier=7))
    assert (command.outcome, command.identifier, command.sent_at) == ("pending", None, None)


def request(action: str, at: int, profile: str = "") -> CommandRequest:
    return CommandRequest(f"r{at}", "dhk", "karim", action, profile, "mina", at)


FUP = DesiredService("karim", "profile:slow", "fair use", 100)


@pytest.mark.parametrize(
    ("service", "requests", "target"),
    [
        (None, [], "active"),
        (FUP, [], "profile:slow"),
        (None, [request("throttle", 50, "tiny")], "profile:tiny"),
        (FUP, [request("throttle", 50, "tiny")], "profile:tiny"),
        (None, [request("throttle", 50, "tiny"), request("restore", 60)], "active"),
        (FUP, [request("restore", 150)], "active"),  # the clerk is newer than rate
        (FUP, [request("restore", 50)], "profile:slow"),  # rate decided anew after him
        (
            DesiredService("karim", "blocked", "unpaid", 10),
            [request("throttle", 50, "x")],
            "blocked",
        ),
        (FUP, [request("disconnect", 150)], "disconnected"),
        (FUP, [request("disconnect", -1)], "profile:slow"),  # the session began after it
    ],
)
def test_who_decides(
    service: DesiredService | None, requests: list[CommandRequest], target: str
) -> None:
    assert desired_of(session(), service, requests).target == target


def test_a_clerk_who_asks_again_after_a_failure_is_heard_again() -> None:
    once = [request("disconnect", 150)]
    (command,) = advance(situation(desired_of(session(), None, once)), POLICY, 1000)
    failed = dataclasses.replace(command, outcome="failed", settled_at=1500)
    assert advance(situation(desired_of(session(), None, once), failed), POLICY, 2000) == []
    twice = desired_of(session(), None, [*once, request("disconnect", 300)])
    assert written(advance(situation(twice, failed), POLICY, 2000)) == [
        ("disconnect", 1, "pending")
    ]


GARDEN_SPEEDS = {
    "full": SpeedProfile("full", 50_000_000, 100_000_000, "everybody"),
    "slow": SpeedProfile("slow", 1_000_000, 2_000_000, "everybody"),
    "crawl": SpeedProfile("crawl", 64_000, 64_000, "everybody"),
    "garden": SpeedProfile("garden", 2_000_000, 2_000_000, "pay-first"),
}


@pytest.mark.parametrize(
    ("decided", "restricted", "wins"),
    [
        (ACTIVE, None, "decided"),
        (ACTIVE, "profile:slow", "dunning"),
        (ACTIVE, "profile:full", "decided"),  # no restriction is one that changes nothing
        ("profile:slow", "profile:crawl", "dunning"),
        ("profile:crawl", "profile:slow", "decided"),  # fair use or a clerk is graver: it stays
        ("profile:slow", "profile:slow", "decided"),
        ("profile:crawl", "profile:garden", "dunning"),  # another filter beats another speed
        ("profile:garden", "profile:crawl", "decided"),
        ("profile:garden", BLOCKED, "dunning"),
        (BLOCKED, "profile:garden", "decided"),
        (BLOCKED, BLOCKED, "decided"),
        ("disconnected", BLOCKED, "decided"),
        (ACTIVE, "profile:lost", "dunning"),  # the settings have lost it: somebody must hear of it
    ],
)
def test_the_graver_of_what_is_wanted_and_what_dunning_restricts(
    decided: str, restricted: str | None, wins: str
) -> None:
    restriction = Desired(restricted, "dunning") if restricted else None
    wanted = Desired(decided, "decided")
    assert most_restrictive(wanted, restriction, GARDEN_SPEEDS, "full").reason == wins


def test_a_restriction_never_makes_a_slow_plan_faster() -> None:
    wanted, slow = Desired(ACTIVE, "the plan's own speed"), Desired("profile:slow", "dunning")
    assert most_restrictive(wanted, slow, GARDEN_SPEEDS, "crawl") == wanted


GARDEN_POLICY = dataclasses.replace(POLICY, speeds=GARDEN_SPEEDS)


@pytest.mark.parametrize(
    ("vendor", "kind"),
    [("mikrotik", "coa"), ("generic", "coa"), ("cisco", "disconnect"), ("coova", "disconnect")],
)
def test_a_walled_garden_is_told_where_the_make_takes_a_filter(vendor: str, kind: str) -> None:
    garden = Desired("profile:garden", "invoice DHK-1 is not paid")
    found = dataclasses.replace(situation(Desired(ACTIVE, ""), vendor=vendor), restriction=garden)
    (command,) = advance(found, GARDEN_POLICY, 1000)
    assert (command.kind, command.target, command.reason) == (
        kind,
        "profile:garden",
        "invoice DHK-1 is not paid",
    )


def test_a_filter_is_set_and_set_back_by_name() -> None:
    mikrotik = VENDOR_PROFILES["mikrotik"]
    assert speed_attributes(mikrotik, GARDEN_SPEEDS["garden"]) == (
        ("Mikrotik-Rate-Limit", "2000000/2000000"),
        ("Mikrotik-Address-List", "pay-first"),
    )
    assert ("Mikrotik-Address-List", "everybody") in speed_attributes(
        mikrotik, GARDEN_SPEEDS["full"]
    )
    assert speed_attributes(mikrotik, SPEEDS["slow"]) == (
        ("Mikrotik-Rate-Limit", "1000000/2000000"),
    )


def test_a_session_is_told_again_when_only_its_filter_changes() -> None:
    garden = Desired("profile:garden", "")
    open_ended = {**GARDEN_SPEEDS, "garden": SpeedProfile("garden", 2_000_000, 2_000_000, "other")}
    (first,) = advance(situation(garden), GARDEN_POLICY, 1000)
    (_, again) = advance(
        situation(garden, first), dataclasses.replace(GARDEN_POLICY, speeds=open_ended), 2000
    )
    assert again.desired_hash != first.desired_hash


def test_filters_are_named_by_all_speed_profiles_or_by_none() -> None:
    full = SpeedProfileConfig("full", 1, 1)
    garden = SpeedProfileConfig("garden", 1, 1, "pay-first")
    config = OfficeConfig(acting=ActingConfig(speed_profiles=(full, garden)))
    with pytest.raises(ValueError, match="speed_profiles: full must name a filter_name too"):
        policy_of(config)
