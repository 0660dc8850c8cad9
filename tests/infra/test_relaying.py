"""What the relay has not sent stays in the log, and what it reads where."""

from __future__ import annotations

from pathlib import Path

import pytest

from collectors.adapters.relay_position import RelayPosition
from infra.settings import load_settings
from infra.wiring import logs
from infra.wiring.paths import ACCOUNTING_LOG, FLOW_LOG, relay_path
from infra.wiring.relaying import relay_sources, relayed_number

RELAY = (
    "collectors.radius.relay.server=127.0.0.1:1813",
    "collectors.radius.relay.secret=second-secret",
)


def test_a_log_is_trimmed_no_further_than_both_engine_and_relay_have_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings(flags=(f"data_dir={tmp_path}", *RELAY), environment={})
    assert relayed_number(settings, ACCOUNTING_LOG) is None
    position = RelayPosition(relay_path(settings), b"flowrate")
    position.begin(ACCOUNTING_LOG, 0)
    position.note_read(ACCOUNTING_LOG, [(5, 2), (7, 1)], 9)
    assert relayed_number(settings, ACCOUNTING_LOG) == 4
    position.note_done(ACCOUNTING_LOG, [(5, 0), (5, 1)])
    assert relayed_number(settings, ACCOUNTING_LOG) == 6
    position.note_done(ACCOUNTING_LOG, [(7, 0)])
    assert relayed_number(settings, ACCOUNTING_LOG) == 9
    position.close()
    monkeypatch.setattr(logs, "_committed_number", lambda *_: 50)
    assert logs.consumed_number(settings, ACCOUNTING_LOG) == 9
    assert logs.consumed_number(settings, FLOW_LOG) == 50
    without = load_settings(flags=(f"data_dir={tmp_path}",), environment={})
    assert logs.consumed_number(without, ACCOUNTING_LOG) == 50


def test_a_cluster_relays_the_spools_of_its_generations_in_order(tmp_path: Path) -> None:
    for name in ("radius.accounting.g10", "radius.accounting.g2", "flow.datagrams.g2"):
        (tmp_path / "spool" / name).mkdir(parents=True)
    (tmp_path / "spool" / ".radius.accounting.g1.moved").mkdir()
    flags = ("mode=cluster", "cluster.database_url=postgresql://u:p@h/d", *RELAY)
    settings = load_settings(flags=(f"data_dir={tmp_path}", *flags), environment={})
    names = [source.name for source in relay_sources(settings)]
    assert names == ["radius.accounting.g2", "radius.accounting.g10"]
