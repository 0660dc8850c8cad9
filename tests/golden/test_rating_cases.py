"""The corpus's worked examples of price, proration and calendar, through our models.

Each kind that a model of ours can express is mapped to it and must give the published answer to
the last digit. `NOT_OURS` lists the rest with the reason; a case is in exactly one of the two.
"""

from __future__ import annotations

import datetime
import fnmatch
import functools
import json
import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from rating.balances import available, charged, credited
from rating.buckets import Bucket, Row, Unit, Walk, remaining, walk
from rating.curves import (
    AllowanceOverage,
    Capped,
    Curve,
    Graduated,
    Increments,
    Minimum,
    Package,
    Payg,
    Percentage,
    Tier,
    Volume,
    price,
)
from rating.curves.increments import billed
from rating.engine import Movement, move, pricing_of, quantity_of
from rating.money import round_half_up, to_minor
from rating.periods import Calendar, local_day, period_of_day
from rating.plans import Meter
from rating.rate_state import BalanceState, MeterState
from rating.segments import calendar_share
from rating.shares import WHOLE
from tests.corpus import corpus_path, corpus_present

Inputs = dict[str, Any]
ZERO = Fraction(0)
DECISIONS = Path(__file__).parents[2] / "docs" / "decisions"

NOT_OURS: dict[str, str] = {
    "aggregate.weighted_sum": "integrates a level over time; usage here is a sum",
    "balance.latest": "the latest reading of a level; usage here is a sum",
    "invoice.tax": "coupons and tax on an unrounded sum; ours is per rate on rounded lines",
    "invoice.waterfall": "an invoice's amount due, tested with billing",
    "prepaid.session": "quota reservation; we charge what was used",
    "price.dynamic_sum": "the sender names the price; ours follows from quantity",
    "price.flat_term": "skips a fee by the line's place in the term; ours posts F(0) at opening",
    "price.percentage_events": "an allowance counted in events; octets have no events",
    "proration.fixed_days": "a month of 28 days; ours counts calendar days",
    "rating.round": "rounds up to one decimal; ours is half-up to the minor unit",
    "scenario.progressive": "invoices in mid-period at thresholds",
    "usage.capacity": "the peak over several units picks the tier; ours has one meter, one curve",
}
"""Kinds that no model of ours covers, each with why."""

NOT_OURS_CASES: dict[str, str] = {
    "lago-pct-free3-500": "an allowance counted in events",
    "lago-pct-minmax-freeamt30": "a minimum and maximum per event",
    "lago-prorgrad-b": "units prorated one by one inside tiers",
    "kb-prorate-fixed30-2023-05-23": "a month of 30 days; ours counts calendar days",
    "kb-prorate-fixed30-2023-02-23": "a month of 30 days; ours counts calendar days",
}
"""Single cases of kinds that are otherwise covered."""


def tiers_of(inputs: Inputs) -> tuple[Tier, ...]:
    return tuple(
        Tier(
            None if tier["up_to"] is None else int(tier["up_to"]),
            Fraction(tier["unit"]) + Fraction(tier.get("pct", "0")) / 100,
            Fraction(tier["flat"]),
        )
        for tier in inputs["tiers"]
    )


def curve_price(curve: Curve, quantity: str) -> dict[str, Any]:
    return {"amount": price(curve, Fraction(quantity))}


def graduated(inputs: Inputs) -> dict[str, Any]:
    return curve_price(Graduated(tiers_of(inputs)), inputs["qty"])


def volume(inputs: Inputs) -> dict[str, Any]:
    return curve_price(Volume(tiers_of(inputs)), inputs["qty"])


def volume_bounded(inputs: Inputs) -> dict[str, Any]:
    with pytest.raises(ValueError, match="negative quantity") as caught:
        volume(inputs)
    return {"error": " ".join(str(caught.value).split()[:2])}


def standard(inputs: Inputs) -> dict[str, Any]:
    return curve_price(Payg(Fraction(inputs["unit"])), inputs["qty"])


