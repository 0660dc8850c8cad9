"""The chains of the business database, read for `flowrate audit verify`."""

from __future__ import annotations

from collections.abc import Mapping

from billing.adapters.audit import Verification, verify
from billing.adapters.databases import reading
from billing.ledger import ChainLink
from infra.settings import Settings
from infra.wiring.databases import business_database


def verify_chains(settings: Settings, remembered: Mapping[str, ChainLink]) -> Verification:
    """Check the audit log and every ledger in one snapshot, beside whatever runs.

    Raises sqlalchemy.exc.DBAPIError where the database cannot be read.
    """
    database = business_database(settings, "audit")
    try:
        with reading(database) as connection:
            return verify(connection, remembered)
    finally:
        database.dispose()
