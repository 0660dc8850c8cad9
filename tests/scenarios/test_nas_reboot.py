"""The NAS loses power in the middle of Farid's session: what it had reported is billed, once."""

from __future__ import annotations

from fractions import Fraction

from tests.scenarios.isp import MEGABYTE, Isp
from tests.simulation.tariffs import Measure, Tariff

METERED = Tariff("metered", (Measure("data", "payg", Fraction(1), MEGABYTE),))


def test_a_session_cut_by_a_reboot_is_billed_as_far_as_it_was_reported(isp: Isp) -> None:
    isp.sell(METERED)
    isp.business.connect("farid", "metered")
    isp.until("23:51:00")
    isp.log_in("farid")
    isp.use("farid", megabytes=60)
    isp.wait(10)
    isp.reboot_nas("b")
    isp.until("23:53:00")
    isp.log_in("farid")
    isp.use("farid", megabytes=5)
    isp.log_out("farid")
    isp.until("00:00:10")

    # Counters that begin again at zero are a new session, not a fall of 60 MB.
    first, second = isp.sessions("farid")
    assert (first["octets_down"], second["octets_down"]) == (60 * MEGABYTE, 5 * MEGABYTE)
    assert first["ended_at"] is not None
    assert "accounting" in first["end_cause"]

    isp.close_month()
    [invoice] = isp.invoices("farid")
    assert invoice["total"]["amount_minor"] == 6500
    isp.agree(11)
