"""A customer who has left: what comes late then has no next invoice to stand on.

It gets a paper of its own, once the month in which it came is over: a debit note that names the
invoice it corrects.
"""

from __future__ import annotations

from tests.scenarios.isp import MEGABYTE, Isp
from tests.scenarios.test_late_usage import METERED


def test_late_usage_of_who_has_left_is_a_debit_note(isp: Isp) -> None:
    isp.sell(METERED)
    isp.business.connect("jamal", "metered")
    isp.business.connect("rokeya", "metered")
    isp.until("23:51:00")
    isp.log_in("jamal")
    isp.use("jamal", megabytes=40)
    isp.wait(10)

    isp.cut_off_nas()
    isp.use("jamal", megabytes=25)
    isp.log_out("jamal")
    isp.wait(5)
    isp.business.end("jamal")
    isp.until("00:03:00")
    [november] = isp.invoices("jamal")
    # Ending on the same day that it began, it costs no day's fee: 40.00 and 10 %.
    assert november["total"]["amount_minor"] == 4400

    isp.reconnect_nas()
    isp.wait(30)
    isp.settle()
    assert isp.invoices("jamal") == [november], "the month in which it came is not over"

    isp.close_month()
    _, note = isp.invoices("jamal")
    assert note["series"] == "DBN"
    assert note["number"] == "DHM-DBN-000001"
    [adjustment] = [line for line in note["lines"] if line["kind"] == "adjustment"]
    assert adjustment["quantity"] == 25 * MEGABYTE
    assert adjustment["amount"]["amount_minor"] == 2500
    assert adjustment["evidence"]["corrects_invoice_id"] == november["invoice_id"]
    assert note["total"]["amount_minor"] == 2750

    isp.wait(30)
    assert isp.invoices("jamal") == [november, note], "once and no more"
    isp.agree(11, 12)
