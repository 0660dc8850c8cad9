"""The office as it is wired: it duns, and ends a subscription by the API's own command."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import func, select, text, update

import api.tables
from billing.adapters import tables
from billing.adapters.databases import reading, writing
from billing.adapters.dunning_tables import dunning_step
from infra.settings import load_settings
from infra.wiring.databases import business_database
from infra.wiring.office import billing_loop
from infra.wiring.preparation import prepare_data_directory
from tests.billing import world
from tests.billing.dunned import found

STEPS = [
    {"step_id": "reminder", "days": 1, "action": "remind", "template": "overdue"},
    {"step_id": "end", "days": 3, "action": "terminate"},
]


def test_reminded_and_terminated(tmp_path: Path) -> None:
    settings = load_settings(None, [f"data_dir={tmp_path / 'data'}"])
    prepare_data_directory(settings)
    engine = business_database(settings, "test")
    found(engine, steps=STEPS)
    with writing(engine) as connection:
        api.tables.metadata.create_all(connection)  # as the web process does when it begins
        connection.execute(update(tables.invoice).values(due_on="2026-12-15"))
    loop = billing_loop(settings, engine)
    events = text("select count(*) from topic_record where topic = 'account.events'")
    for day in ("2026-12-16", "2026-12-18", "2026-12-19"):
        loop.run_once(world.at(day, 12))
    with reading(engine) as connection:
        effects = dict(
            connection.execute(select(dunning_step.c.step_id, dunning_step.c.effect)).all()
        )
        ends_at = connection.scalars(select(tables.subscription.c.ends_at)).all()
        notices = connection.scalar(select(func.count()).select_from(tables.notification))
        sent = connection.scalar(events)
    assert effects == {"reminder": "told by log", "end": "1 subscriptions ended"}
    assert ends_at == [world.at("2026-12-18", 12) + 60_000]
    assert (notices, sent) == (1, 1)
    engine.dispose()
