"""Tables of cable TV: what is sold, boxes and cards, who holds what, and commands to the CAS.

Writers: `web` writes all but `cas_command`; `office` writes `cas_command` and the state of
`cable_card`. Whoever writes takes the turn `billing.adapters.cable.CABLE` first.
"""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Index, Table, Text, UniqueConstraint, text

from billing.adapters.columns import (
    key_column,
    metadata,
    number_column,
    optional_number,
    record_columns,
    reference_column,
    text_column,
)
from billing.cable.commands import CasCommand
from billing.cable.stock import Movement

cable_channel = Table(
    "cable_channel",
    metadata,
    key_column("channel_id"),
    reference_column("branch_id", "branch.branch_id"),
    number_column("number"),
    text_column("name"),
    text_column("language", default=""),
    text_column("genre", default=""),
    UniqueConstraint("branch_id", "number"),
)
"""A television channel; number is its place in the box's list."""

cable_package = Table(
    "cable_package",
    metadata,
    key_column("package_id"),
    reference_column("branch_id", "branch.branch_id"),
    text_column("kind"),
    text_column("name"),
    text_column("entitlement"),
    text_column("product_id", default=""),
    text_column("channels"),
    text_column("requires", default="[]"),
    text_column("excludes", default="[]"),
    text_column("offered_from_on", default=""),
    Column("offered_until_on", Text),
    Column("shown_until_on", Text),
    UniqueConstraint("entitlement"),
    CheckConstraint("kind IN ('base', 'addon', 'a_la_carte')", name="kind"),
    Index(None, "branch_id", "package_id"),
)
"""What is sold; channels, requires and excludes are JSON lists of ids. The CAS knows it as its
entitlement, so no two share one."""

cable_model = Table(
    "cable_model",
    metadata,
    key_column("model_id"),
    reference_column("branch_id", "branch.branch_id"),
    text_column("kind"),
    text_column("name"),
    text_column("rent_product_id", default=""),
    number_column("deposit_minor", default="0"),
    CheckConstraint("kind IN ('box', 'card')", name="kind"),
)
"""A make of box or card: what its rent is (empty: none), and the deposit that is taken for it."""

cable_device = Table(
    "cable_device",
    metadata,
    key_column("serial"),
    text_column("kind"),
    reference_column("model_id", "cable_model.model_id"),
    reference_column("branch_id", "branch.branch_id"),
    text_column("state"),
    text_column("subscriber_id", default=""),
    number_column("movements"),
    Index(None, "branch_id", "state"),
    Index(None, "subscriber_id"),
)
"""A set-top box or smart card where its last movement has left it."""

cable_movement = Table(
    "cable_movement",
    metadata,
    *record_columns(Movement, ("serial", "number")),
    Index(None, "moved_at"),
)
"""What was done with a device, append-only; number is dense from 1."""

_STANDS = text("ended_at IS NULL")
cable_pairing = Table(
    "cable_pairing",
    metadata,
    key_column("pairing_id"),
    reference_column("branch_id", "branch.branch_id"),
    reference_column("subscriber_id", "subscriber.subscriber_id"),
    number_column("outlet"),
    reference_column("card_serial", "cable_device.serial"),
    reference_column("box_serial", "cable_device.serial"),
    number_column("paired_at"),
    text_column("paired_by"),
    optional_number("ended_at"),
    text_column("end_reason", default=""),
    Index(
        "uq_cable_pairing_card",
        "card_serial",
        unique=True,
        sqlite_where=_STANDS,
        postgresql_where=_STANDS,
    ),
    Index(
        "uq_cable_pairing_box",
        "box_serial",
        unique=True,
        sqlite_where=_STANDS,
        postgresql_where=_STANDS,
    ),
    Index(
        "uq_cable_pairing_outlet",
        "subscriber_id",
        "outlet",
        unique=True,
        sqlite_where=_STANDS,
        postgresql_where=_STANDS,
    ),
    Index(None, "subscriber_id", "paired_at"),
)
"""A card in a box at a subscriber's outlet. Of those that stand, a card, a box and an outlet have
one each, whoever asks at the same moment."""

cable_holding = Table(
    "cable_holding",
    metadata,
    key_column("holding_id"),
    reference_column("branch_id", "branch.branch_id"),
    reference_column("account_id", "account.account_id"),
    reference_column("subscriber_id", "subscriber.subscriber_id"),
    number_column("outlet"),
    reference_column("package_id", "cable_package.package_id"),
    number_column("starts_at"),
    optional_number("ends_at"),
    text_column("service_id", default=""),
    Index(None, "subscriber_id", "outlet"),
    Index(None, "package_id"),
)
"""A package at an outlet in [starts_at, ends_at); service_id is what invoices it."""

cable_card = Table(
    "cable_card",
    metadata,
    Column("card_serial", Text, primary_key=True),
    text_column("box_serial", default=""),
    text_column("entitlements", default="{}"),
    text_column("barred", default=""),
    number_column("commands", default="0"),
    optional_number("due_at"),
    optional_number("checked_at"),
    text_column("difference", default=""),
    Index(None, "due_at"),
    Index(None, "checked_at"),
)
"""What the CAS has acknowledged of a card (entitlements: JSON, name to expiry), how many commands
it had, and when it must be looked at again (null: when something changes). barred is why its
subscriber watched nothing at the last look; difference is what the CAS said otherwise when it was
last asked, at checked_at."""

cable_request = Table(
    "cable_request",
    metadata,
    key_column("request_id"),
    reference_column("branch_id", "branch.branch_id"),
    reference_column("card_serial", "cable_device.serial"),
    text_column("operation"),
    text_column("message", default=""),
    text_column("requested_by"),
    number_column("requested_at"),
    Index(None, "card_serial", "requested_at"),
    CheckConstraint("operation IN ('message', 'refresh')", name="operation"),
)
"""What a clerk wants a card to be sent beside its entitlements."""

_OPEN = text("settled_at IS NULL")
cas_command = Table(
    "cas_command",
    metadata,
    *record_columns(CasCommand, ("command_id",)),
    Index(None, "card_serial", "number", unique=True),
    Index(
        "ix_cas_command_open",
        "outcome",
        "next_attempt_at",
        sqlite_where=_OPEN,
        postgresql_where=_OPEN,
    ),
    Index(None, "requested_at"),
    Index(None, "request_id"),
)
"""The outbox to the CAS, and what became of each command (`billing.cable.commands`)."""