def package_of(inputs: Inputs) -> Package:
    return Package(
        int(inputs["size"]),
        Fraction(inputs.get("price", "1")),
        int(inputs.get("free_units", "0")),
        inputs.get("round", "up"),
    )


def package(inputs: Inputs) -> dict[str, Any]:
    return curve_price(package_of(inputs), inputs["qty"])


def package_count(inputs: Inputs) -> dict[str, Any]:
    return {"packages": package(inputs)["amount"]}


def package_buckets(inputs: Inputs) -> dict[str, Any]:
    """A curve of scope day: each day priced by itself, then summed."""
    return {"amount": sum(price(package_of(inputs), int(q)) for q in inputs["buckets"])}


def buckets(inputs: Inputs) -> dict[str, Any]:
    curve = Payg(Fraction(inputs["unit"]))
    return {"amount": sum(price(curve, int(quantity)) for quantity in inputs["buckets"])}


def prorated_graduated(inputs: Inputs) -> dict[str, Any]:
    (quantity,) = inputs["prorated"]
    return curve_price(Graduated(tiers_of(inputs)), quantity)


def percentage(inputs: Inputs) -> dict[str, Any]:
    """Two meters: the events at a fixed price, the amounts at a percentage."""
    per_event = Payg(Fraction(inputs["fixed_per_event"]))
    of_amount = Percentage(Fraction(inputs["rate_pct"]))
    total = sum(map(Fraction, inputs["events"]))
    return {"amount": price(per_event, len(inputs["events"])) + price(of_amount, total)}


def dynamic(inputs: Inputs) -> dict[str, Any]:
    curve = Percentage(Fraction(inputs["multiplier"]) * 100)
    return {"amount": Fraction(round_half_up(price(curve, int(inputs["amount_in"])), 2), 100)}


def converted(inputs: Inputs) -> dict[str, Any]:
    unit = int(inputs["divide"])
    tiers = tuple(
        Tier(
            None if tier["up_to"] is None else int(tier["up_to"]) * unit,
            Fraction(tier["unit"]),
            Fraction(tier["flat"]),
            unit,
            increment=unit,
        )
        for tier in inputs["price"]["tiers"]
    )
    raw = int(inputs["raw"])
    return {"qty": price(Package(unit, Fraction(1)), raw)} | curve_price(Graduated(tiers), str(raw))


def split_line(inputs: Inputs) -> dict[str, Any]:
    """A line is F(q + d) - F(q); a commitment is the same with a minimum or a cap around F."""
    tiers = tiers_of(inputs)
    model = Graduated(tiers) if inputs["model"] == "graduated" else Volume(tiers)
    before = int(inputs["pre_line_qty"])
    after = before + int(inputs["line_qty"])
    gross = price(model, after) - (price(model, before) if before else ZERO)
    if inputs["max_commit"]:
        capped = Capped(Fraction(inputs["max_commit"]), model)
        total = price(capped, after) - price(capped, before)
        return {"gross": gross, "max_discount": gross - total, "total": total}
    committed = Minimum(Fraction(inputs["min_commit"]), model)
    total = price(committed, after) - Fraction(inputs["previously_billed"])
    return {"usage_total": gross, "commitment": total - gross, "total": total}


def true_up(inputs: Inputs) -> dict[str, Any]:
    used = Fraction(inputs["usage_amount"])
    total = price(Minimum(Fraction(inputs["minimum"]), Payg(Fraction(1))), used)
    return {"true_up": total - used, "total": total}


def prorated_min(inputs: Inputs) -> dict[str, Any]:
    part = Fraction(int(inputs["num"]), int(inputs["den"]))
    missing = Fraction(inputs["minimum"]) - Fraction(inputs["fee"])
    return {"true_up": round_half_up(missing * part)}


def consumable_curve(inputs: Inputs, unit: str) -> Curve:
    """Blocks of a size per tier. A closed last tier is opened: the cases stay within it."""
    tiers, up_to = [], 0
    for number, tier in enumerate(inputs["tiers"]):
        size, blocks = int(tier[unit]["size"]), int(tier[unit]["max_blocks"])
        up_to += size * blocks
        is_last = number == len(inputs["tiers"]) - 1
        bound = None if is_last else up_to
        tiers.append(Tier(bound, Fraction(tier[unit]["price"]), ZERO, size, increment=size))
    model = Graduated if inputs["mode"] == "ALL_TIERS" else Volume
    return model(tuple(tiers))


