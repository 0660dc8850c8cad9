"""What the office needs: billing, acting over UDP, notification channels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from sqlalchemy import Connection, Engine

from billing.acting.exchange import CoaTarget
from billing.adapters.cable_office import CableLoop
from billing.adapters.cas_tcp import TcpConditionalAccess
from billing.adapters.channels import channels_of
from billing.adapters.coa import UdpCoaTransport
from billing.adapters.dunning import DunningLoop, EndAccount
from billing.adapters.office import ActingLoop, BillingLoop, OfficeLoop
from billing.cable.access import ConditionalAccess
from collectors.radius.clients import ClientTable
from infra.settings import Settings
from infra.simulation.conditional_access import DirectConditionalAccess, SimulatedCas
from infra.wiring.databases import business_database
from rating.rows import LiveSession


def office_loop(settings: Settings, now_ms: Callable[[], int]) -> OfficeLoop:
    """Return the loop of an embedded office, which does what both of a cluster's do."""
    engine = business_database(settings, "office")
    return OfficeLoop(
        billing_loop(settings, engine),
        acting_loop(settings, engine, now_ms),
        cable_loop(settings, engine, now_ms),
    )


def billing_loop(settings: Settings, engine: Engine) -> BillingLoop:
    """Return the loop that makes postings and invoices, and duns."""
    office = settings.office
    names = _channel_names(settings)
    dunning = DunningLoop(engine, office.dunning, names, _account_ending(settings, engine))
    return BillingLoop(engine, office.billing, dunning)


def _channel_names(settings: Settings) -> list[str]:
    """Return by which channels people are told."""
    return [one.name for one in channels_of(settings.office.notifications, settings.data_dir)]


def _account_ending(settings: Settings, engine: Engine) -> EndAccount:
    """Return the way to end an account's subscriptions: the API's own command."""

    def end(connection: Connection, account_id: str, now_ms: int) -> int:
        # Here and not above: an office that ends nobody never loads the API.
        from api.writes.endings import end_account
        from infra.wiring.web import office_services

        return end_account(office_services(settings, engine), connection, account_id, now_ms)

    return end


def cable_loop(settings: Settings, engine: Engine, now_ms: Callable[[], int]) -> CableLoop | None:
    """Return the loop that commands the conditional-access system, or None where there is none."""
    cable = settings.office.cable
    access: ConditionalAccess
    if cable.system == "none":
        return None
    if cable.system == "tcp":
        access = TcpConditionalAccess(cable.cas, now_ms)
    else:
        access = DirectConditionalAccess(SimulatedCas(), now_ms)
    names = _channel_names(settings)
    return CableLoop(engine, cable, access, names, settings.office.notifications.operator_email)


def acting_role(
    settings: Settings, engine: Engine, now_ms: Callable[[], int]
) -> Callable[[int], Counter[str]]:
    """Return what the role `act` of a cluster does: sessions, people, and cards."""
    acting = acting_loop(settings, engine, now_ms)
    cable = cable_loop(settings, engine, now_ms)

    def run_once(now_ms: int) -> Counter[str]:
        counts = acting.run_once(now_ms)
        return counts + cable.run_once(now_ms) if cable else counts

    return run_once


def acting_loop(settings: Settings, engine: Engine, now_ms: Callable[[], int]) -> ActingLoop:
    """Return the loop that commands sessions and tells people, with its UDP transport."""
    acting = settings.office.acting
    clients = ClientTable(settings.collectors.radius.clients)

    def find_target(session: LiveSession) -> CoaTarget | None:
        nas = clients.config_of(session.nas_id)
        if not nas.secret:
            return None
        return CoaTarget(session.nas_id, session.nas_address, nas.coa_port, nas.secret, nas.vendor)

    return ActingLoop(
        engine,
        settings.office,
        UdpCoaTransport(acting.transmission_timeouts_milliseconds, now_ms),
        find_target,
        channels_of(settings.office.notifications, settings.data_dir),
    )
