"""Salma is online at midnight: her session is divided between the months, to the octet."""

from __future__ import annotations

from fractions import Fraction

from tests.scenarios.isp import MEGABYTE, Isp
from tests.simulation.tariffs import Measure, Tariff

METERED = Tariff("metered", (Measure("data", "payg", Fraction(1), MEGABYTE),))


def test_a_session_over_midnight_is_divided_to_the_octet(isp: Isp) -> None:
    isp.sell(METERED)
    isp.business.connect("salma", "metered")
    isp.until("23:59:01")
    isp.log_in("salma")
    isp.wait(1)
    # 100 MB in 118 seconds from 23:59:02: reports come every ten seconds, at 23:59:52 and 00:00:02.
    isp.use("salma", megabytes=100, seconds=118)
    isp.log_out("salma")
    isp.wait(10)
    isp.settle()
    isp.close_month()

    per_second = -(-100 * MEGABYTE // 118)
    before = 50 * per_second  # reported at 23:59:52
    within = 10 * per_second  # reported at 00:00:02, of which eight seconds are November's
    november = before + within * 8 // 10
    [invoice] = isp.invoices("salma")
    [usage] = [line for line in invoice["lines"] if line["kind"] == "usage"]
    assert usage["quantity"] == november

    isp.close_month()
    _, following = isp.invoices("salma")
    [usage] = [line for line in following["lines"] if line["kind"] == "usage"]
    assert usage["quantity"] == 100 * MEGABYTE - november
    isp.agree(11, 12)
