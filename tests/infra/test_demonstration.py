"""The demo is ordinary settings and an ISP that the API founded."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import httpx
import pytest
from sqlalchemy import func, select

from billing.adapters import tables
from billing.adapters.databases import open_database, reading
from infra import demo
from infra.clock import Clock
from infra.demonstration.founding import Founding
from infra.demonstration.settings import choose_ports, settings_text
from infra.demonstration.tariffs import PLANS, person
from infra.secrets import open_secrets
from infra.serve import Instance
from infra.settings import load_settings
from infra.wiring import preparation, web
from infra.wiring.paths import database_url
from rating.plans import plan_from

NOW = 1_796_061_540_000


def instance_in(directory: Path, *, lines: int) -> Instance:
    file = directory / "demo.toml"
    file.write_text(settings_text(choose_ports(), lines=lines))
    settings = load_settings(file)
    return Instance(settings, Clock(), open_secrets(settings.data_dir))


def test_the_demos_settings_are_ordinary_and_short(tmp_path: Path) -> None:
    settings = instance_in(tmp_path, lines=12).settings
    assert settings.data_dir == tmp_path.resolve()
    assert settings.clock.starts_at == "20 s before month end"
    assert settings.rating.rate.lateness_bound_seconds == 10
    assert settings.simulation.subscribers == 12
    assert settings.collectors.radius.clients[0].coa_port == settings.simulation.coa_port


def test_ports_that_are_taken_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.demonstration.settings._is_free", lambda *_: False)
    ports = choose_ports()
    assert all(port >= 1024 for port in ports.values())
    assert 8080 not in ports.values()


@pytest.mark.parametrize("plan_id", PLANS)
def test_every_plan_is_valid(plan_id: str) -> None:
    name, document = PLANS[plan_id]
    plan_from({**document, "plan_id": plan_id, "version": 1, "name": name})


def test_people_differ() -> None:
    assert len({person(number) for number in range(300)}) == 300


def test_an_isp_is_founded_once(tmp_path: Path) -> None:
    instance = instance_in(tmp_path, lines=33)
    preparation.prepare(instance)
    services = web.founding_services(instance, NOW)

    async def found() -> bool:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app=web.application(services)),
            headers={"Authorization": f"Bearer {instance.secrets.api_key}"},
            base_url="http://127.0.0.1",
        ) as client:
            founding = Founding(client, instance.settings.simulation)
            was_complete = await founding.is_complete()
            if not was_complete:
                await founding.run()
            return was_complete

    assert not asyncio.run(found())
    assert asyncio.run(found())
    with reading(open_database(database_url(instance.settings))) as connection:
        counts = [
            connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in (tables.subscriber, tables.pool, tables.subscription)
        ]
    assert counts == [33, 10, 13]


def test_an_interrupted_founding_is_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = instance_in(tmp_path, lines=4)

    async def die(*_: object) -> None:
        raise InterruptedError

    with monkeypatch.context() as patched:
        patched.setattr(Founding, "_found_member", die)
        with pytest.raises(InterruptedError):
            demo._prepare(instance)
    demo._prepare(instance)
    with reading(open_database(database_url(instance.settings))) as connection:
        names = connection.execute(select(tables.subscriber.c.user_name)).scalars().all()
    assert sorted(names) == [f"line000{number}" for number in range(4)]


def test_a_port_that_was_taken_since_is_replaced_at_the_next_start(tmp_path: Path) -> None:
    settings = instance_in(tmp_path, lines=7).settings
    file = tmp_path / "demo.toml"
    demo._move_from_taken_ports(file)
    assert load_settings(file) == settings
    with socket.create_server(("127.0.0.1", settings.api.listen_port)):
        demo._move_from_taken_ports(file)
    moved = load_settings(file)
    assert moved.api.listen_port != settings.api.listen_port
    assert moved.simulation.subscribers == 7
