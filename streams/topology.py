"""READ FIRST: the stages, what each consumes and produces, and in which order they stand.

A datagram becomes an invoice line by passing this table from top to bottom:

    flow.datagrams ────▶ decode ───▶ flow.minutes ─────▶ attribute ─▶ usage.measured ─▶ rate
                         decode ───▶ nat.minutes, nat.events ─▶ translate ─▶ flow.minutes
    radius.accounting ─▶ sessions ─▶ session.bindings ─▶ attribute
                         sessions ─▶ usage.measured ──────────────────────────────────▶ rate
    directory ─────────▶ decode, sessions, attribute
    account.events ───────────────────────────────────────────────────────────────────▶ rate
                                                             rate ─▶ usage.rated ─▶ warehouse

Both runners (`streams.embedded`, `streams.cluster`) execute exactly this table.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import rating.attribute_step
import rating.rate_step
import rating.translate_step
import streams.decode
import streams.sessions
from rating.asn_table import AsnTables, NoAsnTables
from rating.session_config import FLOW_USER
from streams.stage import Stage


@dataclasses.dataclass(frozen=True, slots=True)
class StageConfigs:
    """The settings of every stage, handed over by wiring."""

    decode: Any
    sessions: Any
    attribute: Any
    rate: Any
    asn_tables: AsnTables = dataclasses.field(default_factory=NoAsnTables)


def build_stages(configs: StageConfigs) -> tuple[Stage, ...]:
    """Return the stages in the order in which data passes them."""
    return (
        Stage(
            name="decode",
            step=functools.partial(
                streams.decode.step, config=configs.decode, asn_tables=configs.asn_tables
            ),
            collections=streams.decode.COLLECTIONS,
            raw_log="flow.datagrams",
            topics=("directory",),
            produces=("flow.minutes", "nat.minutes", "nat.events"),
        ),
        Stage(
            name="translate",
            step=functools.partial(rating.translate_step.step, config=configs.attribute),
            collections=rating.translate_step.COLLECTIONS,
            topics=("nat.minutes", "nat.events"),
            produces=("flow.minutes",),
            may_gather=True,
        ),
        Stage(
            name="sessions",
            step=functools.partial(streams.sessions.step, config=configs.sessions),
            collections=streams.sessions.COLLECTIONS,
            raw_log="radius.accounting",
            topics=("directory",),
            produces=("session.bindings", "usage.measured"),
        ),
        Stage(
            name="attribute",
            step=functools.partial(rating.attribute_step.step, config=configs.attribute),
            collections=rating.attribute_step.COLLECTIONS,
            topics=("flow.minutes", "session.bindings", "directory"),
            produces=("usage.measured",),
            # Identities since flows tell users: before, and without it, attribute passes them over.
            taken_anew={"directory": 1} if FLOW_USER in configs.attribute.who_order else {},
            may_gather=True,
        ),
        Stage(
            name="rate",
            step=functools.partial(rating.rate_step.step, config=configs.rate),
            collections=rating.rate_step.COLLECTIONS,
            topics=("usage.measured", "account.events"),
            produces=("usage.rated",),
        ),
    )
