"""Above fair use Karim is slowed down, and it is seen to work; the new month restores him."""

from __future__ import annotations

from fractions import Fraction

from tests.scenarios.isp import MEGABYTE, Isp
from tests.simulation.tariffs import Measure, Tariff

UNLIMITED = Tariff(
    "unlimited",
    (Measure("data", "flat", allowance=3_000 * MEGABYTE),),
    fee=Fraction(900),
    tax_percent=15,
)
SLOW = {"meter_id": "data", "profile": "slow", "at_percent": 100}


def test_slowed_down_above_fair_use_and_restored_at_the_new_month(isp: Isp) -> None:
    isp.sell(UNLIMITED, throttle_steps=[SLOW], speed_profile="full")
    isp.business.connect("karim", "unlimited")
    isp.until("23:51:00")
    isp.log_in("karim")
    isp.use("karim", megabytes=99)
    isp.settle()
    assert isp.service("karim") == "active"
    assert isp.speed_of("karim") is None

    # Of one day 100 MB are fair: the next 60 MB reach that, and what comes then comes slowly.
    isp.use("karim", megabytes=60)
    isp.settle()
    assert isp.service("karim") == "profile:slow"
    assert isp.speed_of("karim") == 1_000_000
    assert isp.commands("karim")[0][1] in ("acknowledged", "verified")
    isp.wait(40)
    isp.settle()
    assert isp.commands("karim") == [("profile:slow", "verified")]

    isp.until("00:00:30")
    assert isp.service("karim") == "active"
    assert isp.speed_of("karim") == 100_000_000
    assert isp.commands("karim")[-1][0] == "active"

    isp.log_out("karim")
    isp.wait(10)
    isp.close_month()
    [invoice] = isp.invoices("karim")
    assert invoice["total"]["amount_minor"] == 3450  # 900.00 / 30 days + 15 %
    isp.agree(11)
