"""The Hossains share one allowance: three lines, one counter, one invoice."""

from __future__ import annotations

from fractions import Fraction

from tests.scenarios.isp import MEGABYTE, Isp
from tests.simulation.tariffs import Measure, Tariff

FAMILY = Tariff(
    "family",
    (Measure("data", "overage", Fraction(2), MEGABYTE, allowance=3_600 * MEGABYTE),),
    fee=Fraction(1200),
)
"""3,600 MB a month: of one day in November that is 120 MB."""


def test_three_lines_are_charged_as_one(isp: Isp) -> None:
    isp.sell(FAMILY)
    isp.business.open_pool("Hossain family", "family")
    members = ("father", "mother", "daughter")
    for login in members:
        isp.business.connect(login, account="Hossain family")
        isp.business.join(login, "Hossain family")
    isp.until("23:51:00")
    for login in members:
        isp.log_in(login)
    isp.use("father", megabytes=50)
    isp.use("mother", megabytes=50)
    isp.wait(10)
    isp.settle()
    assert isp.alerts("Hossain family") == [50, 80]
    isp.use("daughter", megabytes=25)
    for login in members:
        isp.log_out(login)
    isp.until("00:00:10")
    isp.close_month()

    [invoice] = isp.invoices("Hossain family")
    [usage] = [line for line in invoice["lines"] if line["kind"] == "usage"]
    # 125 MB together, 120 included; none of the three alone would have paid.
    assert usage["quantity"] == 125 * MEGABYTE
    assert usage["amount"]["amount_minor"] == 5 * 200
    assert invoice["total"]["amount_minor"] == 5000  # 1,200.00 / 30 + 10.00
    assert isp.alerts("Hossain family") == [50, 80, 100]
    isp.agree(11)
