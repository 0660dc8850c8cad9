"""Nadia pays before she uses: an empty balance blocks her, a top-up brings her back."""

from __future__ import annotations

from fractions import Fraction

from tests.scenarios.isp import MEGABYTE, Isp
from tests.simulation.tariffs import Measure, Tariff

PREPAID = Tariff("prepaid", (Measure("data", "payg", Fraction("0.50"), MEGABYTE),), is_prepaid=True)


def test_blocked_when_the_balance_is_used_up_and_back_with_a_top_up(isp: Isp) -> None:
    isp.sell(PREPAID)
    isp.business.connect("nadia", "prepaid")
    isp.until("23:51:00")
    assert isp.service("nadia") == "blocked"
    isp.business.top_up("nadia", 2_000)
    isp.settle()
    assert (isp.service("nadia"), isp.balance("nadia")) == ("active", "20.00")

    isp.log_in("nadia")
    isp.use("nadia", megabytes=30)
    isp.wait(10)
    isp.settle()
    assert (isp.service("nadia"), isp.balance("nadia")) == ("active", "5.00")
    isp.use("nadia", megabytes=11)
    isp.wait(15)
    isp.settle()
    # 41 MB cost 20.50: what was used before anyone could know is still paid for.
    assert (isp.service("nadia"), isp.balance("nadia")) == ("blocked", "-0.50")
    assert 0 in isp.alerts("nadia")
    assert isp.commands("nadia")[-1][0] == "blocked"

    isp.business.top_up("nadia", 1_000)
    isp.settle()
    assert (isp.service("nadia"), isp.balance("nadia")) == ("active", "9.50")
    isp.until("00:00:30")
    isp.close_month()
    [invoice] = isp.invoices("nadia")
    assert invoice["total"]["amount_minor"] == 0, "prepaid usage is shown, and nothing is asked"
    isp.agree(11)
