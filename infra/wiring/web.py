"""What the web process and the demo need: services of the API, the application, login links."""

from __future__ import annotations

import base64
import dataclasses
import os
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import polars as pl
from fastapi import FastAPI
from sqlalchemy import Connection, Engine

import warehouse.connect
from api.app import create_app
from api.keys import OPERATOR
from api.ports import AppendRows, Services
from api.warehouse_usage import WarehouseUsage
from api.web.session import login_path
from billing.adapters.databases import reading
from infra.secrets import Secrets
from infra.serve import Instance
from infra.settings import Settings
from infra.supervisor import read_status
from infra.wiring.databases import business_database
from infra.wiring.paths import database_path, read_only
from infra.wiring.store import warehouse_config
from streams.adapters import postgres_tables, postgres_topics, sqlite_topics
from warehouse.connect import WarehouseClient

_ID_OCTETS = 10


def services(
    settings: Settings,
    secrets: Secrets,
    now_ms: Callable[[], int],
    counters: Counter[str],
    *,
    synchronous: str = "full",
) -> Services:
    """Return what the API and its pages need, over this data directory or the cluster's database.

    LookupError where a cluster's database is not prepared yet (`flowrate migrate`).
    """
    database = business_database(settings, "api", synchronous=synchronous)
    if settings.mode == "cluster":
        with reading(database) as connection:
            postgres_tables.current_generation(connection)
    return Services(
        engine=database,
        usage=WarehouseUsage(lambda: warehouse_client(settings, secrets)),
        append_rows=append_rows(settings),
        now_ms=now_ms,
        new_id=new_id,
        new_token=os.urandom,
        secret=page_session_key(settings, secrets),
        operator_token=settings.api.operator_key or secrets.api_key,
        speed_profiles=settings.office.acting.speed_profiles,
        config=settings.api,
        read_processes=lambda: _supervisor_document(settings),
        is_cluster=settings.mode == "cluster",
        read_watermarks=lambda: watermarks(settings, database),
        count=lambda name, increment: counters.update({name: increment}),
    )


def office_services(settings: Settings, database: Engine) -> Services:
    """Return what the office needs to give an API command, over its own database; it asks no usage.

    The caller replaces the clock.
    """
    return Services(
        engine=database,
        usage=WarehouseUsage(_no_warehouse),
        append_rows=append_rows(settings),
        now_ms=lambda: 0,
        new_id=new_id,
        new_token=os.urandom,
        secret=b"",
    )


def _no_warehouse() -> WarehouseClient:
    raise AssertionError("the office's commands read no usage")


def new_id(prefix: str) -> str:
    """Return a fresh id: the prefix and 80 random bits in base 32, lower case."""
    random = base64.b32encode(os.urandom(_ID_OCTETS)).decode().lower()
    return f"{prefix}_{random}"


def founding_services(instance: Instance, now_at: int) -> Services:
    """Return services that stand still at an instant and wait for nobody, to found a demo."""
    settings = dataclasses.replace(
        instance.settings,
        api=dataclasses.replace(instance.settings.api, account_event_wait_seconds=0.0),
    )
    # Nothing is lost by a power cut now: an unfinished founding is begun again.
    return services(settings, instance.secrets, lambda: now_at, Counter(), synchronous="normal")


def application(given: Services) -> FastAPI:
    """Return the web application over its services."""
    return create_app(given)


def login_link(instance: Instance) -> str:
    """Return the page's address: a one-click login where the settings allow it."""
    api = instance.settings.api
    root = f"http://{api.listen_address}:{api.listen_port}"
    if not api.login_link_enabled:
        return root
    expires_at = instance.clock.now_ms() + api.login_link_lifetime_seconds * 1000
    key = page_session_key(instance.settings, instance.secrets)
    return root + login_path(key, OPERATOR.key_id, expires_at)


def page_session_key(settings: Settings, secrets: Secrets) -> bytes:
    """Return the key of the pages' logins; the API processes of a cluster are told the same one."""
    return (settings.api.page_session_key or secrets.page_session_key).encode()


def _supervisor_document(settings: Settings) -> Mapping[str, Any] | None:
    """Return what `flowrate serve` says of its processes; nothing supervises those of a cluster."""
    if settings.mode == "cluster":
        return None
    status = read_status(settings.data_dir)
    return None if status is None else dataclasses.asdict(status)


def warehouse_client(settings: Settings, secrets: Secrets) -> WarehouseClient:
    """Return a reading client of the store's endpoint; raises WarehouseError where it is down."""
    return warehouse.connect.client(warehouse_config(settings, secrets))


def append_rows(settings: Settings) -> AppendRows:
    """Return the API's way to append to `directory` and `account.events` in its transaction."""
    if settings.mode == "cluster":
        return _append_in_cluster
    partitions = settings.streams.partitions

    def append(connection: Connection, topic: str, producer: str, frame: pl.DataFrame) -> None:
        sqlite_topics.append_rows(connection, topic, producer, frame, partitions=partitions)

    return append


def _append_in_cluster(
    connection: Connection, topic: str, producer: str, frame: pl.DataFrame
) -> None:
    """Append to the partitions of the generation that is in force in this transaction."""
    _, partitions = postgres_tables.hold_generation(connection)
    postgres_topics.append_rows(connection, topic, producer, frame, partitions=partitions)


def watermarks(settings: Settings, database: Engine) -> dict[str, int]:
    """Return each task's least input watermark in ms, as last committed; in a cluster, a stage's.

    A stage that has received nothing yet is left out.
    """
    if settings.mode == "cluster":
        with reading(database) as connection:
            tasks = postgres_tables.read_watermarks(connection)
        stages: dict[str, list[int]] = {}
        for task, at in tasks.items():
            stages.setdefault(task.partition("/")[0], []).append(at)
        return {stage: min(at) for stage, at in stages.items() if max(at) > 0}
    rows = read_only(
        database_path(settings),
        "select task, min(watermark_at) from topic_watermark group by task",
        (),
    )
    return {str(task): int(at) for task, at in rows}
