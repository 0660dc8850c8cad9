"""Own prefixes and traffic classes of the settings become dated rows of the directory."""

from __future__ import annotations

import dataclasses

import pytest

from infra.network import ClassRuleConfig, NetworkConfig, check, entries_to_write
from rating.classes import ClassRule, decode_rule
from rating.records import DirectoryEntry

MINUTE_MS = 60_000
NOW = 10 * MINUTE_MS + 5

CDN = ClassRuleConfig("cdn", prefixes=("192.0.2.0/24",), ports=("443", "8000-8099"))
FIRST = NetworkConfig(own_prefixes=("100.64.0.0/10",), class_rules=(CDN,))


def standing_after(rows: list[DirectoryEntry]) -> dict[str, DirectoryEntry]:
    return {row.entry_id: row for row in rows}


def test_the_first_settings_hold_from_the_beginning() -> None:
    own, rule = entries_to_write(FIRST, {}, NOW)
    assert (own.kind, own.match, own.valid_from_at) == ("own_prefix", "100.64.0.0/10", 0)
    assert (rule.kind, rule.target, rule.valid_until_at) == ("class_rule", "cdn", None)
    assert decode_rule(rule.match) == ClassRule(
        prefixes=("192.0.2.0/24",), ports=((443, 443), (8000, 8099))
    )


def test_unchanged_settings_write_nothing() -> None:
    standing = standing_after(entries_to_write(FIRST, {}, NOW))
    assert entries_to_write(FIRST, standing, 2 * NOW) == []


def test_a_change_is_dated_at_the_next_minute() -> None:
    standing = standing_after(entries_to_write(FIRST, {}, NOW))
    changed = dataclasses.replace(FIRST, class_rules=(dataclasses.replace(CDN, priority=5),))
    new, ended = entries_to_write(changed, standing, NOW)
    assert (new.priority, new.valid_from_at, new.valid_until_at) == (5, 11 * MINUTE_MS, None)
    assert (ended.revision, ended.valid_until_at) == (2, 11 * MINUTE_MS)


def test_what_comes_back_begins_anew_and_the_gap_stays_a_gap() -> None:
    standing = standing_after(entries_to_write(FIRST, {}, NOW))
    without = dataclasses.replace(FIRST, own_prefixes=())
    standing |= standing_after(entries_to_write(without, standing, NOW))
    (again,) = entries_to_write(FIRST, standing, 5 * NOW)
    assert again.entry_id != "own_prefix:100.64.0.0/10"
    assert again.valid_from_at == 51 * MINUTE_MS
    standing[again.entry_id] = again
    assert entries_to_write(FIRST, standing, 9 * NOW) == []
    (ended,) = entries_to_write(without, standing, 9 * NOW)
    assert (ended.entry_id, ended.valid_until_at) == (again.entry_id, 91 * MINUTE_MS)


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (NetworkConfig(own_prefixes=("10.0.0.1/8",)), "own_prefixes: '10.0.0.1/8'"),
        (NetworkConfig(class_rules=(ClassRuleConfig(""),)), "class_rules[0].traffic_class"),
        (NetworkConfig(class_rules=(ClassRuleConfig("x"),)), "at least one condition"),
        (NetworkConfig(class_rules=(ClassRuleConfig("x", ports=("http",)),)), "ports: 'http'"),
        (NetworkConfig(class_rules=(ClassRuleConfig("x", dscps=(64,)),)), "class_rules[0]: dscps"),
    ],
)
def test_what_cannot_work_is_named(config: NetworkConfig, problem: str) -> None:
    assert problem in "\n".join(check(config))
    assert check(FIRST) == []
