"""The settings of rate: what cannot work is named."""

from __future__ import annotations

import dataclasses

import pytest

from rating.config import RateConfig, check_rate


def test_the_defaults_work() -> None:
    assert check_rate(RateConfig()) == []


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(RateConfig)])
def test_a_value_below_its_bound_is_named(field: str) -> None:
    (problem,) = check_rate(dataclasses.replace(RateConfig(), **{field: -1}))
    assert problem.startswith(f"{field} = -1: expected")