def consumable(inputs: Inputs) -> dict[str, Any]:
    amount = Fraction(inputs.get("recurring", "0")) - Fraction(inputs["already_billed"])
    for unit, quantity in inputs["usage"].items():
        amount += price(consumable_curve(inputs, unit), int(quantity))
    return {"amount": amount}


def consumable_rounded(inputs: Inputs) -> dict[str, Any]:
    """Round the cumulative amount once, then subtract what was billed."""
    whole = consumable({**inputs, "already_billed": "0"})["amount"]
    billed = to_minor(Fraction(inputs["already_billed"]), "USD")
    return {"amount": Fraction(to_minor(whole, "USD") - billed, 100)}


def call(inputs: Inputs) -> dict[str, Any]:
    """Seconds in tiers, started increments counted; a connect fee is the first tier's flat fee."""
    segments, tiers, billed = inputs["segments"], [], []
    for number, segment in enumerate(segments):
        up_to = int(segments[number + 1]["from_s"]) if number + 1 < len(segments) else None
        flat = Fraction(inputs["connect_fee"]) if number == 0 else ZERO
        step = int(segment["increment_s"])
        rate = Fraction(segment["rate"])
        tiers.append(Tier(up_to, rate, flat, int(segment["per_s"]), step))
        billed.append(Tier(up_to, Fraction(1), increment=step))
    seconds = int(inputs["duration_s"])
    return {
        "cost": price(Graduated(tuple(tiers)), seconds),
        "billed_s": price(Graduated(tuple(billed)), seconds),
    }


def units(inputs: Inputs) -> dict[str, Any]:
    tier = Tier(None, Fraction(inputs["rate"]), ZERO, int(inputs["per"]), int(inputs["increment"]))
    return {"cost": price(Graduated((tier,)), int(inputs["qty"]))}


def max_cost(inputs: Inputs) -> dict[str, Any]:
    curve = Capped(Fraction(inputs["max_cost"]), Payg(Fraction(inputs["rate_per_s"])))
    seconds = int(inputs["duration_s"])
    return {"cost": price(curve, seconds), "max_duration_s": seconds}


def distinct(inputs: Inputs) -> dict[str, Any]:
    """The unit `sessions` counts what is distinct, whatever moved in each."""
    logins = pricing_of(Meter("logins", Payg(Fraction(1)), unit="sessions"), WHOLE)
    state, amount = MeterState(), ZERO
    for event in inputs["events"]:
        movement = Movement("2026-11-01", event["user"], 0, int(event["value"]), 0)
        amount = move(state, logins, movement, amount)
    assert amount == quantity_of(state, logins)
    return {"value": quantity_of(state, logins)}


def bucket_in_increments(inputs: Inputs) -> dict[str, Any]:
    """Seconds leave a bucket in whole increments, as they are billed."""
    (bucket,) = inputs["buckets"]
    step = int(bucket["increment_s"])
    counted = int(billed(Increments(step, step, Fraction(0)), int(inputs["duration_s"])))
    return {"left": {bucket["id"]: str(int(bucket["value_s"]) - counted)}, "billed_s": counted}


def call_with_connect(inputs: Inputs) -> dict[str, Any]:
    """The connect fee is money, whatever the seconds are taken from."""
    step, fee = int(inputs["increment_s"]), Fraction(inputs["connect_fee"])
    curve = Increments(step, step, Fraction(inputs["package_rate"]), connect_fee=fee)
    seconds = int(inputs["duration_s"])
    cost = price(curve, seconds)
    money = charged(credited(BalanceState("USD"), int(inputs["money"]) * 100, at=0), cost, at=0)
    left = int(inputs["voice_s"]) - billed(curve, seconds)
    return {"cost": cost, "voice_left_s": left, "money_left": available(money)}


