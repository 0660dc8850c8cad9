"""Each tidy rule finds a bad example, and leaves a good one alone."""

from __future__ import annotations

import pytest

from tests.tidy import rules
from tests.tidy.sources import parse, product_sources

DOCUMENTED = '"""What this module holds."""\n'


def long_function(lines: int) -> str:
    return "def f() -> None:\n" + "    pass\n" * (lines - 1)


@pytest.mark.parametrize(
    ("rule", "bad", "good"),
    [
        (rules.long_lines, "x = 1  # " + "x" * 92, "x = 1  # " + "x" * 91),
        (rules.long_functions, long_function(71), long_function(70)),
        (
            rules.long_functions,
            "class A:\n    def f(self):\n" + "        pass\n" * 71,
            "class A:\n" + "    x = 1\n" * 100,
        ),
        (rules.long_modules, "x = 1\n" * 601, "x = 1\n" * 600),
        (
            rules.many_parameters,
            "def f(a, b, c, d, e, *, f, g): ...",
            "class A:\n    def f(self, a, b, c, d, e, *, f): ...",
        ),
        (rules.many_parameters, "def f(a, b, c, d, e, *args, **options): ...", "def f(): ..."),
        (rules.undocumented_names, "x = 1\n", DOCUMENTED),
        (
            rules.undocumented_names,
            DOCUMENTED + "def f(): ...",
            DOCUMENTED + "def _f(): ...\ndef g():\n    '''Return g at last.'''\n    def h(): ...",
        ),
        (
            rules.undocumented_names,
            DOCUMENTED + "class A:\n    '''An A of sorts.'''\n    def f(self): ...",
            DOCUMENTED + "class _A:\n    def f(self): ...",
        ),
        (rules.undocumented_names, '"""TODO."""', DOCUMENTED),
        (rules.undocumented_names, DOCUMENTED + "def f():\n    '''f'''", DOCUMENTED),
        (rules.empty_names, "class SessionManager: ...", "class Session: ..."),
        (rules.empty_names, "def util(): ...", "def alert_base(): ..."),
        (rules.empty_names, "class CommonParts: ...", "class Database: ..."),
        (
            rules.empty_names,
            "class HTTPHelper: ...",
            "class Basement: ...\ndef test_no_common_part(): ...",
        ),
        (rules.impure_code, "import time", "import datetime"),
        (rules.impure_code, "from os import path", "from polars import col"),
        (rules.impure_code, "def f():\n    import logging", "import dataclasses"),
        (rules.impure_code, "open('x')", "opened('x')"),
        (rules.impure_code, "import io\nio.open('x')", "import io\nio.BytesIO()"),
        (rules.impure_code, "import datetime\ndatetime.datetime.now()", "shop.open()"),
        (rules.machine_paths, "x = '/home/alice/flowrate'", "x = '/v1/home/alice'"),
        (rules.machine_paths, "x = '/root/out'", "x = tmp_path / 'out'"),
        (rules.unfinished_places, "x = 1  # TODO: more", "x = 'todos'"),
        (
            rules.clashing_log_facts,
            "LOG.info('x', extra={'name': 1})",
            "LOG.info('x', extra={'nas': 1})",
        ),
    ],
)
def test_a_rule_finds_the_bad_and_leaves_the_good(rule: rules.Rule, bad: str, good: str) -> None:
    assert list(rule(parse(bad)))
    assert not list(rule(parse(good)))


def test_a_module_name_can_be_empty_too() -> None:
    assert list(rules.empty_names(parse("", "billing/utils.py")))
    assert list(rules.empty_names(parse("", "infra/common/__init__.py")))


def test_which_modules_are_pure() -> None:
    assert rules.is_pure(parse("", "rating/curves/flat.py"))
    assert rules.is_pure(parse("", "billing/ledger.py"))
    assert rules.is_pure(parse("", "billing/cable/stock.py"))
    assert not rules.is_pure(parse("", "billing/adapters/tables.py"))
    assert not rules.is_pure(parse("", "streams/embedded.py"))


def test_the_sources_are_really_there() -> None:
    modules = {source.module for source in product_sources()}
    assert {"rating.records", "infra.cli"} <= modules
