"""Re-rating over the business database: look, then write charges in one transaction."""

from __future__ import annotations

import dataclasses

from billing.adapters.charges import add_charges
from billing.adapters.databases import COMMANDS, reading, take_turns, writing
from billing.adapters.rerating import Stretch, read_counted, wrong_plan
from billing.catalog import terms_of
from billing.rerating import Correction, LeftOut, check_correction, correct, correction_charges
from infra.settings import Settings
from infra.wiring.databases import business_database
from rating.plans import Plan, decode_plan

__all__ = ["Rerated", "Stretch", "rerate"]


@dataclasses.dataclass(frozen=True, slots=True)
class Rerated:
    """What a re-rating found, and how many charges it wrote."""

    corrections: tuple[Correction, ...]
    left_out: tuple[LeftOut, ...]
    written: int


def rerate(
    settings: Settings, stretch: Stretch, corrected: Plan, now_ms: int, *, is_dry_run: bool
) -> Rerated:
    """Return what a corrected plan changes, and write it unless it is only looked at.

    What is read and what is written is one transaction, behind the turn of commands. LookupError:
    no such plan; ValueError: more than prices would change.
    """
    database = business_database(settings, "rerate")
    try:
        with (reading if is_dry_run else writing)(database) as connection:
            if not is_dry_run:
                take_turns(connection, COMMANDS)
            plan = wrong_plan(connection, stretch.plan_id, stretch.version)
            old = decode_plan(plan.document)
            check_correction(old, corrected)
            found = [
                correct(counted, old, corrected)
                for counted in read_counted(connection, stretch, plan)
            ]
            corrections = tuple(item for item in found if isinstance(item, Correction))
            left_out = tuple(item for item in found if isinstance(item, LeftOut))
            if is_dry_run:
                return Rerated(corrections, left_out, 0)
            terms = terms_of(plan.document)
            charges = correction_charges(corrections, terms.name, terms.tax, now_ms)
            return Rerated(corrections, left_out, add_charges(connection, charges))
    finally:
        database.dispose()