def factor(inputs: Inputs) -> dict[str, Any]:
    """A unit of the balance buys so many seconds."""
    cost = price(Payg(Fraction(1), int(inputs["per_s"])), int(inputs["duration_s"]))
    start = credited(BalanceState("USD"), int(inputs["start"]) * 100, at=0)
    return {"left": available(charged(start, cost, at=0))}


def rerate(inputs: Inputs) -> dict[str, Any]:
    old, new = (
        price(
            AllowanceOverage(int(inputs["free_s"]), Fraction(inputs[rate]), 60),
            int(inputs["duration_s"]),
        )
        for rate in ("old_per_min", "new_per_min")
    )
    return {"old": old, "new": new, "delta": new - old}


def proration_ratio(inputs: Inputs) -> dict[str, Any]:
    decimals = int(inputs["round"].removeprefix("half_up_"))
    exact = Fraction(inputs["price"]) * Fraction(int(inputs["num"]), int(inputs["den"]))
    return {"amount": Fraction(round_half_up(exact, decimals), 10**decimals)}


def proration_days(inputs: Inputs) -> dict[str, Any]:
    first = datetime.date.fromisoformat(inputs["from"])
    period = period_of_day(Calendar(), first)
    share = calendar_share("day", "UTC", period, start_at(inputs["from"]), period.end_at)
    days = share.amount(Fraction(period.days))
    amount = share.amount(Fraction(inputs["price"]))
    return {"days": days, "amount": Fraction(round_half_up(amount, 2), 100)}


def proration_fraction(inputs: Inputs) -> dict[str, Any]:
    anchor = datetime.date.fromisoformat(inputs["period_start"])
    period = period_of_day(Calendar(anchor_day=anchor.day), anchor)
    assert str(period.end_on) == inputs["period_end"]
    bounds = (start_at(inputs["from"]), start_at(inputs["to"]))
    share = calendar_share("day", "UTC", period, *bounds)
    decimals = int(inputs["scale"])
    return {"fraction": Fraction(round_half_up(share.amount(Fraction(1)), decimals), 10**decimals)}


def proration_cycles(inputs: Inputs) -> dict[str, Any]:
    """The leading part of a period, then the whole periods begun by the target day."""
    first = datetime.date.fromisoformat(inputs["start"])
    calendar = Calendar(anchor_day=int(inputs["bcd"]))
    period = period_of_day(calendar, first)
    lead, days, whole = (period.end_on - first).days, period.days, 0
    target, end = inputs["target"], inputs["end"]
    while str(period.end_on) <= target and (end is None or str(period.end_on) < end):
        period = period_of_day(calendar, period.end_on)
        whole += 1
    return {"whole": whole, "num": lead, "den": days}


def proration_seconds(inputs: Inputs) -> dict[str, Any]:
    start, at = inputs["period_start"], inputs["at"]
    anchor = datetime.date.fromisoformat(start)
    length = datetime.date.fromisoformat(inputs["period_end"]) - anchor
    cycle: Any = "yearly" if length.days > 31 else "monthly"
    period = period_of_day(Calendar("UTC", cycle, anchor.day, anchor.month), anchor)
    assert str(period.end_on) == inputs["period_end"]
    share = calendar_share("second", "UTC", period, start_at(at), period.end_at)
    debit = Fraction(inputs["new_price"])
    return {
        "credit": round_half_up(share.amount(Fraction(inputs["old_price"]))),
        "debit": round_half_up(debit if inputs["new_cycle_starts_now"] else share.amount(debit)),
    }


def proration_change(inputs: Inputs) -> dict[str, Any]:
    part = Fraction(int(inputs["num"]), int(inputs["den"]))
    net = (Fraction(inputs["new"]) - Fraction(inputs["old"])) * part
    return {"net": Fraction(round_half_up(net, 2), 100)}


def credit_note(inputs: Inputs) -> dict[str, Any]:
    part = Fraction(int(inputs["num"]), int(inputs["den"]))
    subtotal = round_half_up(Fraction(inputs["price"]) * part)
    tax = round_half_up(subtotal * Fraction(inputs["tax_pct"]) / 100)
    return {"subtotal": subtotal, "tax": tax, "total": subtotal + tax}


