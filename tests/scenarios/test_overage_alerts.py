"""Rahman has 100 MB included. At 50, 80 and 100 MB he is told, once each; above, he pays."""

from __future__ import annotations

from fractions import Fraction

from tests.scenarios.isp import MEGABYTE, Isp
from tests.simulation.tariffs import Measure, Tariff

HOME = Tariff(
    "home",
    (Measure("data", "overage", Fraction("0.50"), MEGABYTE, allowance=3_000 * MEGABYTE),),
    fee=Fraction(700),
    tax_percent=15,
)
"""3,000 MB a month: of one day in November that is 100 MB."""


def test_told_at_50_80_and_100_percent_and_billed_above(isp: Isp) -> None:
    isp.sell(HOME)
    isp.business.connect("rahman01", "home")
    isp.until("23:51:00")
    isp.log_in("rahman01")

    isp.use("rahman01", megabytes=49)
    isp.settle()
    assert isp.alerts("rahman01") == []

    isp.use("rahman01", megabytes=32)
    isp.wait(15)
    isp.settle()
    assert isp.alerts("rahman01") == [50, 80]

    isp.use("rahman01", megabytes=39)
    isp.log_out("rahman01")
    isp.wait(15)
    isp.settle()
    assert isp.alerts("rahman01") == [50, 80, 100]
    assert isp.notices().count("\n") == 3

    isp.until("00:00:10")
    isp.close_month()
    [invoice] = isp.invoices("rahman01")
    lines = {line["kind"]: line["amount"]["amount_minor"] for line in invoice["lines"]}
    # One day of thirty: 700.00 / 30 = 23.33. 120 MB used, 100 included: 20 x 0.50 = 10.00.
    assert lines == {"recurring": 2333, "usage": 1000, "tax": 500}
    assert invoice["total"]["amount_minor"] == 3833
    isp.agree(11)
