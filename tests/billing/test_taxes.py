"""Tax per rate on the sum of rounded lines."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.taxes import TaxTreatment, tax_amounts
from rating.money import round_half_up
from tests.corpus import corpus_path

VAT = TaxTreatment("15", False)
INCLUDED = TaxTreatment("15", True)


@pytest.mark.parametrize(
    ("lines", "net", "tax"),
    [
        ([(VAT, 10000)], 10000, 1500),
        ([(VAT, 3), (VAT, 3)], 6, 1),  # 0.9 rounds to 1; per line it would be 0 + 0
        ([(VAT, 10), (VAT, -10)], 0, 0),
        ([(VAT, -10)], -10, -2),  # a credit mirrors its invoice: half away from zero
        ([(INCLUDED, 11500)], 10000, 1500),
        ([(INCLUDED, 100)], 87, 13),  # 13.04 is included
        ([(TaxTreatment("0", False), 500)], 500, 0),
        ([(TaxTreatment("7.7", False), 1000)], 1000, 77),
        ([], 0, 0),
    ],
)
def test_one_rate(lines: list[tuple[TaxTreatment, int]], net: int, tax: int) -> None:
    taxes = tax_amounts(lines)
    assert (sum(t.net_minor for t in taxes), sum(t.tax_minor for t in taxes)) == (net, tax)


def test_rates_are_taxed_apart() -> None:
    taxes = tax_amounts([(VAT, 103), (TaxTreatment("5", False), 103), (VAT, 100)])
    assert [(t.percent, t.net_minor, t.tax_minor) for t in taxes] == [
        ("5", 103, 5),
        ("15", 203, 30),
    ]


@given(st.lists(st.tuples(st.sampled_from([VAT, INCLUDED]), st.integers(-(10**9), 10**9))))
def test_included_tax_adds_nothing_and_order_does_not_matter(
    lines: list[tuple[TaxTreatment, int]],
) -> None:
    taxes = tax_amounts(lines)
    assert taxes == tax_amounts(lines[::-1])
    for tax in taxes:
        gross = sum(
            amount
            for treatment, amount in lines
            if (treatment.percent, treatment.is_inclusive) == (tax.percent, tax.is_inclusive)
        )
        held = tax.net_minor + tax.tax_minor if tax.is_inclusive else tax.net_minor
        assert held == gross


def test_the_public_example_on_which_engines_disagree() -> None:
    """Eight discounted lines: Lago taxes the unrounded sum, 1889; a reader adds up 1411 + 479."""
    cases = json.loads(corpus_path("rating/cases.json").read_text())
    (case,) = (c for c in cases if c["kind"] == "invoice.tax")
    lines = [
        (
            TaxTreatment(line["tax_pct"], False),
            round_half_up(Fraction(line["amount"]) - Fraction(coupon)),
        )
        for line, coupon in zip(
            case["inputs"]["lines"], case["expected"]["coupon_alloc"], strict=True
        )
    ]
    taxes = tax_amounts(lines)
    assert [(t.net_minor, t.tax_minor) for t in taxes] == [(14107, 1411), (2394, 479)]
    assert case["expected"]["tax"] == "1889"
