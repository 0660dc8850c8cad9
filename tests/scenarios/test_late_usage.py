"""A NAS was cut off over the month's end: its last reports come when the invoice is out.

What they add to November stands on December's invoice, as an adjustment that names November's.
"""

from __future__ import annotations

from fractions import Fraction

from tests.scenarios.isp import MEGABYTE, Isp
from tests.simulation.tariffs import Measure, Tariff

METERED = Tariff(
    "metered", (Measure("data", "payg", Fraction(1), MEGABYTE),), Fraction(300), tax_percent=10
)


def test_late_usage_is_an_adjustment_on_the_next_invoice(isp: Isp) -> None:
    isp.sell(METERED)
    isp.business.connect("jamal", "metered")
    isp.until("23:51:00")
    isp.log_in("jamal")
    isp.use("jamal", megabytes=40)
    isp.wait(10)

    isp.cut_off_nas()
    isp.use("jamal", megabytes=25)
    isp.log_out("jamal")
    isp.wait(5)
    isp.until("00:03:00")
    [november] = isp.invoices("jamal")
    assert november["status"] == "finalized"
    # 300.00 / 30 + 40.00, and 10 % on both.
    assert november["total"]["amount_minor"] == 5500

    isp.reconnect_nas()
    isp.wait(30)
    isp.settle()
    assert isp.invoices("jamal") == [november], "an invoice that is out never changes"

    isp.close_month()
    _, december = isp.invoices("jamal")
    [adjustment] = [line for line in december["lines"] if line["kind"] == "adjustment"]
    assert adjustment["quantity"] == 25 * MEGABYTE
    assert adjustment["amount"]["amount_minor"] == 2500
    assert "Late usage 2026-11-01 to 2026-11-30" in adjustment["description"]
    assert december["total"]["amount_minor"] == 30000 + 2500 + 3250
    isp.agree(11, 12)
