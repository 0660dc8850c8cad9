"""Amina logs off, and half a minute later Belal has her address. Each pays for what is theirs.

Traffic to the local exchange costs nothing on their plan, so it matters whose flows were whose.
"""

from __future__ import annotations

from fractions import Fraction

from tests.scenarios.isp import MEGABYTE, Isp
from tests.simulation.tariffs import Measure, Tariff

LOCAL_IS_FREE = Tariff(
    "local-free",
    (Measure("data", "payg", Fraction(1), MEGABYTE, weights={"local_exchange": (0, 1)}),),
)
ADDRESS = "100.64.7.7"


def test_an_address_that_changed_hands(isp: Isp) -> None:
    isp.sell(LOCAL_IS_FREE)
    isp.business.connect("amina", "local-free")
    isp.business.connect("belal", "local-free")
    isp.until("23:51:00")
    isp.log_in("amina", ADDRESS)
    isp.wait(1)
    isp.use("amina", megabytes=30, traffic_class="local_exchange")
    isp.use("amina", megabytes=10)
    isp.log_out("amina")
    isp.until("23:54:00")
    isp.log_in("belal", ADDRESS)
    isp.wait(1)
    isp.use("belal", megabytes=50)
    isp.use("belal", megabytes=20, traffic_class="local_exchange")
    isp.log_out("belal")
    isp.until("00:00:30")
    isp.close_month()

    [of_amina], [of_belal] = isp.invoices("amina"), isp.invoices("belal")
    assert of_amina["total"]["amount_minor"] == 1000
    assert of_belal["total"]["amount_minor"] == 5000
    isp.agree(11)
