"""Same input, same invoice: partitions, deaths and the order of arrival change nothing."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from infra.simulation.network import NetworkConfig
from tests.simulation.books import books_of
from tests.simulation.simulation import Plan, lived, plan_of
from tests.simulation.transport import Weather

NETWORK = NetworkConfig(
    seed=4,
    subscribers=11,
    interim_interval_seconds=10,
    session_mean_seconds=90,
    shared_addresses=12,
    static_lines=1,
)
SEED = 4
WEATHER = Weather(loss=0.2, repeat=0.2, delay_max_seconds=5)
VARIATIONS: dict[str, dict[str, object]] = {
    "8 partitions": {"partitions": 8},
    "deaths and another order of arrival": {"death_probability": 0.05, "order": 1},
    "8 partitions, deaths, a third order": {
        "partitions": 8,
        "death_probability": 0.02,
        "order": 2,
    },
}


def plan(**changes: object) -> Plan:
    """Return the seed's plan with a bad network and no reboots: what a NAS forgets at a reboot
    depends on what had arrived by then, and that would be another input."""
    plain = {
        "partitions": 1,
        "death_probability": 0.0,
        "weather": WEATHER,
        "network": NETWORK,
        "loses_flows": False,
    }
    made = plan_of(SEED, **{**plain, **changes})
    features = dataclasses.replace(made.features, reboots=False, late_usage=False)
    return dataclasses.replace(made, features=features, before_minutes=4)


@pytest.fixture(scope="module")
def plain_books(tmp_path_factory: pytest.TempPathFactory) -> str:
    with lived(tmp_path_factory.mktemp("plain"), plan()) as simulation:
        return books_of(simulation.world)


@pytest.mark.parametrize("variation", VARIATIONS)
def test_the_books_are_equal_to_the_octet(tmp_path: Path, plain_books: str, variation: str) -> None:
    with lived(tmp_path, plan(**VARIATIONS[variation])) as simulation:
        assert books_of(simulation.world) == plain_books
        if "deaths" in variation:
            assert simulation.world.deaths > 0


def test_the_books_hold_invoices_and_postings(plain_books: str) -> None:
    for table in ("invoice", "invoice_line", "ledger_transaction", "ledger_entry"):
        assert f"\n{table} " in f"\n{plain_books}"