def topup_rounding(inputs: Inputs) -> dict[str, Any]:
    minor = to_minor(Fraction(inputs["credits"]) * Fraction(inputs["rate"]), "USD")
    return {"amount": Fraction(minor, 100), "minor": minor}


def simple_balance(inputs: Inputs) -> dict[str, Any]:
    start = credited(BalanceState("USD"), int(inputs["start"]) * 100, at=0)
    return {"left": available(charged(start, Fraction(inputs["debit"]), at=0))}


def concurrent_balance(inputs: Inputs) -> dict[str, Any]:
    """Debits only add up, so those at the same instant are those one after another."""
    balance = credited(BalanceState("USD"), int(inputs["start"]) * 100, at=0)
    for _ in range(int(inputs["debits"])):
        balance = charged(balance, Fraction(inputs["each"]), at=0)
    return {"left": available(balance)}


def drawn_on(buckets: Sequence[Bucket], rows: Sequence[Row], until: int = 10_000) -> Walk:
    """A walk in which what no quota covers costs one a unit, and periods last 1,000 minutes."""
    return walk(
        buckets,
        rows,
        until,
        period_end=lambda minute: minute + 1_000,
        charge_of=lambda row, left: Fraction(row.charge) or Fraction(left),
    )


def use(minute: int, amount: int, unit: Unit = "octets") -> Row:
    return Row(minute, minute, "m", unit, "", "", "", "", minute, 1, amount, 0)


def grants(inputs: Inputs) -> dict[str, Any]:
    lots = [
        Bucket(grant["id"], "octets", int(grant["amount"]), int(grant["priority"]), 0)
        for grant in inputs["grants"]
    ]
    done = drawn_on(lots, [use(1, int(inputs["usage"]))])
    covered = sum(amount for _, amount in done.parts[0])
    return {
        "balances": {bucket.bucket_id: str(remaining(bucket)) for bucket in done.standing},
        "overage": Fraction(int(inputs["usage"]) - covered),
    }


def grants_timeline(inputs: Inputs) -> dict[str, Any]:
    """A grant that is withdrawn ends then."""
    lot = Bucket("grant", "octets", int(inputs["grant"]["amount"]), 1, 0, 60)
    before, after = (int(event["use"]) for event in inputs["events"])
    done = drawn_on([lot], [use(59, before), use(60, after)])
    return {
        "balance": Fraction(sum((remaining(bucket) for bucket in done.standing), ZERO)),
        "overage": Fraction(after - sum(amount for _, amount in done.parts[1])),
    }


def reset_rollover(inputs: Inputs) -> dict[str, Any]:
    assert inputs["rollover_min"] == "0"
    most = int(inputs["rollover_max"])
    lot = Bucket("grant", "octets", int(inputs["grant"]), 1, 0, 60, rollover_max=most)
    [rolled] = drawn_on([lot], [use(1, int(inputs["used_before"]))], until=61).standing
    return {"balance_after": remaining(rolled)}


def start_at(day: str) -> int:
    return int(datetime.datetime.fromisoformat(day + "T00:00+00:00").timestamp() * 1000)


def minute(instant: str) -> int:
    return int(datetime.datetime.fromisoformat(instant.replace("Z", "+00:00")).timestamp()) // 60


def days_local(inputs: Inputs) -> dict[str, Any]:
    first, last = (local_day(inputs["tz"], minute(inputs[end])) for end in ("from", "to"))
    return {"days": (last - first).days + 1}


def anchor_months(inputs: Inputs) -> dict[str, Any]:
    calendar = Calendar(anchor_day=int(inputs["anchor_day"]))
    day, starts = datetime.date.fromisoformat(inputs["start"]), []
    for _ in range(36):
        period = period_of_day(calendar, day)
        starts.append(str(period.start_on))
        day = period.end_on
    return {"contains": starts}


