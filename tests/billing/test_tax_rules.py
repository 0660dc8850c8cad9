"""Which taxes a supply bears: by code, place, certificate and day; parts that sum to the whole."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.tax_rules import (
    Supply,
    TaxRate,
    TaxRules,
    TaxStatus,
    part_amount,
    spans_of,
    treatment_on,
    unknown_codes,
    weights_of,
    withheld_of,
)
from billing.taxes import TaxComponent, TaxTreatment, net_of, tax_amounts

INTERNET = TaxTreatment("0", False, "internet")


def rate(percent: str, since: str = "2020-01-01", **changes: object) -> TaxRate:
    """Return VAT on internet everywhere in the branch."""
    vat = TaxRate("dhk", "internet", "vat", "", since, "VAT", percent, 1, False)
    return dataclasses.replace(vat, **changes)  # type: ignore[arg-type]


def status(kind: str, **changes: object) -> TaxStatus:
    known = TaxStatus("s1", "acc", kind, "", "C-7", "", "", "2026-11-01", "2026-11-30")
    return dataclasses.replace(known, **changes)  # type: ignore[arg-type]


CITY = rate("2", tax_id="city", name="City tax", position=2, place="dhaka")
QST = rate("10", tax_id="qst", name="QST", position=2, is_compound=True)
VAT_ENDS = rate("", "2026-12-01")
FREE_ZONE = rate("0", place="zone")

# rates, certificates, place, day, and what the supply bears: name, percent, relief
TREATMENTS: dict[str, tuple[list[TaxRate], list[TaxStatus], str, str, list[tuple[str, ...]]]] = {
    "one rate": ([rate("15")], [], "", "2026-11-10", [("VAT", "15", "")]),
    "the newest that has begun": (
        [rate("15"), rate("10", "2026-11-10"), rate("5", "2026-11-11")],
        [],
        "",
        "2026-11-10",
        [("VAT", "10", "")],
    ),
    "a city adds its own": (
        [rate("15"), CITY],
        [],
        "dhaka",
        "2026-11-10",
        [("VAT", "15", ""), ("City tax", "2", "")],
    ),
    "elsewhere it does not": ([rate("15"), CITY], [], "sylhet", "2026-11-10", [("VAT", "15", "")]),
    "a place has another rate": (
        [rate("15"), FREE_ZONE],
        [],
        "zone",
        "2026-11-10",
        [("VAT", "0", "")],
    ),
    "a tax that has ended": (
        [rate("15"), CITY, VAT_ENDS],
        [],
        "dhaka",
        "2026-12-01",
        [("City tax", "2", "")],
    ),
    "no rate is known": ([rate("15", "2027-01-01")], [], "", "2026-11-10", [("", "0", "unknown")]),
    "exempt": ([rate("15")], [status("exempt")], "", "2026-11-30", [("VAT", "0", "exempt")]),
    "the certificate has run out": (
        [rate("15")],
        [status("exempt")],
        "",
        "2026-12-01",
        [("VAT", "15", "")],
    ),
    "the certificate is not valid yet": (
        [rate("15")],
        [status("exempt")],
        "",
        "2026-10-31",
        [("VAT", "15", "")],
    ),
    "exempt of one tax only": (
        [rate("15"), CITY],
        [status("exempt", tax_id="city")],
        "dhaka",
        "2026-11-10",
        [("VAT", "15", ""), ("City tax", "0", "exempt")],
    ),
    "reverse charge": (
        [rate("15")],
        [status("reverse_charge", valid_until_on="")],
        "",
        "2027-11-10",
        [("VAT", "0", "reverse_charge")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TREATMENTS)
def test_a_supply_bears(case: str) -> None:
    rates, statuses, place, day, expected = TREATMENTS[case]
    rules = TaxRules(place, "", tuple(rates), tuple(statuses))
    found = treatment_on(rules, INTERNET, day)
    assert [(part.name, part.percent, part.relief) for part in found.components] == expected


def test_a_plans_own_rate_is_relieved_too() -> None:
    rules = TaxRules(statuses=(status("exempt"),))
    own = TaxTreatment("15", False)
    assert treatment_on(rules, own, "2026-12-24") is own
    assert treatment_on(rules, own, "2026-11-24").rate == 0


def test_an_unknown_code_is_told() -> None:
    treatment = treatment_on(TaxRules(), INTERNET, "2026-11-10")
    assert unknown_codes(tax_amounts([(treatment, 100)])) == ["internet"]


# Lines of (taxes, amount) and what is printed: net, then name, base and tax of each.
GST = TaxComponent("gst", "GST", "5")
PST = TaxComponent("qst", "QST", "9.975")
ON_TAX = dataclasses.replace(PST, is_compound=True)
SUMS = {
    "two taxes side by side": (
        [(TaxTreatment("5 + 9.975", False, "c", (GST, PST)), 10000)],
        (10000, [("GST", 10000, 500), ("QST", 10000, 998)]),
    ),
    "tax on tax": (
        [(TaxTreatment("5 + 9.975", False, "c", (GST, ON_TAX)), 10000)],
        (10000, [("GST", 10000, 500), ("QST", 10500, 1047)]),
    ),
    "one rate over lines that bear different sets": (
        [
            (TaxTreatment("5 + 9.975", False, "c", (GST, PST)), 30),
            (TaxTreatment("5", False, "d", (GST,)), 30),
        ],
        (60, [("GST", 60, 3), ("QST", 30, 3)]),  # of each 1.5: apart they would be 2 + 2
    ),
    "two taxes inside the price": (
        [(TaxTreatment("5 + 10", True, "c", (GST, dataclasses.replace(PST, percent="10"))), 11500)],
        (10000, [("GST", 10000, 500), ("QST", 10000, 1000)]),
    ),
    "tax on tax inside the price": (
        [
            (
                TaxTreatment("5 + 10", True, "c", (GST, dataclasses.replace(ON_TAX, percent="10"))),
                11550,
            )
        ],
        (10000, [("GST", 10000, 500), ("QST", 10500, 1050)]),
    ),
}


@pytest.mark.parametrize("case", SUMS)
def test_several_taxes(case: str) -> None:
    lines, (net, expected) = SUMS[case]
    taxes = tax_amounts(lines)
    assert [(t.component.name, t.net_minor, t.tax_minor) for t in taxes] == expected
    assert net_of(lines, taxes) == net


@given(st.lists(st.integers(-(10**9), 10**9), min_size=1), st.booleans())
def test_what_prices_hold_adds_up_to_them(amounts: list[int], is_compound: bool) -> None:
    parts = (GST, dataclasses.replace(PST, is_compound=is_compound))
    lines = [(TaxTreatment("x", True, "c", parts), amount) for amount in amounts]
    taxes = tax_amounts(lines)
    assert net_of(lines, taxes) + sum(t.tax_minor for t in taxes) == sum(amounts)


def test_a_rate_that_changes_parts_the_days() -> None:
    rules = TaxRules(rates=(rate("15"), rate("10", "2026-11-11")))
    supply = Supply("2026-11-01", "2026-12-01")
    spans = spans_of(rules, INTERNET, supply)
    assert [(s.treatment.percent, s.first_on, s.end_on) for s in spans] == [
        ("15", "2026-11-01", "2026-11-11"),
        ("10", "2026-11-11", "2026-12-01"),
    ]
    assert weights_of(spans, supply) == [10, 20]
    used = dataclasses.replace(supply, weights=(("2026-11-10", 7), ("2026-11-11", 5)))
    assert weights_of(spans, used) == [7, 5]
    negative = dataclasses.replace(supply, weights=(("2026-11-10", -7), ("2026-11-11", 5)))
    assert weights_of(spans, negative) == [10, 20], "a correction cannot be a share"


def test_a_certificate_that_begins_and_ends_within_parts_in_three() -> None:
    rules = TaxRules(
        rates=(rate("15"),),
        statuses=(status("exempt", valid_from_on="2026-11-11", valid_until_on="2026-11-20"),),
    )
    spans = spans_of(rules, INTERNET, Supply("2026-11-01", "2026-12-01"))
    assert [(s.treatment.percent, s.first_on) for s in spans] == [
        ("15", "2026-11-01"),
        ("0", "2026-11-11"),
        ("15", "2026-11-21"),
    ]


@given(
    st.integers(-(10**12), 10**12),
    st.lists(st.integers(0, 10**6), min_size=1, max_size=9).filter(any),
)
def test_parts_are_the_whole_and_near_their_share(amount: int, weights: list[int]) -> None:
    parts = part_amount(amount, weights)
    assert sum(parts) == amount
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part - Fraction(amount * weight, sum(weights))) < 1


@pytest.mark.parametrize(
    ("basis", "tax_id", "percent", "expected"),
    [("net", "", "10", 1000), ("tax", "", "50", 850), ("gross", "", "3", 351),
     ("tax", "city", "100", 200)],
)  # fmt: skip
def test_the_payer_withholds(basis: str, tax_id: str, percent: str, expected: int) -> None:
    kept = status("withholding", basis=basis, tax_id=tax_id, percent=percent)
    rules = TaxRules("dhaka", "", (rate("15"), CITY), (kept,))
    taxes = tax_amounts([(treatment_on(rules, INTERNET, "2026-11-10"), 10000)])
    for sign in (1, -1):
        mirrored = [dataclasses.replace(t, tax_minor=sign * t.tax_minor) for t in taxes]
        found = withheld_of(rules, sign * 10000, mirrored, "2026-11-30")
        assert [w.amount_minor for w in found] == [sign * expected]
    assert withheld_of(rules, 10000, taxes, "2026-12-01") == [], "the certificate has run out"
