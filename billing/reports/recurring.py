"""Monthly recurring revenue, its movements, churn and revenue per user.

MRR at an instant is what the running subscriptions ask for each month however little is used:
the recurring fee and F(0) of period meters, a yearly fee by twelve, a weekly one times 52 / 12,
rounded half-up per subscription. It is a measure, not a posting: prorations, discounts of a month
and usage are no part of it. Between the first instants of two months an account moves once:

    before   after    earlier     movement
    0        some     never       new
    0        some     some        reactivation
    some     0                    churn
    less     more                 expansion
    more     less                 contraction
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence
from fractions import Fraction

import polars as pl

from billing.reports.table import Column, Ratio, Shape, details_of, empty_details
from rating.curves import price
from rating.money import to_minor
from rating.plans import Plan

_KEYS = (
    Column("branch_id", "Branch"),
    Column("month", "Month", "day"),
    Column("currency", "Currency"),
)
_ACCOUNT = (Column("account_id", "Account"), Column("account_name", "Name"))

MRR = Shape(
    name="mrr",
    title="Monthly recurring revenue",
    description="What running subscriptions ask for per month, and how it moved in each month.",
    keys=_KEYS,
    values=(
        Column("opening_minor", "Opening", "money"),
        Column("new_minor", "New", "money"),
        Column("reactivation_minor", "Reactivation", "money"),
        Column("expansion_minor", "Expansion", "money"),
        Column("contraction_minor", "Contraction", "money"),
        Column("churn_minor", "Churn", "money"),
        Column("closing_minor", "Closing", "money"),
    ),
    ids=_ACCOUNT,
)

CHURN = Shape(
    name="churn",
    title="Churn",
    description="Accounts and recurring revenue lost in each month, of those at its start.",
    keys=_KEYS,
    values=(
        Column("accounts_opening", "Accounts at start", "count"),
        Column("accounts_lost", "Lost", "count"),
        Column("accounts_gained", "Gained", "count"),
        Column("opening_minor", "MRR at start", "money"),
        Column("lost_minor", "MRR lost", "money"),
        Column("reduced_minor", "MRR reduced", "money"),
    ),
    ids=_ACCOUNT,
    ratios=(
        Ratio(
            Column("logo_churn_percent", "Logo churn", "percent"),
            ("accounts_lost",),
            ("accounts_opening",),
            100,
        ),
        Ratio(
            Column("revenue_churn_percent", "Revenue churn", "percent"),
            ("lost_minor", "reduced_minor"),
            ("opening_minor",),
            -100,
        ),
    ),
)

ARPU = Shape(
    name="arpu",
    title="Average revenue per user",
    description="Recognised revenue of each month by the mean of services at its start and end.",
    keys=_KEYS,
    values=(
        Column("revenue_minor", "Revenue", "money"),
        Column("services_opening", "Services at start", "count"),
        Column("services_closing", "Services at end", "count"),
    ),
    ids=(Column("account_id", "Account"),),
    ratios=(
        Ratio(
            Column("arpu_minor", "ARPU", "money"),
            ("revenue_minor",),
            ("services_opening", "services_closing"),
            2,
        ),
    ),
)

MONTHS_OF_CYCLE = {
    "daily": Fraction(12, 365),
    "weekly": Fraction(12, 52),
    "monthly": Fraction(1),
    "quarterly": Fraction(3),
    "yearly": Fraction(12),
}
"""How many months a period of each cycle counts."""


@dataclasses.dataclass(frozen=True, slots=True)
class Month:
    """A month of one branch: its first local day, and [start, end) in ms."""

    branch_id: str
    first_on: datetime.date
    start_at: int
    end_at: int


def monthly_fee_minor(plan: Plan, cycle: str) -> int:
    """Return what one subscription to a plan asks for per month, in minor units.

    cycle is that of the account's periods; KeyError where there is no such.
    """
    flat = (price(meter.curve, 0) for meter in plan.meters if meter.scope == "period")
    fee = plan.recurring_fee + sum(flat, Fraction(0))
    return to_minor(fee / MONTHS_OF_CYCLE[cycle], plan.currency)


def mrr_details(subscriptions: pl.DataFrame, months: Sequence[Month]) -> pl.DataFrame:
    """Return per month and account how its MRR moved.

    subscriptions [n]: branch_id, account_id, account_name, currency, fee_minor (a month's),
    starts_at, ends_at (ms, null while it runs).
    """
    paying = subscriptions.filter(pl.col("fee_minor") > 0)
    frames = [_movements(paying, month) for month in months]
    return details_of(MRR, pl.concat(frames)) if frames else empty_details(MRR)


def _movements(subscriptions: pl.DataFrame, month: Month) -> pl.DataFrame:
    mine = subscriptions.filter(pl.col("branch_id") == month.branch_id)
    fee = pl.col("fee_minor")
    accounts = mine.group_by("branch_id", "account_id", "account_name", "currency").agg(
        fee.filter(_runs_at(month.start_at)).sum().alias("opening_minor"),
        fee.filter(_runs_at(month.end_at)).sum().alias("closing_minor"),
        (pl.col("starts_at") < month.start_at).any().alias("came_earlier"),
    )
    before, after = pl.col("opening_minor"), pl.col("closing_minor")
    moved = after - before
    has_begun = (before == 0) & (after > 0)
    goes_on = (before > 0) & (after > 0)
    return accounts.filter((before > 0) | (after > 0)).with_columns(
        pl.lit(month.first_on).alias("month"),
        _where(has_begun & ~pl.col("came_earlier"), moved).alias("new_minor"),
        _where(has_begun & pl.col("came_earlier"), moved).alias("reactivation_minor"),
        _where(goes_on & (moved > 0), moved).alias("expansion_minor"),
        _where(goes_on & (moved < 0), moved).alias("contraction_minor"),
        _where((before > 0) & (after == 0), moved).alias("churn_minor"),
    )


def _runs_at(instant: int) -> pl.Expr:
    ends_at = pl.col("ends_at")
    return (pl.col("starts_at") <= instant) & (ends_at.is_null() | (ends_at > instant))


def _where(condition: pl.Expr, value: pl.Expr) -> pl.Expr:
    return pl.when(condition).then(value).otherwise(0)


def churn_details(mrr: pl.DataFrame) -> pl.DataFrame:
    """Return per month and account what was lost, from the details of MRR."""
    before, after = pl.col("opening_minor") > 0, pl.col("closing_minor") > 0
    return details_of(
        CHURN,
        mrr.with_columns(
            before.cast(pl.Int64).alias("accounts_opening"),
            (before & ~after).cast(pl.Int64).alias("accounts_lost"),
            (~before & after).cast(pl.Int64).alias("accounts_gained"),
            pl.col("churn_minor").alias("lost_minor"),
            pl.col("contraction_minor").alias("reduced_minor"),
        ),
    )


def arpu_details(
    revenue: pl.DataFrame, subscriptions: pl.DataFrame, months: Sequence[Month]
) -> pl.DataFrame:
    """Return per month and account its revenue and its services at the month's two ends.

    revenue are the details of `revenue`, subscriptions those of `mrr_details` with rating_key:
    a service is a rating key with a running subscription, so a pool counts once.
    """
    earned = revenue.group_by(
        "branch_id", pl.col("day").dt.truncate("1mo").alias("month"), "currency", "account_id"
    ).agg(pl.col("recognised_minor").sum().alias("revenue_minor"))
    counted = [_services(subscriptions, month) for month in months]
    if not counted:
        return empty_details(ARPU)
    keys = ["branch_id", "month", "currency", "account_id"]
    both = earned.join(pl.concat(counted), on=keys, how="full", coalesce=True)
    return details_of(ARPU, both.with_columns(pl.col(v.name).fill_null(0) for v in ARPU.values))


def _services(subscriptions: pl.DataFrame, month: Month) -> pl.DataFrame:
    mine = subscriptions.filter(pl.col("branch_id") == month.branch_id)
    service = pl.col("rating_key")
    counted = mine.group_by("branch_id", "currency", "account_id").agg(
        service.filter(_runs_at(month.start_at)).n_unique().alias("services_opening"),
        service.filter(_runs_at(month.end_at)).n_unique().alias("services_closing"),
    )
    return counted.with_columns(
        pl.lit(month.first_on).alias("month"),
        pl.col("services_opening", "services_closing").cast(pl.Int64),
    ).filter((pl.col("services_opening") > 0) | (pl.col("services_closing") > 0))
