"""What the office process needs: billing, acting over UDP, notification channels."""

from __future__ import annotations

from collections.abc import Callable

from billing.acting.exchange import CoaTarget
from billing.adapters.channels import channels_of
from billing.adapters.coa import UdpCoaTransport
from billing.adapters.databases import open_database
from billing.adapters.office import OfficeLoop
from collectors.radius.clients import ClientTable
from infra.settings import Settings
from infra.wiring.paths import database_url
from rating.rows import LiveSession


def office_loop(settings: Settings, now_ms: Callable[[], int]) -> OfficeLoop:
    """Return the office's loop with its UDP transport and notification channels."""
    acting = settings.office.acting
    clients = ClientTable(settings.collectors.radius.clients)

    def find_target(session: LiveSession) -> CoaTarget | None:
        nas = clients.config_of(session.nas_id)
        if not nas.secret:
            return None
        return CoaTarget(session.nas_id, session.nas_address, nas.coa_port, nas.secret, nas.vendor)

    return OfficeLoop(
        open_database(database_url(settings)),
        settings.office,
        UdpCoaTransport(acting.transmission_timeouts_milliseconds, now_ms),
        find_target,
        channels_of(settings.office.notifications, settings.data_dir),
    )
