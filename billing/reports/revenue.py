"""Revenue by plan, branch and day: what was earned (recognised) beside what was asked for.

Recognised is the ledger's income, posting by posting, on the local day that its instant ends.
Invoiced is the lines without tax, on the local day of issue. Both are told apart by plan: a
usage posting names its counter, whose plan is known; an invoice's posting is divided over the
plans of its lines by largest remainder, so that the parts add up to the posting exactly. What a
prepaid balance paid is invoiced under its plan and taken back by a line of no plan.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from fractions import Fraction

import polars as pl

from billing.reports.table import Column, Shape, details_of
from billing.tax_rules import part_amount
from rating.money import round_half_up

SHAPE = Shape(
    name="revenue",
    title="Revenue",
    description="Recognised and invoiced revenue without tax, by day, plan and kind of income.",
    keys=(
        Column("branch_id", "Branch"),
        Column("day", "Day", "day"),
        Column("plan_id", "Plan"),
        Column("income", "Income"),
        Column("currency", "Currency"),
    ),
    values=(
        Column("recognised_minor", "Recognised", "money"),
        Column("invoiced_minor", "Invoiced", "money"),
    ),
    ids=(
        Column("account_id", "Account"),
        Column("transaction_id", "Ledger transaction"),
        Column("invoice_id", "Invoice"),
        Column("line", "Line", "count"),
    ),
)


@dataclasses.dataclass(frozen=True, slots=True)
class RevenueRows:
    """What revenue is made of, as frames.

    postings [n]: branch_id, transaction_id, source, key, day, income, currency,
    recognised_minor. counters [n]: counter (the business key up to the meter), plan_id,
    account_id. lines [n] without tax lines: invoice_id, line, income (its chart code),
    plan_id, amount_minor, branch_id, account_id, currency, subtotal_minor, day (of issue; null
    where it lies outside).
    """

    postings: pl.DataFrame
    counters: pl.DataFrame
    lines: pl.DataFrame


def revenue_details(rows: RevenueRows) -> pl.DataFrame:
    """Return the details of the report: postings by plan, then invoiced lines."""
    of_usage = rows.postings["source"] == "usage_day"
    frames = [
        _usage(rows.postings.filter(of_usage), rows.counters),
        _invoice_postings(rows.postings.filter(~of_usage), rows.lines),
        _invoiced(rows.lines),
    ]
    return details_of(SHAPE, pl.concat(frames, how="diagonal_relaxed"))


def _usage(postings: pl.DataFrame, counters: pl.DataFrame) -> pl.DataFrame:
    """Return the postings of usage days with the plan and account of their counters."""
    # Behind the counter stand the day and the revision, which have no slash.
    counter = pl.col("key").str.extract(r"^(.*)/[^/]+/[^/]+$").alias("counter")
    known = postings.with_columns(counter).join(counters, on="counter", how="left")
    return known.select(
        *_POSTED,
        pl.col("plan_id").fill_null(""),
        pl.col("account_id").fill_null(""),
        pl.lit("").alias("invoice_id"),
        pl.lit(0, pl.Int64).alias("line"),
        pl.lit(0, pl.Int64).alias("invoiced_minor"),
    )


_POSTED = ("branch_id", "day", "income", "currency", "recognised_minor", "transaction_id")


def _invoice_postings(postings: pl.DataFrame, lines: pl.DataFrame) -> pl.DataFrame:
    """Return other postings, each divided over the plans of the lines that it stands for."""
    weights = lines.group_by("invoice_id", "income", "plan_id").agg(
        pl.col("amount_minor").sum().alias("weight")
    )
    owners = lines.select("invoice_id", "account_id").unique()
    posted = postings.with_columns(pl.col("key").alias("invoice_id")).with_row_index("posting")
    divided = posted.join(weights, on=["invoice_id", "income"], how="left")
    divided = divided.join(owners, on="invoice_id", how="left").sort("posting", "plan_id")
    # Most postings stand for lines of one plan, which takes all of it.
    count = divided.select(pl.len().over("posting")).to_series()
    alone = divided.filter(count == 1)
    shared = divided.filter(count > 1)
    shares = [
        share
        for _, group in shared.group_by("posting", maintain_order=True)
        for share in _shares(group["recognised_minor"][0], group["weight"].to_list())
    ]
    shared = shared.with_columns(pl.Series("recognised_minor", shares, dtype=pl.Int64))
    return pl.concat([alone, shared]).select(
        *_POSTED,
        pl.col("plan_id").fill_null(""),
        pl.col("account_id").fill_null(""),
        pl.when(pl.col("account_id").is_null())
        .then(pl.lit(""))
        .otherwise(pl.col("invoice_id"))
        .alias("invoice_id"),
        pl.lit(0, pl.Int64).alias("line"),
        pl.lit(0, pl.Int64).alias("invoiced_minor"),
    )


def _shares(amount_minor: int, weights: Sequence[int]) -> list[int]:
    """Return an amount divided by the absolute weights, by largest remainder, in their order."""
    sizes = [abs(weight) for weight in weights]
    return part_amount(amount_minor, sizes if any(sizes) else [1] * len(sizes))


def _invoiced(lines: pl.DataFrame) -> pl.DataFrame:
    """Return the lines that were issued in the range, each without the tax that it holds."""
    issued = lines.filter(pl.col("day").is_not_null())
    gross = issued.select(pl.col("amount_minor").sum().over("invoice_id")).to_series()
    has_tax_inside = gross != issued["subtotal_minor"]
    plain = issued.filter(~has_tax_inside).with_columns(
        pl.col("amount_minor").alias("invoiced_minor")
    )
    holding = issued.filter(has_tax_inside).sort("invoice_id", "line")
    nets = [
        share
        for _, group in holding.group_by("invoice_id", maintain_order=True)
        for share in _nets(group["subtotal_minor"][0], group["amount_minor"].to_list())
    ]
    holding = holding.with_columns(pl.Series("invoiced_minor", nets, dtype=pl.Int64))
    columns = ("branch_id", "day", "plan_id", "currency", "invoiced_minor", "account_id")
    return pl.concat([plain, holding], how="diagonal_relaxed").select(
        *columns,
        "invoice_id",
        "line",
        "income",
        pl.lit(0, pl.Int64).alias("recognised_minor"),
        pl.lit("").alias("transaction_id"),
    )


def _nets(subtotal_minor: int, gross: list[int]) -> list[int]:
    """Return the net parts of gross lines, which add up to the subtotal exactly.

    Differences of one rounded running total: lines may have either sign.
    """
    tax, whole = sum(gross) - subtotal_minor, sum(gross)
    if not whole:
        return [*gross[:-1], gross[-1] - tax]
    nets, running, taken = [], 0, 0
    for amount in gross:
        running += amount
        through = round_half_up(Fraction(tax * running, whole))
        nets.append(amount - (through - taken))
        taken = through
    return nets
