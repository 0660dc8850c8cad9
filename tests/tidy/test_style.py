"""The style's numbers hold everywhere; findings are listed all at once."""

from __future__ import annotations

import pytest

from tests.tidy.rules import EVERYWHERE, PRODUCT, PURE, Rule, is_pure
from tests.tidy.sources import all_sources, product_sources

RULES_THEMSELVES = "tests/tidy/"
"""Its bad examples are bad on purpose."""


@pytest.mark.parametrize("rule", EVERYWHERE, ids=lambda rule: rule.__name__)
def test_everywhere(rule: Rule) -> None:
    findings = [
        finding
        for source in all_sources()
        if not str(source.path).startswith(RULES_THEMSELVES)
        for finding in rule(source)
    ]
    assert not findings, "\n" + "\n".join(findings)


@pytest.mark.parametrize("rule", PRODUCT, ids=lambda rule: rule.__name__)
def test_in_the_product(rule: Rule) -> None:
    findings = [finding for source in product_sources() for finding in rule(source)]
    assert not findings, "\n" + "\n".join(findings)


@pytest.mark.parametrize("rule", PURE, ids=lambda rule: rule.__name__)
def test_in_the_pure_modules(rule: Rule) -> None:
    pure = [source for source in product_sources() if is_pure(source)]
    assert pure
    findings = [finding for source in pure for finding in rule(source)]
    assert not findings, "\n" + "\n".join(findings)
