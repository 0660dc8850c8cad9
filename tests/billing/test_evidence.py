"""Why is my bill 600? The line leads to its total, its days and its sessions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from billing.adapters.billing_run import run_billing
from billing.adapters.evidence import UsagePiece, explain_line
from billing.adapters.repositories import create
from billing.adapters.sqlite import reading, writing
from billing.config import BillingConfig
from tests.billing import world
from tests.billing.world import GB, add_customer, at, close_month, home_plan

PIECE = UsagePiece("s1", at("2026-11-03"), at("2026-11-09"), 20 * GB, 600 * GB, 620 * GB)


class PaperWarehouse:
    def __init__(self) -> None:
        self.asked: tuple[object, ...] = ()

    def sessions(
        self, rating_key: str, meter_id: str, from_at: int, until_at: int
    ) -> Sequence[UsagePiece]:
        self.asked = (rating_key, meter_id, from_at, until_at)
        return [PIECE]

    def minutes(
        self, rating_key: str, meter_id: str, session_id: str, window: tuple[int, int]
    ) -> Sequence[UsagePiece]:
        return []


def test_a_usage_line_leads_to_its_total_its_days_and_its_sessions(tmp_path: Path) -> None:
    engine = world.new_database(tmp_path)
    with writing(engine) as connection:
        create(connection, world.BRANCH)
        create(connection, home_plan())
        add_customer(connection, "karim")
        close_month(
            connection, "karim", "2026-11", gigabytes=620, minor=60000,
            days={"2026-11-08": 20000, "2026-11-09": 40000},
        )  # fmt: skip
    run_billing(engine, BillingConfig(), at("2026-12-01", 12))
    warehouse = PaperWarehouse()
    with reading(engine) as connection:
        found = explain_line(connection, "inv_karim_2026-11-01_BDT", 2, warehouse)
        fee = explain_line(connection, "inv_karim_2026-11-01_BDT", 1, warehouse)
        with pytest.raises(LookupError, match="no line 9"):
            explain_line(connection, "inv_karim_2026-11-01_BDT", 9)
    assert (found.amount_minor, found.days_minor, found.quantity) == (60000, 60000, 620 * GB)
    assert [(day.day_on, day.amount_minor) for day in found.days] == [
        ("2026-11-08", 20000),
        ("2026-11-09", 40000),
    ]
    assert [charge.amount_exact for charge in found.charges] == ["60000/100"]
    assert found.sessions == [PIECE]
    assert warehouse.asked == ("karim", "data", at("2026-11-01"), at("2026-12-01"))
    assert (fee.pointer["portion"], fee.charges, fee.sessions) == ("1/1", (), None)
