"""The demo's plans, speeds and people. Sizes fit a demo of minutes: megabytes, not gigabytes."""

from __future__ import annotations

from typing import Any

MEGABYTE = 1_000_000

BRANCH = {
    "branch_id": "dhanmondi",
    "name": "Dhanmondi Broadband",
    "timezone": "Asia/Dhaka",
    "currency": "BDT",
    "invoice_prefix": "DHM",
    "language": "en",
}

SPEED_PROFILES = (
    ("full", 100_000_000, 100_000_000),
    ("fup-1m", 1_000_000, 1_000_000),
)
"""Name, up and down in bit/s: what a session gets normally, and above fair use."""

_COMMON: dict[str, Any] = {"currency": "BDT", "tax_rate": "0.05", "speed_profile": "full"}


def _overage(allowance: int, price: str) -> dict[str, Any]:
    return {
        "model": "allowance_overage",
        "allowance": allowance,
        "unit_price": price,
        "unit": 10 * MEGABYTE,
    }


PLANS: dict[str, tuple[str, dict[str, Any]]] = {
    "home-fup": (
        "Home, fair use",
        {
            **_COMMON,
            "recurring_fee": "700.00",
            "meters": [
                {
                    "meter_id": "data",
                    "name": "Data",
                    "curve": {"model": "flat", "amount": "0", "allowance": 60 * MEGABYTE},
                }
            ],
            "throttle_steps": [{"meter_id": "data", "profile": "fup-1m", "at_percent": 100}],
        },
    ),
    "home-metered": (
        "Home, metered",
        {
            **_COMMON,
            "recurring_fee": "350.00",
            "meters": [
                {
                    "meter_id": "data",
                    "name": "Data",
                    "class_weights": {"local_exchange": [1, 2]},
                    "curve": _overage(30 * MEGABYTE, "4.00"),
                }
            ],
        },
    ),
    "family": (
        "Family, shared",
        {
            **_COMMON,
            "recurring_fee": "1200.00",
            "meters": [
                {"meter_id": "data", "name": "Data", "curve": _overage(120 * MEGABYTE, "3.00")}
            ],
        },
    ),
    "office": (
        "Office, graduated",
        {
            **_COMMON,
            "recurring_fee": "2500.00",
            "meters": [
                {
                    "meter_id": "data",
                    "name": "Data",
                    "curve": {
                        "model": "graduated",
                        "tiers": [
                            {"up_to": 50 * MEGABYTE, "unit_price": "0", "unit": MEGABYTE},
                            {"up_to": 150 * MEGABYTE, "unit_price": "0.40", "unit": MEGABYTE},
                            {"up_to": None, "unit_price": "0.25", "unit": MEGABYTE},
                        ],
                    },
                }
            ],
        },
    ),
    "prepaid": (
        "Prepaid, pay as you go",
        {
            **_COMMON,
            "kind": "prepaid",
            "meters": [
                {
                    "meter_id": "data",
                    "name": "Data",
                    "curve": {"model": "payg", "unit_price": "0.50", "unit": MEGABYTE},
                }
            ],
        },
    ),
}
"""plan_id to (name, document)."""

PLAN_ROUND = ("home-fup", "home-metered", "home-fup", "prepaid", "home-metered", "office")
"""Plans of the single lines, in turn."""

TOP_UP_MINOR = 5_000
"""What every prepaid line starts with: 50 taka."""

_GIVEN = (
    "Ayesha",
    "Rafiq",
    "Nusrat",
    "Tanvir",
    "Sumaiya",
    "Imran",
    "Farhana",
    "Kamal",
    "Shirin",
    "Habib",
    "Laila",
    "Masud",
    "Rumana",
    "Sajid",
    "Nazma",
    "Arif",
    "Parvin",
    "Rezaul",
    "Salma",
    "Zahid",
)
_FAMILY = (
    "Rahman",
    "Hossain",
    "Akter",
    "Chowdhury",
    "Islam",
    "Ahmed",
    "Begum",
    "Karim",
    "Sultana",
    "Mia",
    "Khatun",
    "Uddin",
    "Sarker",
    "Haque",
    "Talukder",
)


def person(number: int) -> str:
    """Return the name of the n-th customer; the first 300 differ."""
    return f"{_GIVEN[number % len(_GIVEN)]} {_FAMILY[number // len(_GIVEN) % len(_FAMILY)]}"


def family(number: int) -> str:
    """Return the family name of the n-th pool."""
    return f"{_FAMILY[number % len(_FAMILY)]} family"