def calendar_periods(inputs: Inputs) -> dict[str, Any]:
    day = datetime.date.fromisoformat(inputs["start"])
    calendar, periods = Calendar(anchor_day=day.day), []
    for _ in range(int(inputs["count"])):
        period = period_of_day(calendar, day)
        last = period.end_on - datetime.timedelta(days=1)
        periods.append([str(period.start_on), str(last)])
        day = period.end_on
    return {"periods": periods}


def billing_days(inputs: Inputs) -> dict[str, Any]:
    days = [local_day(inputs["tz"], minute(instant)) for instant in inputs["instants"]]
    return {"is_billing_day": [period_of_day(Calendar(), day).start_on == day for day in days]}


ANSWERS: dict[str, Callable[[Inputs], dict[str, Any]]] = {
    "aggregate": distinct,
    "balance.buckets": bucket_in_increments,
    "balance.call_with_connect": call_with_connect,
    "balance.factor": factor,
    "balance.concurrent": concurrent_balance,
    "balance.grants": grants,
    "balance.grants_timeline": grants_timeline,
    "balance.reset_rollover": reset_rollover,
    "balance.simple": simple_balance,
    "calendar.anchor_months_contains": anchor_months,
    "calendar.days_local_ceil": days_local,
    "calendar.is_billing_day_tz": billing_days,
    "calendar.periods": calendar_periods,
    "commitment.prorated_min": prorated_min,
    "commitment.true_up": true_up,
    "credit_note.prorated": credit_note,
    "price.buckets": buckets,
    "price.converted": converted,
    "price.dynamic": dynamic,
    "price.graduated": graduated,
    "price.graduated_percentage": graduated,
    "price.package": package,
    "price.package_buckets": package_buckets,
    "price.package_count": package_count,
    "price.percentage": percentage,
    "price.prorated_graduated": prorated_graduated,
    "price.split_line": split_line,
    "price.standard": standard,
    "price.volume": volume,
    "price.volume_bounded": volume_bounded,
    "proration.change": proration_change,
    "proration.cycles": proration_cycles,
    "proration.days": proration_days,
    "proration.fraction": proration_fraction,
    "proration.ratio": proration_ratio,
    "proration.seconds": proration_seconds,
    "rating.call": call,
    "rating.max_cost": max_cost,
    "rating.units": units,
    "rerate.price": rerate,
    "usage.consumable": consumable,
    "usage.consumable_rounded": consumable_rounded,
    "wallet.topup_rounding": topup_rounding,
}


@functools.cache
def all_cases() -> dict[str, dict[str, Any]]:
    cases = json.loads(corpus_path("rating/cases.json").read_text(encoding="utf-8"))
    return {case["id"]: case for case in cases}


def case_ids() -> list[str]:
    return list(all_cases()) if corpus_present() else ["corpus absent"]


@pytest.mark.parametrize("case_id", case_ids())
def test_the_published_answer(case_id: str) -> None:
    case = all_cases()[case_id]
    reason = NOT_OURS_CASES.get(case_id) or NOT_OURS.get(case["kind"])
    if reason:
        pytest.skip(f"{case['kind']}: {reason}")
    answer = ANSWERS[case["kind"]](case["inputs"])
    for field, expected in case["expected"].items():
        if field == "contains":
            assert set(expected) <= set(answer[field])
        elif isinstance(expected, str) and field != "error":
            assert answer[field] == Fraction(expected), field
        else:
            assert answer[field] == expected, field


def test_the_decision_record_names_what_is_declined() -> None:
    text = (DECISIONS / "0211-worked-examples-that-are-not-ours.md").read_text(encoding="utf-8")
    named = re.findall(r"`([\w.*-]+)`", text)
    for name in (*NOT_OURS, *NOT_OURS_CASES):
        assert any(fnmatch.fnmatch(name, one) for one in named), name


def test_every_kind_is_answered_or_declined_and_none_twice() -> None:
    kinds = {case["kind"] for case in all_cases().values()}
    assert kinds == set(ANSWERS) | set(NOT_OURS)
    assert not set(ANSWERS) & set(NOT_OURS)
    assert set(NOT_OURS_CASES) <= set(all_cases())
